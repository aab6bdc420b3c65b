package oauthapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/purser-dev/purser/internal/oauth"
)

const (
	documentLimit = 16 << 10 // bytes
	documentTime  = 5 * time.Second
	documentsAt   = 4 // fetched at once
)

var errDocument = errors.New("the document cannot be used")

// Documents fetches what clients name as their identifier. The address comes from a
// stranger, so it leads to public hosts only: the address that is really dialled is
// looked at, after DNS, and nothing is followed. It is safe for concurrent use.
type Documents struct {
	client *http.Client
	slots  chan struct{}
}

// NewDocuments makes a fetcher. With local it also asks this machine, for trials.
func NewDocuments(local bool) *Documents {
	dialer := &net.Dialer{Timeout: documentTime, Control: func(_, address string, _ syscall.RawConn) error { return reachable(address, local) }}
	return &Documents{slots: make(chan struct{}, documentsAt), client: &http.Client{
		Timeout: documentTime,
		Transport: &http.Transport{ // no proxy: it would dial for us
			DialContext: dialer.DialContext, TLSHandshakeTimeout: documentTime, DisableKeepAlives: true, MaxResponseHeaderBytes: documentLimit, DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// reachable refuses a network address that is not of a public host.
func reachable(address string, local bool) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %q is not an address", errDocument, address)
	}
	if oauth.Reserved(at.Addr()) && !(local && at.Addr().Unmap().IsLoopback()) {
		return fmt.Errorf("%w: %s is not a public address", errDocument, at.Addr())
	}
	return nil
}

// Fetch reads a document of at most 16 KiB within five seconds.
func (d *Documents) Fetch(ctx context.Context, address string) ([]byte, error) {
	select {
	case d.slots <- struct{}{}:
		defer func() { <-d.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDocument, err)
	}
	req.Header.Set("Accept", "application/json")
	resp, err := d.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDocument, err)
	}
	defer func() { _ = resp.Body.Close() }()
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if resp.StatusCode != http.StatusOK || err != nil || kind != "application/json" && !strings.HasSuffix(kind, "+json") {
		return nil, fmt.Errorf("%w: status %d, %q", errDocument, resp.StatusCode, kind)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, documentLimit+1))
	if err != nil || len(raw) > documentLimit {
		return nil, fmt.Errorf("%w: larger than %d bytes, or broken off: %w", errDocument, documentLimit, err)
	}
	return raw, nil
}
