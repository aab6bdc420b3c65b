package server

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/notice"
)

// letters is a mail server that keeps what it takes.
type letters struct {
	mu  sync.Mutex
	got []string
}

func (l *letters) NewSession(*smtp.Conn) (smtp.Session, error) { return l, nil }
func (l *letters) Mail(string, *smtp.MailOptions) error        { return nil }
func (l *letters) Rcpt(to string, _ *smtp.RcptOptions) error   { return nil }
func (l *letters) Reset()                                      {}
func (l *letters) Logout() error                               { return nil }
func (l *letters) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.got = append(l.got, string(text))
	return err
}

func (l *letters) with(words string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, text := range l.got {
		if strings.Contains(text, words) {
			n++
		}
	}
	return n
}

// From the settings to the mail box and the webhook, which answers 500 at first:
// a stop is told by both, within seconds and once.
func TestAServerTellsByTheWaysOfItsSettings(t *testing.T) {
	mail := &letters{}
	post := smtp.NewServer(mail)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- post.Serve(l) }()
	t.Cleanup(func() { _ = post.Close(); <-served })
	var mu sync.Mutex
	var posts, taken []string
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		h := r.Header
		if !notice.Verified("s3cret", h.Get("Purser-Timestamp"), h.Get("Purser-Signature"), body, time.Now(), time.Minute) {
			t.Errorf("the signature does not hold: %v", h)
		}
		if posts = append(posts, h.Get("Purser-Notice")); len(posts) == 1 {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		taken = append(taken, string(body))
	}))
	t.Cleanup(hook.Close)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	d := openDesk(t, map[string]any{
		"notices.smtp.host": "127.0.0.1", "notices.smtp.port": port, "notices.smtp.tls": "none", "notices.smtp.from": "Purser <purser@example.org>",
		"notices.webhook.url": hook.URL, "notices.webhook.secret_file": secret,
	})
	stop, err := d.person.Stop(t.Context(), purser.Stop{Scope: "organization", Reason: "a leak"})
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		mu.Lock()
		done := len(taken) >= 1
		mu.Unlock()
		if done && mail.with("a leak") >= 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("mail %v, posts %v", mail.got, posts)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(posts) != 2 || posts[0] != posts[1] || !strings.Contains(taken[0], stop.ID) || mail.with("a leak") != 1 {
		t.Errorf("posts %v, taken %v, mails %d", posts, taken, mail.with("a leak"))
	}
	told, err := d.person.ListNotices(t.Context(), purser.Page{})
	if err != nil || strings.Join(told.Ways, " ") != "mail webhook" || len(told.Items) != 1 {
		t.Errorf("%+v %v", told, err)
	}
}
