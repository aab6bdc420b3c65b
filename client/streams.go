package client

import (
	"archive/tar"
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/purser-dev/purser"
)

// batchBytes is how much one upload carries; what a broken connection costs.
const batchBytes = 32 << 20

// UploadBlobs sends the blobs that Stage said are missing, by their SHA-256, as
// tar streams of bounded size. Sending a blob twice is harmless. progress gets
// the bytes of each blob that was handed to the network; it may be nil.
// A blob whose content does not fit its name or size is blob_mismatch.
func (c *Client) UploadBlobs(ctx context.Context, missing []string,
	open func(sha256 string) (io.ReadCloser, int64, error), progress func(bytes int64),
) error {
	if progress == nil {
		progress = func(int64) {}
	}
	for len(missing) > 0 {
		sent, err := c.uploadBatch(ctx, missing, open, progress)
		if err != nil {
			return err
		}
		missing = missing[sent:]
	}
	return nil
}

// uploadBatch sends blobs from the front until batchBytes are reached and
// returns how many it sent. It is at least one where there is one.
func (c *Client) uploadBatch(ctx context.Context, blobs []string,
	open func(string) (io.ReadCloser, int64, error), progress func(int64),
) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pr, pw := io.Pipe()
	type outcome struct {
		sent int
		err  error
	}
	done := make(chan outcome, 1)
	go func() {
		n, err := pack(pw, blobs, open, progress)
		_ = pw.CloseWithError(err) // nil ends the stream
		done <- outcome{n, err}
	}()
	resp, err := c.send(ctx, request{method: http.MethodPost, path: "/v1/blobs", kind: "application/x-tar"}, pr)
	// The server may answer before it read all; the packer must not wait for ever.
	_ = pr.CloseWithError(errNotRead)
	packed := <-done
	if err == nil {
		defer func() { _ = resp.Body.Close() }()
		if resp.StatusCode/100 != 2 {
			err = problem(resp)
		}
	}
	if packed.err != nil && !errors.Is(packed.err, errNotRead) && !errors.Is(packed.err, io.ErrClosedPipe) {
		return 0, packed.err // a file of ours could not be read: that is the reason, not the broken stream
	}
	if err == nil && packed.err != nil {
		err = purser.Errorf(purser.Unavailable, "%s stopped reading the files", c.base).WithHint("try again")
	}
	return packed.sent, err
}

var errNotRead = errors.New("the server did not read on")

// pack writes blobs as tar entries named by their SHA-256.
func pack(w io.Writer, blobs []string, open func(string) (io.ReadCloser, int64, error), progress func(int64)) (int, error) {
	t := tar.NewWriter(w)
	var total int64
	for n, sha := range blobs {
		if total >= batchBytes {
			return n, t.Close()
		}
		size, err := packOne(t, sha, open)
		if err != nil {
			return n, err
		}
		progress(size)
		total += size
	}
	return len(blobs), t.Close()
}

func packOne(t *tar.Writer, sha string, open func(string) (io.ReadCloser, int64, error)) (int64, error) {
	f, size, err := open(sha)
	if err != nil {
		return 0, fmt.Errorf("opening a file to upload: %w", err)
	}
	defer func() { _ = f.Close() }()
	if err := t.WriteHeader(&tar.Header{Name: sha, Size: size, Mode: 0o600, Format: tar.FormatPAX}); err != nil {
		return 0, err
	}
	// One byte more than was named shows a file that grew meanwhile.
	n, err := io.Copy(t, io.LimitReader(f, size))
	if err != nil {
		return 0, fmt.Errorf("reading a file to upload: %w", err)
	}
	if more, _ := f.Read(make([]byte, 1)); more > 0 || n < size {
		return 0, purser.Errorf(purser.BlobMismatch, "a file changed while it was uploaded").
			WithHint("run the command again")
	}
	return size, nil
}

