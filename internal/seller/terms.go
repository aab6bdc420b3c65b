package seller

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
	"golang.org/x/net/html/charset"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
)

const (
	termsTimeout   = 10 * time.Second
	termsBytes     = 1 << 20
	termsRedirects = 5
)

// Terms reads the page at url (https, or http on loopback; at most 1 MiB, within
// 10 s, redirected within its host only) and gives its readable text. The same
// page gives the same text, byte for byte, so that its hash can be approved
// (RULES 13). A page that cannot be read now is provider_unavailable; one that is
// no text, or too large, is provider_failure.
func (s *Seller) Terms(ctx context.Context, url string) (string, error) {
	if err := app.CheckURL(url); err != nil {
		return "", purser.Errorf(purser.ProviderFailure, "the URL of the terms cannot be read").WithCause(err)
	}
	ctx, cancel := context.WithTimeout(ctx, termsTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", purser.Errorf(purser.ProviderFailure, "the URL of the terms cannot be read").WithCause(err)
	}
	req.Header.Set("Accept", "text/html, text/plain;q=0.9")
	req.Header.Set("Accept-Language", "en") // one language for all who ask, so that the text is one
	req.Header.Set("User-Agent", "purser (+"+s.cfg.Origin()+")")
	resp, err := (&http.Client{Transport: s.cfg.HTTP, CheckRedirect: sameHost}).Do(req)
	if err != nil {
		return "", lostTerms(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", refusedTerms(resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, termsBytes+1))
	if err != nil {
		return "", lostTerms(err)
	}
	if len(body) > termsBytes {
		return "", purser.Errorf(purser.ProviderFailure, "the terms are larger than %d bytes", termsBytes)
	}
	return textOf(body, resp.Header.Get("Content-Type"))
}

var errRedirect = errors.New("redirected to another host, or too often")

func sameHost(next *http.Request, via []*http.Request) error {
	first := via[0].URL
	if next.URL.Host != first.Host || next.URL.Scheme != first.Scheme || next.URL.User != nil || len(via) > termsRedirects {
		return errRedirect
	}
	return nil
}

func lostTerms(err error) error {
	if errors.Is(err, errRedirect) {
		return purser.Errorf(purser.ProviderFailure, "the terms were moved to another host or too often, and are not followed there").WithCause(err)
	}
	return purser.Errorf(purser.ProviderDown, "the terms cannot be read now").WithCause(err)
}

func refusedTerms(status int) error {
	code := purser.ProviderFailure
	if status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout {
		code = purser.ProviderDown
	}
	return purser.Errorf(code, "the page of the terms answered HTTP %d", status)
}

func textOf(body []byte, contentType string) (string, error) {
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		kind = http.DetectContentType(body)
	}
	isHTML := strings.HasPrefix(kind, "text/html") || kind == "application/xhtml+xml"
	if !isHTML && !strings.HasPrefix(kind, "text/") {
		return "", purser.Errorf(purser.ProviderFailure, "the terms are no text but %s", plain(kind, maxCode))
	}
	text, err := decoded(body, contentType)
	if err != nil {
		return "", purser.Errorf(purser.ProviderFailure, "the letters of the terms cannot be read").WithCause(err)
	}
	if isHTML {
		if text, err = readable(text); err != nil {
			return "", purser.Errorf(purser.ProviderFailure, "the page of the terms cannot be read").WithCause(err)
		}
	}
	if text = folded(text); text == "" {
		return "", purser.Errorf(purser.ProviderFailure, "the page of the terms holds no text")
	}
	return text, nil
}

// decoded is the page as UTF-8, from whatever it says that it is written in.
func decoded(body []byte, contentType string) (string, error) {
	encoding, _, _ := charset.DetermineEncoding(body, contentType)
	out, err := encoding.NewDecoder().Bytes(body)
	if err == nil && !utf8.Valid(out) {
		err = errors.New("not UTF-8")
	}
	return string(out), err
}

// readable is the text of a page as a reader sees it: blocks apart, without what
// a browser does not show.
func readable(page string) (string, error) {
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		return "", fmt.Errorf("parsing: %w", err)
	}
	var b strings.Builder
	write(&b, root)
	return b.String(), nil
}

func write(b *strings.Builder, n *html.Node) {
	switch {
	case n.Type == html.TextNode:
		// Line breaks of the source are not those of the page.
		b.WriteString(strings.Map(oneLine, n.Data))
		return
	case n.Type == html.ElementNode && (unseen[n.DataAtom] || hidden(n)):
		return
	}
	apart := n.Type == html.ElementNode && !inline[n.DataAtom]
	if apart {
		b.WriteByte('\n')
	}
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		write(b, c)
	}
	if apart {
		b.WriteByte('\n')
	}
}

func oneLine(r rune) rune {
	if unicode.IsSpace(r) {
		return ' '
	}
	return r
}

func hidden(n *html.Node) bool {
	for _, a := range n.Attr {
		if a.Namespace == "" && a.Key == "hidden" {
			return true
		}
	}
	return false
}

// unseen elements have no text for a reader; inline ones do not begin a line.
// Every other element does.
var (
	unseen = set(atom.Head, atom.Script, atom.Style, atom.Noscript, atom.Template, atom.Svg, atom.Math, atom.Iframe,
		atom.Object, atom.Audio, atom.Video, atom.Canvas, atom.Textarea, atom.Select, atom.Datalist)
	inline = set(atom.A, atom.Abbr, atom.B, atom.Bdi, atom.Bdo, atom.Cite, atom.Code, atom.Data, atom.Del, atom.Dfn, atom.Em,
		atom.Font, atom.I, atom.Ins, atom.Kbd, atom.Label, atom.Mark, atom.Q, atom.S, atom.Samp, atom.Small, atom.Span,
		atom.Strong, atom.Sub, atom.Sup, atom.Time, atom.U, atom.Var, atom.Wbr)
)

func set(names ...atom.Atom) map[atom.Atom]bool {
	m := map[atom.Atom]bool{}
	for _, n := range names {
		m[n] = true
	}
	return m
}

// folded has one space between words, one line break between lines, and nothing
// that cannot be printed.
func folded(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.Map(func(r rune) rune {
			if r = oneLine(r); r == ' ' || unicode.IsPrint(r) {
				return r
			}
			return -1
		}, line)
		if line = strings.Join(strings.Fields(line), " "); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}
