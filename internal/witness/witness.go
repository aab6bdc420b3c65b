// Package witness keeps copies of the log's signed checkpoints elsewhere: in a file, or at an address that takes a signed webhook.
//
// Both forms are the same text, signed notes one after the other with an empty line
// behind each, which is what purser audit verify --witness reads.
package witness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/purser-dev/purser/internal/notice"
)

// text joins notes as both places keep them.
func text(notes []string) []byte {
	var b bytes.Buffer
	for _, n := range notes {
		b.WriteString(strings.TrimRight(n, "\n"))
		b.WriteString("\n\n")
	}
	return b.Bytes()
}

// File appends to a file: on another disk, or one that another machine takes away.
// It is opened anew each time, so that it may be moved or rotated.
type File struct{ Path string }

// Keep adds notes and returns when they are on the disk. Of several processes one
// writes at a time; what one left half written when it was killed is cut off.
func (w File) Keep(_ context.Context, notes []string) (err error) {
	f, err := os.OpenFile(w.Path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("opening the witness file: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }() // ends the lock
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("locking the witness file: %w", err)
	}
	end, err := whole(f)
	if err != nil {
		return fmt.Errorf("reading the end of the witness file: %w", err)
	}
	_, err = f.WriteAt(text(notes), end)
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing the witness file: %w", err), f.Truncate(end))
	}
	return nil
}

// longest is more than a checkpoint is long.
const longest = 64 << 10

// whole cuts off what follows the last whole note, and returns where that ends.
func whole(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	from := max(0, info.Size()-longest)
	tail := make([]byte, info.Size()-from)
	if _, err := f.ReadAt(tail, from); err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	end := info.Size()
	last := bytes.LastIndex(tail, []byte("\n— ")) // of the signature of the last note
	for last >= 0 {
		if line := bytes.IndexByte(tail[last+1:], '\n'); line >= 0 {
			end = from + int64(last+1+line+1)
			break
		}
		last = bytes.LastIndex(tail[:last], []byte("\n— "))
	}
	switch {
	case len(tail) == 0:
		return 0, nil
	case last < 0 && from > 0:
		return 0, errors.New("it holds something else than checkpoints")
	case last < 0:
		end = 0
	}
	rest := bytes.TrimLeft(tail[end-from:], "\n")
	if len(rest) > 0 && !bytes.HasPrefix(rest, []byte("purser/")) && !bytes.HasPrefix([]byte("purser/"), rest) {
		return 0, errors.New("it holds something else than checkpoints")
	}
	if err := f.Truncate(end); err != nil {
		return 0, err
	}
	if end == 0 {
		return 0, nil
	}
	_, err = f.WriteAt([]byte("\n"), end)
	return end + 1, err
}

// Post sends to an address, which may be another's: the notes say nothing but how
// long the log is and what its root is.
type Post struct {
	URL    string
	Secret string // signs each post as a notice's webhook is signed; empty: no signature but the notes' own
	Now    func() time.Time
	client *http.Client
}

const (
	dialTimeout = 5 * time.Second
	postTimeout = 15 * time.Second
)

// NewPost makes a post with connections of its own. It follows no redirect: one
// would take the copy to a place that the operator did not name.
func NewPost(address, secret string, now func() time.Time) *Post {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = (&net.Dialer{Timeout: dialTimeout}).DialContext
	return &Post{URL: address, Secret: secret, Now: now, client: &http.Client{
		Transport: t, Timeout: postTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Keep posts notes as text/plain. Only an answer of 2xx counts as kept; the
// receiver may get the same note again.
func (w *Post) Keep(ctx context.Context, notes []string) error {
	body := text(notes)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return errors.New("the witness's address cannot be used")
	}
	at := w.Now()
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	req.Header.Set("User-Agent", "purser")
	req.Header.Set(notice.TimestampHeader, fmt.Sprint(at.Unix()))
	if w.Secret != "" {
		req.Header.Set(notice.SignatureHeader, notice.Sign(w.Secret, at, body))
	}
	resp, err := w.client.Do(req)
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // without the address, which may hold a secret
	}
	if err != nil {
		return fmt.Errorf("reaching the witness: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("the witness answered %d", resp.StatusCode)
	}
	return nil
}