// ExportAudit writes a whole audit log as JSON lines, or what was spent as CSV. A stream that breaks off
// is unavailable; what was written until then is incomplete.
func (c *Client) ExportAudit(ctx context.Context, in purser.ExportAudit, w io.Writer) error {
	r := request{method: http.MethodGet, path: "/v1/audit/export"}
	q := url.Values{}
	for name, value := range map[string]string{"log": in.Log, "format": in.Format} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if len(q) > 0 {
		r.path += "?" + q.Encode()
	}
	resp, err := c.send(ctx, r, nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return problem(resp)
	}
	_, err = io.Copy(output{w}, resp.Body)
	var ours *outputError
	switch {
	case errors.As(err, &ours):
		return fmt.Errorf("writing the export: %w", ours.error)
	case err != nil:
		return c.lost(r, err)
	}
	return nil
}

// Events gives f each event from in.After on (below zero: from now on), and comes
// back by itself where a connection broke off, after the last one that f was given.
// It returns f's error, or that of a stream that was refused or cannot be had again.
func (c *Client) Events(ctx context.Context, in purser.AskEvents, f func(purser.Event) error) error {
	after := in.After
	for failures := 0; ; {
		began := time.Now()
		got, err := c.events(ctx, &after, f)
		var refused *purser.Error
		var enough *handled
		switch {
		case errors.As(err, &enough):
			return enough.error
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && (!errors.As(err, &refused) || refused.Code.Info().Class != purser.ClassRetry):
			return err
		case got || time.Since(began) > longStream:
			failures = 0
		}
		if failures++; failures > tries {
			return purser.Errorf(purser.Unavailable, "the events of %s break off", c.base)
		}
		if err := c.pause(ctx, 200*time.Millisecond<<failures); err != nil {
			return err
		}
	}
}

// longStream is how long a connection without news must have held to be no failure.
const longStream = 10 * time.Second

// handled is an error of who was given an event.
type handled struct{ error }

// events reads one connection. got is true if an event was handled.
func (c *Client) events(ctx context.Context, after *int64, f func(purser.Event) error) (got bool, err error) {
	r := request{method: http.MethodGet, path: "/v1/events"}
	if *after >= 0 {
		r.path += "?after=" + strconv.FormatInt(*after, 10)
	}
	resp, err := c.send(ctx, r, nil)
	if err != nil {
		return false, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return false, problem(resp)
	}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "data":
			var e purser.Event
			if err := json.Unmarshal([]byte(value), &e); err != nil {
				return got, purser.Errorf(purser.Unavailable, "%s does not answer like a Purser server", c.base).WithCause(err)
			}
			if err := f(e); err != nil {
				return got, &handled{err}
			}
			*after, got = e.Seq, true
		case "id": // before its data, if any: only what was handled counts
			if n, err := strconv.ParseInt(value, 10, 64); err == nil && *after < 0 {
				*after = n
			}
		}
	}
	return got, nil // broken off
}

// output tells a failure to write apart from a failure of the network.
type output struct{ io.Writer }

type outputError struct{ error }

func (o output) Write(p []byte) (int, error) {
	n, err := o.Writer.Write(p)
	if err != nil {
		err = &outputError{err}
	}
	return n, err
}

// ConsentPage gets the page on which a person agrees with a provider, for an order
// that waits for it: single use, five minutes. It takes a person's token.
func (c *Client) ConsentPage(ctx context.Context, order string) (purser.Link, error) {
	var out purser.Link
	if !purser.ValidID(purser.PrefixOrder, order) {
		return out, purser.Errorf(purser.InvalidRequest, "%q is not the identifier of an order", order).WithHint("purser status")
	}
	body, err := c.once(ctx, request{method: http.MethodPost, path: "/v1/flows/acctreq_" + order + "/ticket"})
	if err != nil {
		return out, err
	}
	if err := json.Unmarshal(body, &out); err != nil {
		return out, purser.Errorf(purser.Unavailable, "%s does not answer like a Purser server", c.base).WithCause(err)
	}
	return out, nil
}

// Health asks whether the server is up and its database answers.
func (c *Client) Health(ctx context.Context) error {
	_, err := c.once(ctx, request{method: http.MethodGet, path: "/readyz"})
	return err
}
