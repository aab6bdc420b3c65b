package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/purser-dev/purser/app"
)

// Limits of what is fetched for a client (15.1, 15.3).
const (
	maxDocument  = 5 << 10
	maxJWKS      = 16 << 10
	maxJWKSKeys  = 10
	fetchLife    = 10 * time.Second
	documentLife = time.Hour
)

var errNotOptedIn = errors.New("the document does not opt in to provisioning")

// validClientID: an https URL with a path and nothing beside it (15.1).
func validClientID(id string, loopback bool) bool {
	u, err := url.Parse(id)
	if err != nil || u.Path == "" || u.Path == "/" || u.RawQuery != "" || u.ForceQuery || strings.Contains(id, "#") || u.User != nil || u.Host == "" {
		return false
	}
	return u.Scheme == "https" || (loopback && app.CheckURL(id) == nil)
}

// publicClient connects to public addresses only. The address is judged when it is
// dialled, after DNS: a name that changes its mind in between cannot lead inside.
func publicClient(loopback bool) Doer {
	dialer := &net.Dialer{Timeout: 5 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		if at, err := netip.ParseAddrPort(address); err != nil || !public(at.Addr().Unmap(), loopback) {
			return errors.New("the address is not a public one")
		}
		return nil
	}}
	return &http.Client{
		Timeout:       fetchLife,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: 5 * time.Second,
			MaxIdleConns: 10, IdleConnTimeout: 30 * time.Second,
		},
	}
}

// notPublic are ranges that netip has no word for: shared address space, protocol
// assignments, benchmarks, reserved (RFC 6890), and IPv6 that embeds IPv4.
var notPublic = []netip.Prefix{
	netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("240.0.0.0/4"), netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("2002::/16"),
}

func public(ip netip.Addr, loopback bool) bool {
	if ip.IsLoopback() {
		return loopback
	}
	return ip.IsGlobalUnicast() && !ip.IsPrivate() && !slices.ContainsFunc(notPublic, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// fetch gets a JSON document of at most limit bytes and tells how long it may be kept.
func (p *Provider) fetch(ctx context.Context, target string, limit int64) ([]byte, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchLife)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, 0, errors.New("not a URL")
	}
	req.Header.Set("Accept", "application/json")
	resp, err := p.cfg.Generic.HTTP.Do(req)
	if err != nil {
		return nil, 0, fmt.Errorf("could not be fetched: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	switch {
	case err != nil:
		return nil, 0, fmt.Errorf("could not be read: %w", err)
	case resp.StatusCode != http.StatusOK:
		return nil, 0, fmt.Errorf("answered HTTP %d", resp.StatusCode)
	case int64(len(body)) > limit:
		return nil, 0, errors.New("is too large")
	}
	return body, kept(resp.Header.Get("Cache-Control")), nil
}

// kept is an hour, or what the document's max-age says between 5 min and a day.
func kept(control string) time.Duration {
	for directive := range strings.SplitSeq(control, ",") {
		value, ok := strings.CutPrefix(strings.TrimSpace(directive), "max-age=")
		if seconds, err := strconv.ParseInt(value, 10, 32); ok && err == nil {
			return min(max(time.Duration(seconds)*time.Second, 5*time.Minute), 24*time.Hour)
		}
	}
	return documentLife
}

// fetchDocument reads a client ID metadata document (15.1).
func (p *Provider) fetchDocument(ctx context.Context, clientID string) (*partner, error) {
	raw, life, err := p.fetch(ctx, clientID, maxDocument)
	if err != nil {
		return nil, fmt.Errorf("document: %w", err)
	}
	var d PartnerDocument
	if err := json.Unmarshal(raw, &d); err != nil {
		return nil, errors.New("document: not readable")
	}
	if d.ClientID != clientID {
		return nil, errors.New("document: client_id is another")
	}
	if err := d.check(p.cfg.Generic.Loopback); err != nil {
		return nil, err
	}
	members, _ := app.Object(raw)
	var block struct {
		Provisioning any      `json:"provisioning"`
		Scopes       []string `json:"scopes"`
		Verification string   `json:"verification_token"`
	}
	if json.Unmarshal(members[p.cfg.Generic.Block], &block) != nil || block.Provisioning != true {
		return nil, errNotOptedIn // the string "true" is not true
	}
	if block.Scopes == nil {
		block.Scopes = p.cfg.Generic.Scopes
	}
	d.Scopes, d.VerificationToken = block.Scopes, block.Verification
	return &partner{
		Name: partnerName(clientID), Document: d, Scopes: block.Scopes, Verify: block.Verification, Until: p.cfg.Now().Add(life),
	}, nil
}

func (d PartnerDocument) check(loopback bool) error {
	if len(d.RedirectURIs) == 0 {
		return errors.New("document: redirect_uris is empty")
	}
	for _, target := range d.RedirectURIs {
		if target == "" || strings.ContainsFunc(target, unicode.IsSpace) || app.CheckURL(target) != nil {
			return errors.New("document: a redirect URI is no https URL")
		}
	}
	switch d.AuthMethod {
	case "", "none":
	case "private_key_jwt":
		if app.CheckURL(d.JWKSURI) != nil || (!loopback && !strings.HasPrefix(d.JWKSURI, "https:")) {
			return errors.New("document: jwks_uri is no https URL")
		}
	default:
		return errors.New("document: token_endpoint_auth_method must be none or private_key_jwt")
	}
	if d.LogoURI != "" && !strings.HasPrefix(d.LogoURI, "https://") {
		return errors.New("document: logo_uri is no https URL")
	}
	return nil
}
