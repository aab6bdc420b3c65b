package assets

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Serve answers a request from a site: files, redirects to a file's one address,
// ranges, conditional requests, gzip, and the site's own page for what is missing.
// An error means that nothing was written and the store is at fault.
func Serve(w http.ResponseWriter, r *http.Request, site *Site, store *Store) error {
	host := hostname(r.Host)
	a := site.resolve(host, r.URL.EscapedPath())
	w = &dressed{ResponseWriter: w, dress: func(h http.Header) { site.applyHeaders(h, host, decodePath(r.URL.EscapedPath())) }}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return refuseMethod(w, a)
	}
	if a.location != "" {
		return redirect(w, r, a)
	}
	if a.file.Hash == "" {
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusNotFound)
		return nil
	}
	return serveFile(w, r, a, store)
}

// hostname is a Host header in lower case without its port.
func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// dressed applies the site's header rules when the header is sent, over all defaults.
type dressed struct {
	http.ResponseWriter
	dress func(http.Header)
}

func (d *dressed) WriteHeader(status int) {
	if d.dress != nil {
		d.dress(d.Header())
		d.dress = nil
	}
	d.ResponseWriter.WriteHeader(status)
}

func (d *dressed) Write(data []byte) (int, error) {
	if d.dress != nil {
		d.WriteHeader(http.StatusOK)
	}
	return d.ResponseWriter.Write(data)
}

// ReadFrom keeps the fast path of files.
func (d *dressed) ReadFrom(r io.Reader) (int64, error) {
	if d.dress != nil {
		d.WriteHeader(http.StatusOK)
	}
	return io.Copy(d.ResponseWriter, r)
}

func refuseMethod(w http.ResponseWriter, a answer) error {
	status := http.StatusMethodNotAllowed
	if a.status == http.StatusNotFound {
		status = http.StatusNotFound
	} else {
		w.Header().Set("Allow", "GET, HEAD")
	}
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(status)
	return nil
}

func redirect(w http.ResponseWriter, r *http.Request, a answer) error {
	location := a.location
	if r.URL.RawQuery != "" && !strings.Contains(location, "?") {
		location += "?" + r.URL.RawQuery
	}
	w.Header().Set("Location", location)
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(a.status)
	return nil
}

func serveFile(w http.ResponseWriter, r *http.Request, a answer, store *Store) error {
	blob, tag, encoded, err := choose(r, a, store)
	if err != nil {
		return err
	}
	defer blob.Close()
	h := w.Header()
	h["Content-Type"] = nil // no guess from the bytes, section 4.6
	if t := mediaType(a); t != "" {
		h.Set("Content-Type", t)
		if Compressible(t) {
			h.Set("Vary", "Accept-Encoding")
		}
	}
	h.Set("X-Content-Type-Options", "nosniff")
	if encoded {
		h.Set("Content-Encoding", "gzip")
	}
	if r.Header.Get("Authorization") == "" && r.Header.Get("Range") == "" {
		h.Set("Cache-Control", "public, max-age=0, must-revalidate")
	}
	if a.status != http.StatusOK {
		return serveWhole(w, r, a.status, blob)
	}
	h.Set("ETag", tag)
	http.ServeContent(w, r, "", time.Time{}, blob)
	return nil
}

// serveWhole sends a page that is not the answer asked for, so no conditions and no
// ranges apply to it.
func serveWhole(w http.ResponseWriter, r *http.Request, status int, blob *Blob) error {
	w.Header().Set("Content-Length", strconv.FormatInt(blob.Size(), 10))
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return nil
	}
	_, _ = io.Copy(w, blob) // the client may be gone; the status is sent
	return nil
}

func mediaType(a answer) string {
	t := a.file.Type
	if t == "" {
		t = ContentType(a.path)
	}
	if t == NoType {
		return ""
	}
	return withCharset(t)
}

// choose picks the plain or the compressed bytes. They are two representations with
// an entity tag each. Ranges are of the plain one; and a client that already holds
// the plain one is answered about that.
func choose(r *http.Request, a answer, store *Store) (blob *Blob, tag string, encoded bool, err error) {
	plain := `"` + a.file.Hash + `"`
	if Compressible(mediaType(a)) && acceptsGzip(r.Header.Values("Accept-Encoding")) &&
		r.Header.Get("Range") == "" && !strings.Contains(r.Header.Get("If-None-Match"), plain) {
		blob, err = store.OpenGzip(a.file.Hash)
		if err == nil {
			return blob, `"` + a.file.Hash + `-gzip"`, true, nil
		}
		if !errors.Is(err, ErrMissing) {
			return nil, "", false, err
		}
	}
	blob, err = store.Open(a.file.Hash)
	return blob, plain, false, err
}

// acceptsGzip reads Accept-Encoding (RFC 9110 section 12.5.3).
func acceptsGzip(headers []string) bool {
	wildcard := false
	for _, coding := range strings.Split(strings.Join(headers, ","), ",") {
		name, params, _ := strings.Cut(coding, ";")
		accepted := true
		if q, ok := strings.CutPrefix(strings.ReplaceAll(params, " ", ""), "q="); ok {
			weight, err := strconv.ParseFloat(q, 64)
			accepted = err == nil && weight > 0
		}
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "gzip", "x-gzip":
			return accepted
		case "*":
			wildcard = accepted
		}
	}
	return wildcard
}
