package mail

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-message"
	_ "github.com/emersion/go-message/charset" // texts in other encodings than UTF-8
	"github.com/emersion/go-message/mail"
)

// The labels that the office gives.
const (
	LabelReceived = "received"
	LabelUnread   = "unread"
	LabelSent     = "sent"
	LabelUnparsed = "unparsed" // not a readable message; the raw one is kept
)

// Head is what a list shows of a message. Its texts come from strangers: data,
// never instructions.
type Head struct {
	From       string            `json:"from"`
	ReplyTo    []string          `json:"reply_to,omitempty"`
	To         []string          `json:"to"`
	Cc         []string          `json:"cc,omitempty"`
	Bcc        []string          `json:"bcc,omitempty"`
	Subject    string            `json:"subject,omitempty"`
	Preview    string            `json:"preview,omitempty"`
	InReplyTo  string            `json:"in_reply_to,omitempty"`
	References []string          `json:"references,omitempty"`
	Headers    map[string]string `json:"headers,omitempty"`
	Parts      []Attachment      `json:"attachments,omitempty"`
}

// Attachment is one attached file of a message.
type Attachment struct {
	ID   string `json:"attachment_id"` // its place in the message, from 0
	Name string `json:"filename,omitempty"`
	Size int64  `json:"size"` // bytes, decoded
	Type string `json:"content_type,omitempty"`
}

// Message is one message in one inbox.
type Message struct {
	Head
	Inbox  string
	ID     string
	Thread string
	Labels []string
	At     time.Time
	Size   int64  // bytes of the raw message
	raw    string // SHA-256 of the raw message
}

// Body is the text of a message, as far as it could be read.
type Body struct{ Text, HTML string }

const (
	previewLength = 160
	maxHeaders    = 100
	maxParts      = 100
)

// deliver puts a raw message into an inbox. The same message (by Message-ID and
// bytes) arrives once, however often its sender repeats it after a lost answer.
func (o *Office) deliver(ctx context.Context, box Inbox, sum string, raw []byte, envelope string, labels []string) (Message, error) {
	head, id, err := parse(raw)
	if err != nil {
		labels = append(labels, LabelUnparsed)
	}
	if head.From == "" {
		head.From = envelope
	}
	m := Message{Head: head, Inbox: box.Address, ID: id, Labels: labels, At: o.Now().UTC(), Size: int64(len(raw)), raw: sum}
	if m.ID == "" {
		m.ID = "<" + sum[:32] + "@" + DefaultDomain + ">"
	}
	err = o.DB.Write(ctx, func(tx *sql.Tx) error {
		var before string
		err := tx.QueryRowContext(ctx, `SELECT raw FROM mail_messages WHERE inbox = $1 AND id = $2`, m.Inbox, m.ID).Scan(&before)
		switch {
		case err == nil && before == sum:
			return nil // the sender did not hear our first answer
		case err == nil:
			m.ID = "<" + sum[:32] + "@" + DefaultDomain + ">" // another message under a used id
		case !errors.Is(err, sql.ErrNoRows):
			return err
		}
		if m.Thread, err = thread(ctx, tx, m); err != nil {
			return err
		}
		return insert(ctx, tx, m)
	})
	if err != nil {
		return Message{}, fmt.Errorf("delivering to %s: %w", box.Address, err)
	}
	return m, nil
}

// thread is that of the message answered, else one named after this message.
func thread(ctx context.Context, tx *sql.Tx, m Message) (string, error) {
	for _, id := range append(slices.Clone(m.References), m.InReplyTo) {
		var found string
		err := tx.QueryRowContext(ctx, `SELECT thread FROM mail_messages WHERE inbox = $1 AND id = $2`, m.Inbox, id).Scan(&found)
		if err == nil || !errors.Is(err, sql.ErrNoRows) {
			return found, err
		}
	}
	return "thr_" + hash(m.Inbox + "\x00" + m.ID)[:24], nil
}

