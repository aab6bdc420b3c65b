package console

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/gate"
)

//go:embed static
var files embed.FS

// asset is one file as it is sent.
type asset struct {
	plain, packed []byte // packed: gzip, nil where it saves nothing
	kind          string
	hash          string
}

// assets are made at the first request, not at the start: packing takes longer
// than a start may.
var assets = sync.OnceValue(func() map[string]asset {
	all := map[string]asset{}
	err := fs.WalkDir(files, "static", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(name, ".txt") {
			return err
		}
		plain, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		all[path.Base(name)] = newAsset(path.Base(name), plain)
		return nil
	})
	if err != nil { // the files are in the program
		panic(fmt.Sprintf("console: reading the static files: %v", err))
	}
	// htmx looks at the page as soon as nothing else runs, and knows no extension that
	// has not come by then: they come together.
	all["live.js"] = newAsset("live.js", slices.Concat(all["htmx.js"].plain, []byte(";\n"), all["hx-sse.js"].plain))
	delete(all, "htmx.js")
	delete(all, "hx-sse.js")
	// Our style names the typeface under its own lasting address, or it is fetched twice.
	style, font := all["console.css"].plain, "/static/inter.woff2"
	all["console.css"] = newAsset("console.css", bytes.ReplaceAll(style, []byte(font), []byte(font+"?v="+all["inter.woff2"].hash)))
	return all
})

func newAsset(name string, plain []byte) asset {
	sum := sha256.Sum256(plain)
	a := asset{plain: plain, kind: mime.TypeByExtension(path.Ext(name)), hash: base64.RawURLEncoding.EncodeToString(sum[:12])}
	switch path.Ext(name) { // the machine's table of types may say otherwise
	case ".js":
		a.kind = "text/javascript; charset=utf-8"
	case ".css":
		a.kind = "text/css; charset=utf-8"
	case ".woff2":
		a.kind = "font/woff2"
		return a
	case ".svg":
		a.kind = "image/svg+xml"
	}
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // the level is a valid one
	_, _ = z.Write(plain)                                 // into memory
	if _ = z.Close(); b.Len() < len(plain) {
		a.packed = b.Bytes()
	}
	return a
}

// static is the address of a file. It changes with the content, so a browser may
// keep what is under it for ever.
func static(name string) string {
	return "/static/" + name + "?v=" + assets()[name].hash
}

func serveStatic(w http.ResponseWriter, r *http.Request) {
	gate.EntryOf(r.Context()).Name("static")
	a, ok := assets()[r.PathValue("name")]
	if !ok {
		gate.Problem(w, r, purser.Errorf(purser.NotFound, "there is no such file"))
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "public, max-age=300")
	if r.URL.Query().Get("v") == a.hash {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	h.Set("ETag", `W/"`+a.hash+`"`) // weak: packed or not, it is the same file
	h.Set("Content-Type", a.kind)
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Vary", "Accept-Encoding")
	if r.Header.Get("If-None-Match") == `W/"`+a.hash+`"` {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	body := a.plain
	if a.packed != nil && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = a.packed
	}
	_, _ = w.Write(body) // who is gone needs no answer
}
