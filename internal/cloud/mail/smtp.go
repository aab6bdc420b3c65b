package mail

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/purser-dev/purser/internal/cloud/fault"
)

// SMTPServer returns a server that delivers into the office's inboxes. The
// caller gives it a loopback listener; it never sends anything further.
func (o *Office) SMTPServer(log *slog.Logger) *smtp.Server {
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) {
		return &session{office: o}, nil
	}))
	s.Domain = "mx.purser.test"
	s.MaxMessageBytes = MaxMessage
	s.MaxRecipients = 50
	s.ReadTimeout = 10 * time.Second
	s.WriteTimeout = 10 * time.Second
	s.EnableSMTPUTF8 = true
	s.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	return s
}

// session is one conversation.
type session struct {
	office *Office
	from   string
	boxes  []Inbox
}

func reply(code int, enhanced smtp.EnhancedCode, text string) error {
	return &smtp.SMTPError{Code: code, EnhancedCode: enhanced, Message: text}
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	switch {
	case s.office.Faults.Hit(fault.MailBusy):
		return reply(450, smtp.EnhancedCode{4, 3, 2}, "Busy, try again later")
	case s.office.Faults.Hit(fault.MailRefused):
		return reply(550, smtp.EnhancedCode{5, 7, 1}, "Refused")
	}
	s.from = from
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	// The library gives sessions no context; a look-up is local and short.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	box, err := s.office.Inbox(ctx, to)
	if errors.Is(err, ErrNotFound) {
		return reply(550, smtp.EnhancedCode{5, 1, 1}, "No such mailbox here")
	}
	if err != nil {
		return reply(451, smtp.EnhancedCode{4, 3, 0}, "Cannot look up the mailbox now")
	}
	if stopped, err := s.office.stopped(ctx, box.Account); err != nil || stopped {
		return reply(450, smtp.EnhancedCode{4, 2, 1}, "The mailbox is stopped for now")
	}
	s.boxes = append(s.boxes, box)
	return nil
}

func (s *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err // the library's own errors carry their codes
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := s.office.receive(ctx, s.boxes, raw, s.from, []string{LabelReceived, LabelUnread}); err != nil {
		return reply(451, smtp.EnhancedCode{4, 3, 0}, "Cannot keep the message now")
	}
	return nil
}

func (s *session) Reset() { s.from, s.boxes = "", nil }

func (s *session) Logout() error { return nil }

// receive keeps a raw message once and delivers it to each inbox.
func (o *Office) receive(ctx context.Context, boxes []Inbox, raw []byte, from string, labels []string) error {
	sum, err := o.keep(raw)
	if err != nil {
		return err
	}
	for _, box := range boxes {
		if _, err := o.deliver(ctx, box, sum, bytes.Clone(raw), strings.Trim(from, "<>"), labels); err != nil {
			return err
		}
	}
	return nil
}
