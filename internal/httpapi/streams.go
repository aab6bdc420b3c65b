package httpapi

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"regexp"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/gate"
)

const (
	blobLimit  = 256 << 20 // bytes of one file
	blobsLimit = 50_000    // files in one request
	blobsBytes = 1 << 30   // bytes in one request
	blobTime   = time.Minute

	blobSmall   = 512 << 10 // bytes; a file that is held in memory while others come
	blobsAtOnce = 32
)

var hexSHA256 = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Uploaded answers an upload.
type Uploaded struct {
	Stored int   `json:"stored"` // blobs
	Bytes  int64 `json:"bytes"`
}

// blobs takes a tar stream whose entries are named by the SHA-256 of their
// content (RULES 14). Content is its own key: sending it again changes nothing.
func blobs(c Config) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		by, err := c.Gate.Admit(r)
		if err == nil && by.Kind != purser.Agent && by.Kind != purser.Person {
			err = purser.Errorf(purser.Forbidden, "this credential (%s) may not upload files", by.Kind)
		}
		if err != nil {
			gate.Problem(w, r, err)
			return
		}
		done, err := take(c.Office, w, r, by)
		if err != nil {
			gate.Problem(w, r, err)
			return
		}
		answer(w, done)
	}
}

// take keeps small files side by side: each waits for the disk, and a site has
// thousands of them. Large ones go straight through, one at a time.
func take(o Office, w http.ResponseWriter, r *http.Request, by purser.Actor) (Uploaded, error) {
	var done Uploaded
	conn := http.NewResponseController(w)
	body := http.MaxBytesReader(w, r.Body, blobsBytes)
	t := tar.NewReader(body)
	side, ctx := errgroup.WithContext(r.Context())
	side.SetLimit(blobsAtOnce)
	read := func() error {
		for ctx.Err() == nil {
			_ = conn.SetReadDeadline(time.Now().Add(blobTime)) // each file anew
			h, err := t.Next()
			if errors.Is(err, io.EOF) {
				_, err = io.Copy(io.Discard, body) // the padding, so that the sender can finish
				_ = conn.SetReadDeadline(time.Time{})
				return broken(err)
			}
			if err != nil {
				return broken(err)
			}
			if err := admissible(h, done.Stored); err != nil {
				return err
			}
			if err := takeOne(ctx, o, by, side, h, t); err != nil {
				return err
			}
			done.Stored++
			done.Bytes += h.Size
		}
		return nil
	}
	err := read()
	// A file that could not be kept ended the reading: it is the reason.
	if kept := side.Wait(); kept != nil {
		return done, kept
	}
	return done, err
}

func takeOne(ctx context.Context, o Office, by purser.Actor, side *errgroup.Group, h *tar.Header, t io.Reader) error {
	if h.Size > blobSmall {
		return o.PutBlob(ctx, by, h.Name, h.Size, t)
	}
	content := make([]byte, h.Size)
	if _, err := io.ReadFull(t, content); err != nil {
		return broken(err)
	}
	side.Go(func() error { return o.PutBlob(ctx, by, h.Name, h.Size, bytes.NewReader(content)) })
	return nil
}

func admissible(h *tar.Header, before int) error {
	switch {
	case h.Typeflag != tar.TypeReg:
		return purser.Errorf(purser.InvalidRequest, "the stream holds something that is not a regular file")
	case !hexSHA256.MatchString(h.Name):
		return purser.Errorf(purser.InvalidRequest, "an entry is not named by the SHA-256 of its content, in lower hexadecimal")
	case h.Size > blobLimit:
		return purser.Errorf(purser.TooLarge, "a file is larger than %d bytes", int64(blobLimit))
	case before >= blobsLimit:
		return purser.Errorf(purser.TooLarge, "one upload takes at most %d files", blobsLimit).WithHint("send the rest in another")
	}
	return nil
}

func broken(err error) error {
	var large *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &large):
		return purser.Errorf(purser.TooLarge, "one upload takes at most %d bytes", int64(blobsBytes)).WithHint("send the rest in another")
	}
	return purser.Errorf(purser.InvalidRequest, "the stream is not a whole tar").WithCause(err)
}

// export streams a log, or what was spent, as a file to keep. A fault after the
// first line breaks the connection off, so that no reader takes a part for the whole.
func export(c Config) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		by, err := c.Gate.Admit(r)
		if err == nil && by.Kind != purser.Person {
			err = purser.Errorf(purser.Forbidden, "this credential (%s) may not export the log", by.Kind)
		}
		if err != nil {
			gate.Problem(w, r, err)
			return
		}
		for name, values := range r.URL.Query() {
			if name != "log" && name != "format" || len(values) != 1 {
				gate.Problem(w, r, purser.Errorf(purser.InvalidRequest, "an export takes two parameters, once: log and format"))
				return
			}
		}
		in := purser.ExportAudit{Log: r.URL.Query().Get("log"), Format: r.URL.Query().Get("format")}
		lines := &lines{w: w, format: in.Format}
		err = c.Office.ExportAudit(r.Context(), by, in, lines)
		switch {
		case err != nil && lines.begun:
			gate.EntryOf(r.Context()).Fail(err)
			panic(http.ErrAbortHandler)
		case err != nil:
			gate.Problem(w, r, err)
		default:
			lines.begin()
		}
	}
}

// lines begins the answer with the first line, so that a refusal before it can
// still be a problem.
type lines struct {
	w      http.ResponseWriter
	format string
	begun  bool
}

func (l *lines) begin() {
	if l.begun {
		return
	}
	l.begun = true
	kind, name := "application/jsonl", "audit.jsonl"
	switch l.format {
	case purser.FormatOCSF:
		name = "audit.ocsf.jsonl"
	case purser.FormatFOCUS:
		kind, name = "text/csv; charset=utf-8; header=present", "costs.focus.csv"
	}
	l.w.Header().Set("Content-Type", kind)
	l.w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	l.w.WriteHeader(http.StatusOK)
}

func (l *lines) Write(p []byte) (int, error) {
	l.begin()
	return l.w.Write(p)
}
