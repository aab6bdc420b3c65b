package courier

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/purser-dev/purser/internal/notice"
)

func message() notice.Message {
	return notice.Message{
		Notice: notice.Trial("1", "per_1"), ID: "ntc_1", Organization: "org_1", OrganizationName: "Home", At: time.Unix(1e9, 0), Address: "ada@example.org",
		URL: "https://purser.example/approvals/pln_1",
	}
}

// post is a real mail server. It keeps what it took, and can misbehave.
type post struct {
	mu      sync.Mutex
	taken   []string
	from    string
	auth    int
	plain   bool         // a password came before TLS
	after   func() error // of DATA: what it answers, having taken the mail
	address string
	pool    *x509.CertPool
}

func (p *post) NewSession(c *smtp.Conn) (smtp.Session, error) { return &session{p: p, c: c}, nil }

type session struct {
	p *post
	c *smtp.Conn
}

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		s.p.mu.Lock()
		defer s.p.mu.Unlock()
		if _, ok := s.c.TLSConnectionState(); !ok {
			s.p.plain = true
		}
		if user != "purser" || password != "hunter2" {
			return errors.New("535 no")
		}
		s.p.auth++
		return nil
	}), nil
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	s.p.from = from
	return nil
}
func (s *session) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (s *session) Reset()                               {}
func (s *session) Logout() error                        { return nil }

func (s *session) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.p.mu.Lock()
	s.p.taken = append(s.p.taken, string(b))
	after := s.p.after
	s.p.mu.Unlock()
	if after != nil {
		return after()
	}
	return nil
}

func (p *post) got() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.taken...)
}

// open starts a mail server in a TLS mode; offers is false for one without STARTTLS.
func open(t *testing.T, mode string, offers bool) *post {
	t.Helper()
	p := &post{pool: x509.NewCertPool()}
	s := smtp.NewServer(p)
	s.Domain, s.AllowInsecureAuth = "localhost", true // as a careless server would
	if offers {
		s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate(t, p.pool)}}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.address = l.Addr().String()
	if mode == TLS {
		l = tls.NewListener(l, s.TLSConfig)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = s.Close()
		_ = l.Close() // a test that is over before the server began to serve would wait for ever
		<-done
	})
	return p
}

func certificate(t *testing.T, pool *x509.CertPool) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (p *post) courier(mode string) Mail {
	return Mail{Address: p.address, TLS: mode, User: "purser", Password: "hunter2", From: "Purser <purser@example.org>", Config: &tls.Config{RootCAs: p.pool}}
}

func TestMailArrivesInEachMode(t *testing.T) {
	for _, mode := range []string{TLS, StartTLS, NoTLS} {
		p := open(t, mode, mode != NoTLS)
		m := p.courier(mode)
		if err := m.Carry(t.Context(), message()); err != nil {
			t.Errorf("%s: %v", mode, err)
			continue
		}
		got := p.got()
		if len(got) != 1 || p.from != "purser@example.org" || p.auth != 1 || p.plain != (mode == NoTLS) {
			t.Errorf("%s: %d mails from %s, signed in %d times, in the clear %v", mode, len(got), p.from, p.auth, p.plain)
		}
		read, err := mail.ReadMessage(strings.NewReader(got[0]))
		if err != nil || read.Header.Get("To") != "<ada@example.org>" {
			t.Errorf("%s: %v %v", mode, read, err)
		}
	}
}

// A password and what is bought go to the server that was named, encrypted, or nowhere.
func TestNothingIsSaidToAServerThatIsNotTheRightOne(t *testing.T) {
	for name, c := range map[string]struct {
		mode   string
		offers bool
		change func(*Mail)
	}{
		"one that offers no STARTTLS":         {StartTLS, false, func(*Mail) {}},
		"one with a certificate of its own":   {StartTLS, true, func(m *Mail) { m.Config = nil }},
		"the same with TLS at once":           {TLS, true, func(m *Mail) { m.Config = nil }},
		"one of another name":                 {TLS, true, func(m *Mail) { m.Config.ServerName = "mail.example.org" }},
		"one that does not take the password": {TLS, true, func(m *Mail) { m.Password = "guess" }},
		"an address that is none":             {TLS, true, func(m *Mail) { m.Address = "127.0.0.1:1" }},
		"a sender that is none":               {TLS, true, func(m *Mail) { m.From = "purser" }},
	} {
		p := open(t, c.mode, c.offers)
		m := p.courier(c.mode)
		c.change(&m)
		err := m.Carry(t.Context(), message())
		if err == nil || len(p.got()) != 0 || p.auth != 0 || p.plain {
			t.Errorf("%s: %v, %d mails, signed in %d times, in the clear %v", name, err, len(p.got()), p.auth, p.plain)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the password is in %v", name, err)
		}
	}
}

