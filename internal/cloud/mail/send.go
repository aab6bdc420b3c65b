package mail

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"strings"

	"github.com/emersion/go-message/mail"
)

// errElsewhere says that a recipient is not of this office, which relays nothing.
var errElsewhere = errors.New("not an inbox of this office")

// people is one address or several: the API takes a text or a list.
type people []string

// UnmarshalJSON reads "a@x", "a@x, b@y" or ["a@x","b@y"].
func (p *people) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*p = nil
		if one != "" {
			*p = strings.Split(one, ",")
		}
		return nil
	}
	var many []string
	if err := json.Unmarshal(text, &many); err != nil {
		return fmt.Errorf("reading addresses: %w", err)
	}
	*p = many
	return nil
}

// letter is what send takes.
type letter struct {
	To      people            `json:"to"`
	Cc      people            `json:"cc"`
	Bcc     people            `json:"bcc"`
	ReplyTo people            `json:"reply_to"`
	Subject string            `json:"subject"`
	Text    string            `json:"text"`
	HTML    string            `json:"html"`
	Labels  []string          `json:"labels"`
	Headers map[string]string `json:"headers"`
	Parts   []struct {
		Name    string `json:"filename"`
		Type    string `json:"content_type"`
		Content string `json:"content"` // base64
	} `json:"attachments"`
}

func (a *api) send(w http.ResponseWriter, r *http.Request, box Inbox) error {
	var l letter
	if err := read(r, &l); err != nil {
		return err
	}
	m, err := a.post(r.Context(), box, l)
	if err != nil {
		return err
	}
	return write(w, http.StatusOK, map[string]string{"message_id": m.ID, "thread_id": m.Thread})
}

// post delivers a letter to inboxes of this office and files a copy with its
// sender. One recipient elsewhere refuses the whole letter: nothing is half sent.
func (o *Office) post(ctx context.Context, from Inbox, l letter) (Message, error) {
	boxes, err := o.recipients(ctx, l)
	if err != nil {
		return Message{}, err
	}
	raw, err := o.compose(from, l)
	if err != nil {
		return Message{}, err
	}
	if len(raw) > MaxMessage {
		return Message{}, fmt.Errorf("a letter of %d bytes: %w", len(raw), ErrInvalid)
	}
	if err := o.receive(ctx, boxes, raw, from.Address, []string{LabelReceived, LabelUnread}); err != nil {
		return Message{}, err
	}
	sum, err := o.keep(raw)
	if err != nil {
		return Message{}, err
	}
	return o.deliver(ctx, from, sum, raw, from.Address, append([]string{LabelSent}, l.Labels...))
}

func (o *Office) recipients(ctx context.Context, l letter) ([]Inbox, error) {
	var boxes []Inbox
	for _, list := range []people{l.To, l.Cc, l.Bcc} {
		for _, text := range list {
			a, err := mail.ParseAddress(text)
			if err != nil {
				return nil, fmt.Errorf("address %q: %w", text, ErrInvalid)
			}
			box, err := o.Inbox(ctx, a.Address)
			switch {
			case errors.Is(err, ErrNotFound):
				return nil, fmt.Errorf("%s: %w", a.Address, errElsewhere)
			case err != nil:
				return nil, err
			}
			if stopped, err := o.stopped(ctx, box.Account); err != nil || stopped {
				return nil, errors.Join(fmt.Errorf("%s: %w", a.Address, errElsewhere), err)
			}
			boxes = append(boxes, box)
		}
	}
	if len(boxes) == 0 || len(boxes) > 50 {
		return nil, fmt.Errorf("%d recipients: %w", len(boxes), ErrInvalid)
	}
	return boxes, nil
}

// compose writes a letter as a message (RFC 5322). Blind copies are not in it.
func (o *Office) compose(from Inbox, l letter) ([]byte, error) {
	h, err := o.header(from, l)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	w, err := mail.CreateWriter(&out, h)
	if err != nil {
		return nil, fmt.Errorf("writing a letter: %w", err)
	}
	if err := writeTexts(w, l); err != nil {
		return nil, fmt.Errorf("writing a letter: %w", err)
	}
	for _, p := range l.Parts {
		content, err := base64.StdEncoding.DecodeString(p.Content)
		if err != nil {
			return nil, fmt.Errorf("attachment %q: %w", p.Name, ErrInvalid)
		}
		var ah mail.AttachmentHeader
		ah.SetFilename(p.Name)
		if p.Type != "" {
			ah.SetContentType(p.Type, nil)
		}
		part, err := w.CreateAttachment(ah)
		if err != nil {
			return nil, fmt.Errorf("writing an attachment: %w", err)
		}
		if _, err := part.Write(content); err != nil {
			return nil, fmt.Errorf("writing an attachment: %w", err)
		}
		if err := part.Close(); err != nil {
			return nil, fmt.Errorf("writing an attachment: %w", err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("writing a letter: %w", err)
	}
	return out.Bytes(), nil
}

func (o *Office) header(from Inbox, l letter) (mail.Header, error) {
	var h mail.Header
	for key, value := range l.Headers {
		if strings.ContainsAny(key+value, "\r\n") || !headerName(key) {
			return h, fmt.Errorf("header %q: %w", key, ErrInvalid)
		}
		h.Set(key, value)
	}
	if strings.ContainsAny(l.Subject, "\r\n") {
		return h, fmt.Errorf("subject of several lines: %w", ErrInvalid)
	}
	id, err := o.newID("")
	if err != nil {
		return h, err
	}
	_, domain, _ := strings.Cut(from.Address, "@")
	h.SetMessageID(id + "@" + domain)
	h.SetDate(o.Now())
	h.SetSubject(l.Subject)
	h.SetAddressList("From", []*mail.Address{{Name: from.Name, Address: from.Address}})
	for key, list := range map[string]people{"To": l.To, "Cc": l.Cc, "Reply-To": l.ReplyTo} {
		parsed, err := mail.ParseAddressList(strings.Join(list, ", "))
		if len(list) > 0 && err != nil {
			return h, fmt.Errorf("addresses of %s: %w", key, ErrInvalid)
		}
		if len(list) > 0 {
			h.SetAddressList(key, parsed)
		}
	}
	return h, nil
}

// headerName accepts the names a sender may add; those that the office writes
// itself are not among them.
func headerName(key string) bool {
	switch textproto.CanonicalMIMEHeaderKey(key) {
	case "From", "To", "Cc", "Bcc", "Reply-To", "Sender", "Subject", "Date", "Message-Id", "Mime-Version", "Content-Type", "Content-Transfer-Encoding":
		return false
	}
	for _, c := range key {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return key != ""
}

func writeTexts(w *mail.Writer, l letter) error {
	inline, err := w.CreateInline()
	if err != nil {
		return err
	}
	for _, t := range []struct{ kind, text string }{{"text/plain", l.Text}, {"text/html", l.HTML}} {
		if t.text == "" && (t.kind == "text/html" || l.HTML != "") {
			continue
		}
		var h mail.InlineHeader
		h.SetContentType(t.kind, map[string]string{"charset": "utf-8"})
		part, err := inline.CreatePart(h)
		if err != nil {
			return err
		}
		if _, err := part.Write([]byte(t.text)); err != nil {
			return err
		}
		if err := part.Close(); err != nil {
			return err
		}
	}
	return inline.Close()
}
