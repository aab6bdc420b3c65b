// Package courier carries notices to people: by mail over SMTP, and by signed webhook.
package courier

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/purser-dev/purser/internal/notice"
)

// dialTimeout bounds the reaching of a server; the context bounds the whole.
const dialTimeout = 10 * time.Second

// TLS modes of a mail server.
const (
	TLS      = "tls"      // from the first byte (port 465)
	StartTLS = "starttls" // before anything is said (port 587); without it nothing is sent
	NoTLS    = "none"     // for a server on this machine
)

// Mail carries notices to a mail server.
type Mail struct {
	Address  string // host:port
	TLS      string // a mode
	User     string // empty: no sign-in
	Password string
	From     string // Purser <purser@example.org>
	Config   *tls.Config
}

// Carry sends one message, and returns when the server has taken it. The same
// message sent twice has one Message-ID.
func (m Mail) Carry(ctx context.Context, msg notice.Message) error {
	raw, err := notice.MailText(msg, m.From)
	if err != nil {
		return err
	}
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", m.Address)
	if err != nil {
		return fmt.Errorf("reaching the mail server: %w", err)
	}
	// Whatever the server does, the connection ends with the context.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer func() { _ = conn.Close() }()
	if err := m.send(conn, msg.Address, raw); err != nil {
		return errors.Join(err, ctx.Err())
	}
	return nil
}

func (m Mail) send(conn net.Conn, to string, raw []byte) error {
	c, err := m.open(conn)
	if err != nil {
		return fmt.Errorf("greeting the mail server: %w", err)
	}
	if m.User != "" {
		if err := c.Auth(sasl.NewPlainClient("", m.User, m.Password)); err != nil {
			return fmt.Errorf("signing in at the mail server: %w", err)
		}
	}
	if err := c.SendMail(sender(m.From), []string{to}, bytes.NewReader(raw)); err != nil {
		return fmt.Errorf("handing over the mail: %w", err)
	}
	_ = c.Quit() // it has taken the mail already
	return nil
}

func (m Mail) open(conn net.Conn) (*smtp.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if m.Config != nil {
		config = m.Config.Clone()
	}
	if config.ServerName == "" {
		host, _, err := net.SplitHostPort(m.Address)
		if err != nil {
			return nil, err
		}
		config.ServerName = host
	}
	switch m.TLS {
	case TLS:
		return smtp.NewClient(tls.Client(conn, config)), nil
	case StartTLS:
		return smtp.NewClientStartTLS(conn, config)
	}
	return smtp.NewClient(conn), nil
}

// sender is the bare address of the envelope.
func sender(from string) string {
	if i := strings.LastIndexByte(from, '<'); i >= 0 {
		return strings.TrimSuffix(from[i+1:], ">")
	}
	return from
}

// Webhook posts notices to one address, signed.
type Webhook struct {
	URL    string
	Secret string
	Client *http.Client // nil: our own, which follows no redirect
	Now    func() time.Time
}

// NewWebhook makes a webhook with connections of its own.
func NewWebhook(address, secret string, now func() time.Time) Webhook {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = (&net.Dialer{Timeout: dialTimeout}).DialContext
	t.MaxIdleConnsPerHost = 2
	return Webhook{URL: address, Secret: secret, Now: now, Client: &http.Client{
		Transport: t,
		// A redirect would carry the notice to a place that the operator did not name.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Carry posts one message. Only an answer of 2xx counts as taken; the receiver may
// get the same notice again, under the same Purser-Notice.
func (w Webhook) Carry(ctx context.Context, msg notice.Message) error {
	body, err := notice.HookText(msg)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return errors.New("the webhook's address cannot be used")
	}
	at := w.Now()
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "purser")
	req.Header.Set(notice.NoticeHeader, msg.ID)
	req.Header.Set(notice.TimestampHeader, fmt.Sprint(at.Unix()))
	if w.Secret != "" {
		req.Header.Set(notice.SignatureHeader, notice.Sign(w.Secret, at, body))
	}
	resp, err := w.Client.Do(req)
	if err != nil {
		return fmt.Errorf("reaching the webhook: %w", withoutURL(err))
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("the webhook answered %d", resp.StatusCode)
	}
	return nil
}

// withoutURL keeps the address out of what is stored and shown: of some services it
// is a secret.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}