// The server took the mail and its answer was lost: it is sent again, under the
// same Message-ID.
func TestALostAnswerSendsTheSameMailAgain(t *testing.T) {
	p := open(t, NoTLS, false)
	p.after = func() error { return &smtp.SMTPError{Code: 451, Message: "try later"} }
	m := p.courier(NoTLS)
	if err := m.Carry(t.Context(), message()); err == nil {
		t.Fatal("a refusal counts as taken")
	}
	p.mu.Lock()
	p.after = nil
	p.mu.Unlock()
	if err := m.Carry(t.Context(), message()); err != nil {
		t.Fatal(err)
	}
	got := p.got()
	if len(got) != 2 || got[0] != got[1] {
		t.Errorf("%d mails, the same: %v", len(got), len(got) == 2 && got[0] == got[1])
	}
}

func TestASilentServerIsLeft(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err = Mail{Address: l.Addr().String(), TLS: NoTLS, From: "purser@example.org"}.Carry(ctx, message())
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it ended with %v", err)
	}
}

// receiver is a real webhook. It checks each signature as docs/operating.md says.
type receiver struct {
	mu       sync.Mutex
	good     []string // identifiers of notices
	bad      int
	behave   func(n int, w http.ResponseWriter) // n counts from 1
	requests int
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	body, _ := io.ReadAll(req.Body)
	h := req.Header
	r.requests++
	if notice.Verified("s3cret", h.Get("Purser-Timestamp"), h.Get("Purser-Signature"), body, time.Now(), 5*time.Minute) {
		r.good = append(r.good, h.Get("Purser-Notice"))
	} else {
		r.bad++
	}
	if r.behave != nil {
		r.behave(r.requests, w)
	}
}

func TestAWebhookIsSignedAndOnlyATakenOneCounts(t *testing.T) {
	r := &receiver{}
	s := httptest.NewServer(r)
	defer s.Close()
	elsewhere := &receiver{}
	other := httptest.NewServer(elsewhere)
	defer other.Close()
	w := NewWebhook(s.URL+"/T0/B0/hooktoken", "s3cret", time.Now)
	if err := w.Carry(t.Context(), message()); err != nil {
		t.Fatal(err)
	}
	for name, behave := range map[string]func(int, http.ResponseWriter){
		"500":           func(_ int, w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) },
		"404":           func(_ int, w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) },
		"a lost answer": func(int, http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"a redirect": func(_ int, w http.ResponseWriter) {
			w.Header().Set("Location", other.URL)
			w.WriteHeader(http.StatusTemporaryRedirect)
		},
	} {
		r.mu.Lock()
		r.behave = behave
		r.mu.Unlock()
		err := w.Carry(t.Context(), message())
		if err == nil {
			t.Errorf("%s counts as taken", name)
		} else if strings.Contains(err.Error(), "hooktoken") || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: a secret is in %v", name, err)
		}
	}
	if len(r.good) < 5 || r.bad != 0 || r.good[0] != "ntc_1" || r.good[len(r.good)-1] != "ntc_1" {
		t.Errorf("%v, and %d with a wrong signature", r.good, r.bad)
	}
	if elsewhere.requests != 0 {
		t.Error("it followed a redirect")
	}
	wrong := NewWebhook(s.URL, "another", time.Now)
	_ = wrong.Carry(t.Context(), message())
	if r.bad != 1 {
		t.Error("any signature will do")
	}
	gone := NewWebhook("http://127.0.0.1:1/hooktoken", "", time.Now)
	if err := gone.Carry(t.Context(), message()); err == nil || strings.Contains(err.Error(), "hooktoken") {
		t.Errorf("a receiver that is not there: %v", err)
	}
}
