package demo

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"github.com/purser-dev/purser"
)

// compared is how many files of a large site are fetched and compared.
const compared = 64

// lookFromOutside asks the name server over UDP, fetches over HTTPS with only
// the local root trusted, and compares bodies with the folder.
func (v *Voyage) lookFromOutside(ctx context.Context) error {
	if err := v.resolves(ctx); err != nil {
		return err
	}
	browser, err := v.browser()
	if err != nil {
		return err
	}
	defer browser.CloseIdleConnections()
	v.Result.URL = "https://" + v.Domain + "/"
	if err := v.fetches(ctx, browser); err != nil {
		return err
	}
	v.Say("from outside: DNS answers over UDP, HTTPS holds with only the local root trusted, bodies are the folder's")
	return nil
}

func (v *Voyage) resolves(ctx context.Context) error {
	question := new(dns.Msg)
	question.SetQuestion(dns.Fqdn(v.Domain), dns.TypeA)
	asker := dns.Client{Net: "udp", Timeout: 5 * time.Second}
	answer, _, err := asker.ExchangeContext(ctx, question, hostPort(v.Ready.Cloud.DNS))
	if err != nil {
		return unseen("the name server does not answer: %v", err)
	}
	for _, record := range answer.Answer {
		if a, ok := record.(*dns.A); ok && a.A.IsLoopback() && strings.EqualFold(a.Hdr.Name, dns.Fqdn(v.Domain)) {
			v.Result.Checks.DNS = true
		}
	}
	if !v.Result.Checks.DNS {
		return unseen("the name server has no address for %s (%s)", v.Domain, dns.RcodeToString[answer.Rcode])
	}
	return nil
}

// browser trusts the local root and nothing else, and finds the name where the
// name server said: at the edge's port.
func (v *Voyage) browser() (*http.Client, error) {
	root, err := os.ReadFile(v.Ready.Cloud.RootPEM)
	if err != nil {
		return nil, fmt.Errorf("reading the local root: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(root) {
		return nil, unseen("%s holds no certificate", v.Ready.Cloud.RootPEM)
	}
	edge := hostPort(v.Ready.Cloud.HTTPS)
	return &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if address != net.JoinHostPort(v.Domain, "443") {
				return nil, unseen("the site leads to %s", address)
			}
			return (&net.Dialer{}).DialContext(ctx, network, edge)
		},
	}}, nil
}

func (v *Voyage) fetches(ctx context.Context, browser *http.Client) error {
	files := sample(v.site.Files)
	if len(files) == 0 {
		return unseen("the folder has no page to compare")
	}
	// The first alone: it shows whether TLS holds, and makes the certificate.
	if err := v.same(ctx, browser, files[0]); err != nil {
		return err
	}
	v.Result.Checks.TLS = true
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for _, f := range files[1:] {
		g.Go(func() error { return v.same(ctx, browser, f) })
	}
	err := g.Wait()
	v.Result.Checks.Body = err == nil
	return err
}

// same fetches a file at its address and compares the whole body.
func (v *Voyage) same(ctx context.Context, browser *http.Client, f purser.File) error {
	address := v.Result.URL + address(f.Path)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return unseen("%s: %v", address, err)
	}
	answer, err := browser.Do(r)
	if err != nil {
		return unseen("%v", err)
	}
	defer answer.Body.Close()
	h := sha256.New()
	size, err := io.Copy(h, answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK || hex.EncodeToString(h.Sum(nil)) != f.SHA256 {
		return unseen("%s is not the folder's %s: status %d, %d bytes, %v", address, f.Path, answer.StatusCode, size, err)
	}
	return nil
}

// sample takes index.html first and then files spread over the whole folder.
// Files that steer the host are not pages.
func sample(files []purser.File) (chosen []purser.File) {
	var pages []purser.File
	for _, f := range files {
		switch f.Path {
		case "_headers", "_redirects", ".assetsignore", "404.html":
		case "index.html":
			chosen = append(chosen, f)
		default:
			pages = append(pages, f)
		}
	}
	step := max(1, len(pages)/compared)
	for i := 0; i < len(pages); i += step {
		chosen = append(chosen, pages[i])
	}
	return chosen
}

// address is the clean URL path of a file: folders for their index.html, pages
// without .html.
func address(file string) string {
	if dir, ok := strings.CutSuffix(file, "index.html"); ok && (dir == "" || strings.HasSuffix(dir, "/")) {
		return escape(dir)
	}
	if path.Ext(file) == ".html" {
		return escape(strings.TrimSuffix(file, ".html"))
	}
	return escape(file)
}

func escape(p string) string { return (&url.URL{Path: p}).EscapedPath() }

// hostPort takes an address with or without its scheme.
func hostPort(address string) string {
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		return u.Host
	}
	return address
}

func unseen(format string, args ...any) *purser.Error {
	return purser.Errorf(purser.ProviderFailure, "seen from outside: "+format, args...)
}