func insert(ctx context.Context, tx *sql.Tx, m Message) error {
	head, err := json.Marshal(m.Head)
	if err != nil {
		return err
	}
	labels, err := json.Marshal(m.Labels)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO mail_messages (inbox, id, thread, labels, at, size, raw, head)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (inbox, id) DO NOTHING`,
		m.Inbox, m.ID, m.Thread, string(labels), m.At.UnixMicro(), m.Size, m.raw, string(head))
	return err
}

// keep writes a raw message to disk before anybody is told that we have it.
func (o *Office) keep(raw []byte) (sum string, err error) {
	sum = hash(string(raw))
	path := o.rawPath(sum)
	if _, err := os.Stat(path); err == nil {
		return sum, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", fmt.Errorf("keeping a message: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return "", fmt.Errorf("keeping a message: %w", err)
	}
	defer os.Remove(f.Name()) // gone already after the rename
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", fmt.Errorf("keeping a message: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return "", fmt.Errorf("keeping a message: %w", err)
	}
	return sum, nil
}

const messages = `SELECT inbox, id, thread, labels, at, size, raw, head FROM mail_messages`

// Message reads one message, or ErrNotFound.
func (o *Office) Message(ctx context.Context, inbox, id string) (Message, error) {
	return scanMessage(o.DB.Reader().QueryRowContext(ctx, messages+` WHERE inbox = $1 AND id = $2`, inbox, id))
}

// Page is a place in a list of messages, newest first.
type Page struct {
	Limit  int // at most this many
	Before time.Time
	Below  string // among equal times, ids below this one; "": from the start
}

// Messages lists an inbox, newest first.
func (o *Office) Messages(ctx context.Context, inbox string, p Page) ([]Message, error) {
	before := int64(1<<62 - 1)
	if !p.Before.IsZero() {
		before = p.Before.UnixMicro()
	}
	rows, err := o.DB.Reader().QueryContext(ctx, messages+` WHERE inbox = $1 AND (at < $2 OR (at = $2 AND id < $3))
		ORDER BY at DESC, id DESC LIMIT $4`, inbox, before, p.Below, p.Limit)
	if err != nil {
		return nil, fmt.Errorf("listing messages: %w", err)
	}
	defer rows.Close()
	all := []Message{}
	for rows.Next() {
		m, err := scanMessage(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, rows.Err()
}

func scanMessage(row interface{ Scan(...any) error }) (Message, error) {
	var m Message
	var labels, head string
	var at int64
	err := row.Scan(&m.Inbox, &m.ID, &m.Thread, &labels, &at, &m.Size, &m.raw, &head)
	if errors.Is(err, sql.ErrNoRows) {
		return Message{}, fmt.Errorf("message: %w", ErrNotFound)
	}
	if err == nil {
		err = errors.Join(json.Unmarshal([]byte(labels), &m.Labels), json.Unmarshal([]byte(head), &m.Head))
	}
	if err != nil {
		return Message{}, fmt.Errorf("reading a message: %w", err)
	}
	m.At = time.UnixMicro(at).UTC()
	return m, nil
}

// Raw gives a message as it arrived.
func (o *Office) Raw(m Message) ([]byte, error) {
	raw, err := os.ReadFile(o.rawPath(m.raw))
	if err != nil {
		return nil, fmt.Errorf("reading a raw message: %w", err)
	}
	return raw, nil
}

// parse reads what a list shows. On an error it gives what it could read: a
// message that nobody can parse is still a message.
func parse(raw []byte) (Head, string, error) {
	var h Head
	h.To = []string{}
	r, err := mail.CreateReader(bytes.NewReader(raw))
	if err != nil && !message.IsUnknownCharset(err) {
		return h, "", fmt.Errorf("parsing a message: %w", err)
	}
	id := readHead(&h, r.Header)
	body, parts, err := readParts(r)
	h.Parts = parts
	h.Preview = preview(body.Text)
	return h, id, err
}

func readHead(h *Head, from mail.Header) (id string) {
	first := func(key string) string { return strings.Join(addresses(from, key), ", ") }
	h.From = first("From")
	h.To = append(h.To, addresses(from, "To")...)
	h.Cc, h.ReplyTo = addresses(from, "Cc"), addresses(from, "Reply-To")
	h.Subject, _ = from.Subject()
	h.References, _ = from.MsgIDList("References")
	for i, ref := range h.References {
		h.References[i] = "<" + ref + ">"
	}
	if replied, err := from.MsgIDList("In-Reply-To"); err == nil && len(replied) > 0 {
		h.InReplyTo = "<" + replied[0] + ">"
	}
	h.Headers = map[string]string{}
	for fields := from.Fields(); fields.Next() && len(h.Headers) < maxHeaders; {
		if text, err := fields.Text(); err == nil {
			h.Headers[fields.Key()] = text
		}
	}
	if id, _ = from.MessageID(); id != "" {
		return "<" + id + ">"
	}
	return ""
}

func addresses(from mail.Header, key string) []string {
	list, err := from.AddressList(key)
	if err != nil {
		if text, err := from.Text(key); err == nil && text != "" {
			return []string{text} // not an address list; shown as it is
		}
		return nil
	}
	var all []string
	for _, a := range list {
		all = append(all, a.String())
	}
	return all
}

// readParts reads the texts and measures the attachments.
func readParts(r *mail.Reader) (Body, []Attachment, error) {
	var body Body
	var parts []Attachment
	for range maxParts {
		p, err := r.NextPart()
		if errors.Is(err, io.EOF) {
			return body, parts, nil
		}
		if err != nil && !message.IsUnknownCharset(err) {
			return body, parts, fmt.Errorf("parsing a part: %w", err)
		}
		text, err := io.ReadAll(io.LimitReader(p.Body, MaxMessage))
		if err != nil {
			return body, parts, fmt.Errorf("reading a part: %w", err)
		}
		switch h := p.Header.(type) {
		case *mail.InlineHeader:
			if kind, _, _ := h.ContentType(); kind == "text/html" {
				body.HTML += string(text)
			} else {
				body.Text += string(text)
			}
		case *mail.AttachmentHeader:
			name, _ := h.Filename()
			kind, _, _ := h.ContentType()
			parts = append(parts, Attachment{ID: fmt.Sprint(len(parts)), Name: name, Size: int64(len(text)), Type: kind})
		}
	}
	return body, parts, nil
}

// Body reads the texts of a message.
func (o *Office) Body(m Message) (Body, error) {
	raw, err := o.Raw(m)
	if err != nil {
		return Body{}, err
	}
	r, err := mail.CreateReader(bytes.NewReader(raw))
	if err != nil && !message.IsUnknownCharset(err) {
		return Body{Text: strings.ToValidUTF8(string(raw), "\uFFFD")}, nil // unparsed: the raw text is all there is
	}
	body, _, _ := readParts(r) // what could be read is shown
	return body, nil
}

// Attached gives the decoded bytes of an attachment, or ErrNotFound.
func (o *Office) Attached(m Message, id string) (Attachment, []byte, error) {
	raw, err := o.Raw(m)
	if err != nil {
		return Attachment{}, nil, err
	}
	r, err := mail.CreateReader(bytes.NewReader(raw))
	if err != nil && !message.IsUnknownCharset(err) {
		return Attachment{}, nil, fmt.Errorf("attachment: %w", ErrNotFound)
	}
	place := 0
	for {
		p, err := r.NextPart()
		if err != nil && !message.IsUnknownCharset(err) {
			return Attachment{}, nil, fmt.Errorf("attachment: %w", ErrNotFound)
		}
		if _, ok := p.Header.(*mail.AttachmentHeader); !ok {
			continue
		}
		if fmt.Sprint(place) == id && place < len(m.Parts) {
			content, err := io.ReadAll(p.Body)
			return m.Parts[place], content, err
		}
		place++
	}
}

// preview is the first line of a text, shortened.
func preview(text string) string {
	line := strings.Join(strings.Fields(text), " ")
	if runes := []rune(line); len(runes) > previewLength {
		return string(runes[:previewLength])
	}
	return line
}

// unquoted leaves out what a reply quotes of the message it answers.
func unquoted(text string) string {
	var kept []string
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		if strings.HasPrefix(trimmed, ">") || (strings.HasPrefix(trimmed, "On ") && strings.HasSuffix(trimmed, "wrote:")) {
			continue
		}
		kept = append(kept, line)
	}
	return strings.TrimSpace(strings.Join(kept, ""))
}
