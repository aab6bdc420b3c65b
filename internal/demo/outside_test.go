package demo

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/folder"
)

func TestAFileIsLookedForAtItsCleanAddress(t *testing.T) {
	for file, want := range map[string]string{
		"index.html":          "",
		"guide/index.html":    "guide/",
		"about.html":          "about",
		"myindex.html":        "myindex",
		"a b/größe.txt":       "a%20b/gr%C3%B6%C3%9Fe.txt",
		"style.css":           "style.css",
		"100%/what?.html":     "100%25/what%3F",
		"deep/down/index.htm": "deep/down/index.htm",
	} {
		if got := address(file); got != want {
			t.Errorf("%s is looked for at %q, want %q", file, got, want)
		}
	}
}

func TestASampleBeginsWithTheIndexAndIsSpread(t *testing.T) {
	files := []purser.File{{Path: "_headers"}, {Path: "404.html"}}
	for i := range 1000 {
		files = append(files, purser.File{Path: fmt.Sprintf("p%03d.html", i)})
	}
	files = append(files, purser.File{Path: "index.html"})
	got := sample(files)
	if got[0].Path != "index.html" {
		t.Errorf("the sample begins with %s", got[0].Path)
	}
	if len(got) < compared || len(got) > compared+8 {
		t.Errorf("%d files are compared, want about %d", len(got), compared)
	}
	for _, f := range got {
		if f.Path == "_headers" || f.Path == "404.html" {
			t.Errorf("%s is no page, and is in the sample", f.Path)
		}
	}
	if last := got[len(got)-1].Path; last < "p900" {
		t.Errorf("the sample ends with %s", last)
	}
}

// abroad is a name server and an edge for example.com, the name in the
// certificate of net/http/httptest.
func abroad(t *testing.T, site http.Handler, known bool) *Voyage {
	t.Helper()
	edge := httptest.NewTLSServer(site)
	t.Cleanup(edge.Close)
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	names := &dns.Server{PacketConn: socket, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if known {
			a, _ := dns.NewRR(q.Question[0].Name + " 60 IN A 127.0.0.1")
			m.Answer = append(m.Answer, a)
		} else {
			m.Rcode = dns.RcodeNameError
		}
		_ = w.WriteMsg(m)
	})}
	go func() { _ = names.ActivateAndServe() }()
	t.Cleanup(func() { _ = socket.Close() })
	root := filepath.Join(t.TempDir(), "root.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: edge.Certificate().Raw})
	if err := os.WriteFile(root, text, 0o600); err != nil {
		t.Fatal(err)
	}
	v := &Voyage{Options: Options{Domain: "example.com", Say: func(string, ...any) {}}}
	v.Ready.Cloud.HTTPS, v.Ready.Cloud.DNS, v.Ready.Cloud.RootPEM = edge.Listener.Addr().String(), socket.LocalAddr().String(), root
	dir := t.TempDir()
	if err := writeSite(dir, "example.com"); err != nil {
		t.Fatal(err)
	}
	if v.site, err = folder.Walk(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	return v
}

// otherRoot replaces a root by one that signed nothing.
func otherRoot(t *testing.T, path string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// honest serves the demo's site as the edge does: clean URLs.
func honest(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/")
	if path == "" || strings.HasSuffix(path, "/") {
		path += "index.html"
	}
	text, err := pages.ReadFile("site/" + path)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	_, _ = w.Write([]byte(strings.ReplaceAll(string(text), "DOMAIN", "example.com")))
}

func TestFromOutsideOnlyTheTruthPasses(t *testing.T) {
	for name, c := range map[string]struct {
		site  http.HandlerFunc
		known bool
		spoil func(v *Voyage)
		want  Checks
	}{
		"everything holds":                       {honest, true, nil, Checks{DNS: true, TLS: true, Body: true}},
		"the name server does not know the name": {honest, false, nil, Checks{}},
		"another root":                           {honest, true, func(v *Voyage) { otherRoot(t, v.Ready.Cloud.RootPEM) }, Checks{DNS: true}},
		"another name than the certificate's":    {honest, true, func(v *Voyage) { v.Domain = "example.net" }, Checks{DNS: true}},
		"a page that is not there": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/log/" {
				http.NotFound(w, r)
				return
			}
			honest(w, r)
		}, true, nil, Checks{DNS: true, TLS: true}},
		"one byte more": {func(w http.ResponseWriter, r *http.Request) {
			honest(w, r)
			if r.URL.Path == "/style.css" {
				_, _ = w.Write([]byte(" "))
			}
		}, true, nil, Checks{DNS: true, TLS: true}},
		"a site elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://elsewhere.example/", http.StatusFound)
		}, true, nil, Checks{DNS: true}},
	} {
		t.Run(name, func(t *testing.T) {
			v := abroad(t, c.site, c.known)
			if c.spoil != nil {
				c.spoil(v)
			}
			err := v.lookFromOutside(t.Context())
			if v.Result.Checks != c.want {
				t.Errorf("checks %+v (%v), want %+v", v.Result.Checks, err, c.want)
			}
			if all := (Checks{true, true, true}); (err == nil) != (c.want == all) {
				t.Errorf("the look from outside ended with %v", err)
			}
		})
	}
}
