package notice

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"html/template"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"strings"
	"time"
)

// MailText writes a message as mail (RFC 5322), from an address: plain text and a
// simple page beside it, with no picture and no link but our own. Every header is
// one line by construction: addresses are parsed, the subject is encoded.
func MailText(m Message, from string) ([]byte, error) {
	m.Notice = safe(m.Notice)
	sender, err := mail.ParseAddress(from)
	if err != nil {
		return nil, fmt.Errorf("reading the sender's address: %w", err)
	}
	to, err := mail.ParseAddress(m.Address)
	if err != nil {
		return nil, fmt.Errorf("reading the receiver's address: %w", err)
	}
	var body bytes.Buffer
	parts := multipart.NewWriter(&body)
	// The same message has the same name and the same bytes, so that a reader who
	// gets it twice can tell.
	name := sha256.Sum256([]byte(m.ID + "\x00" + to.Address))
	if err := parts.SetBoundary("purser-" + hex.EncodeToString(name[:16])); err != nil {
		return nil, err
	}
	page, err := htmlPage(m)
	if err != nil {
		return nil, err
	}
	for _, p := range []struct{ kind, text string }{{"text/plain; charset=utf-8", plainText(m)}, {"text/html; charset=utf-8", page}} {
		if err := writePart(parts, p.kind, p.text); err != nil {
			return nil, err
		}
	}
	if err := parts.Close(); err != nil {
		return nil, err
	}
	_, domain, _ := strings.Cut(sender.Address, "@")
	var out bytes.Buffer
	for _, h := range [][2]string{
		{"From", sender.String()},
		{"To", (&mail.Address{Address: to.Address}).String()},
		{"Subject", mime.QEncoding.Encode("utf-8", noCode.Replace("["+subjectName(m)+"] "+m.Subject))},
		{"Date", m.At.UTC().Format(time.RFC1123Z)},
		{"Message-ID", "<" + m.ID + "." + hex.EncodeToString(name[:8]) + "@" + domain + ">"},
		{"Auto-Submitted", "auto-generated"}, // RFC 3834: no holiday answers, please
		{"MIME-Version", "1.0"},
		{"Content-Type", `multipart/alternative; boundary="` + parts.Boundary() + `"`},
	} {
		if strings.ContainsAny(h[1], "\r\n") {
			h[1] = strings.NewReplacer("\r\n ", " ", "\r", " ", "\n", " ").Replace(h[1])
		}
		fmt.Fprintf(&out, "%s: %s\r\n", h[0], h[1])
	}
	out.WriteString("\r\n")
	out.Write(body.Bytes())
	return out.Bytes(), nil
}

// noCode takes a text apart that a reader would decode a second time (RFC 2047).
var noCode = strings.NewReplacer("=?", "= ?")

func subjectName(m Message) string {
	if m.OrganizationName == "" {
		return "Purser"
	}
	return "Purser: " + plainLine(m.OrganizationName, 60)
}

func writePart(parts *multipart.Writer, kind, text string) error {
	w, err := parts.CreatePart(textproto.MIMEHeader{"Content-Type": {kind}, "Content-Transfer-Encoding": {"quoted-printable"}})
	if err != nil {
		return err
	}
	q := quotedprintable.NewWriter(w)
	if _, err := q.Write([]byte(text)); err != nil {
		return err
	}
	return q.Close()
}

// plainText puts the words of others behind a bar, each on a line of its own.
func plainText(m Message) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	line("%s", m.Subject)
	line("")
	for _, f := range m.Facts {
		if f.Quoted {
			line("%s:", f.Name)
			line("> %s", f.Value)
		} else {
			line("%s: %s", f.Name, f.Value)
		}
	}
	line("")
	if m.URL != "" {
		line("Open it: %s", m.URL)
		line("")
	}
	line("%s", closing(m))
	return b.String()
}

// closing is what stands below everything.
func closing(m Message) string {
	text := "Lines behind > are words of agents and providers: data, not advice. Nobody can approve by answering this mail."
	if m.Last {
		text += " More of this kind within the hour is not sent; purser notices list has all."
	}
	return text
}

var pageOf = template.Must(template.New("mail").Parse(`<!doctype html>
<html><body style="font-family: sans-serif; max-width: 40em">
<h1 style="font-size: 1.2em">{{.Subject}}</h1>
<table cellpadding="4">
{{range .Facts}}<tr><th align="left" valign="top">{{.Name}}</th><td>{{if .Quoted}}<blockquote style="margin: 0; padding-left: .6em; border-left: 3px solid #999">{{.Value}}</blockquote>{{else}}{{.Value}}{{end}}</td></tr>
{{end}}</table>
{{if .URL}}<p><a href="{{.URL}}">Open it in Purser</a><br>{{.URL}}</p>
{{end}}<p style="color: #555">{{.Closing}}</p>
</body></html>
`))

func htmlPage(m Message) (string, error) {
	var b strings.Builder
	err := pageOf.Execute(&b, struct {
		Message
		Closing string
	}{m, strings.Replace(closing(m), "Lines behind >", "Lines with a bar", 1)})
	return b.String(), err
}
