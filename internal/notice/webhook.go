package notice

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/purser-dev/purser/internal/catalog"
)

// Headers of a webhook.
const (
	TimestampHeader = "Purser-Timestamp" // seconds since 1970, of this attempt
	SignatureHeader = "Purser-Signature" // v1= and the HMAC-SHA256 in lower hexadecimal
	NoticeHeader    = "Purser-Notice"    // the notice's identifier: the same one twice is one notice
)

// Sign makes the signature of a body that is sent at a time: HMAC-SHA256 under the
// secret, over the seconds since 1970 in decimal, a full stop, and the body.
func Sign(secret string, at time.Time, body []byte) string {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(strconv.FormatInt(at.Unix(), 10)))
	h.Write([]byte("."))
	h.Write(body)
	return "v1=" + hex.EncodeToString(h.Sum(nil))
}

// Verified is what a receiver does with the two headers and the body that it got:
// a signature older or newer than tolerance is a repeat, or a wrong clock.
func Verified(secret, timestamp, signature string, body []byte, now time.Time, tolerance time.Duration) bool {
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || now.Sub(time.Unix(seconds, 0)).Abs() > tolerance {
		return false
	}
	return hmac.Equal([]byte(signature), []byte(Sign(secret, time.Unix(seconds, 0), body)))
}

// The body has the form that Slack's incoming webhooks take: what a program wants
// is in metadata, which is theirs too.
type (
	hook struct {
		Text        string   `json:"text"`
		Blocks      []block  `json:"blocks"`
		Metadata    metadata `json:"metadata"`
		UnfurlLinks bool     `json:"unfurl_links"`
		UnfurlMedia bool     `json:"unfurl_media"`
	}
	block struct {
		Type string `json:"type"`
		Text *text  `json:"text,omitempty"`
	}
	text struct {
		Type  string `json:"type"`
		Text  string `json:"text"`
		Emoji *bool  `json:"emoji,omitempty"` // of plain_text: :words: stay words
	}
	metadata struct {
		EventType    string  `json:"event_type"`
		EventPayload payload `json:"event_payload"`
	}
	payload struct {
		ID               string `json:"id"`
		Kind             Kind   `json:"kind"`
		Organization     string `json:"organization"`
		OrganizationName string `json:"organization_name,omitempty"`
		About            string `json:"about,omitempty"`
		Project          string `json:"project,omitempty"`
		Run              string `json:"run,omitempty"`
		Subject          string `json:"subject"`
		Facts            []Fact `json:"facts"`
		URL              string `json:"url,omitempty"`
		At               string `json:"at"` // RFC 3339
	}
)

// HookText writes a message as the JSON body of a webhook. Words of others are
// plain_text, in which nothing is a link, a mention or an emphasis.
func HookText(m Message) ([]byte, error) {
	m.Notice = safe(m.Notice)
	name := plainLine(m.OrganizationName, 60)
	head := m.Subject
	if name != "" {
		head = name + ": " + head
	}
	out := hook{Text: escape(head)}
	out.Blocks = append(out.Blocks, plainBlock("header", cutRunes(head, 150)))
	var lines strings.Builder
	for _, f := range m.Facts {
		quote := ""
		if f.Quoted {
			quote = "> "
		}
		fmt.Fprintf(&lines, "%s: %s%s\n", f.Name, quote, f.Value)
	}
	if m.Last {
		lines.WriteString("More of this kind within the hour is not sent.\n")
	}
	if lines.Len() > 0 {
		out.Blocks = append(out.Blocks, plainBlock("section", cutRunes(lines.String(), 2900)))
	}
	if m.URL != "" {
		out.Blocks = append(out.Blocks, block{"section", &text{Type: "mrkdwn", Text: "<" + escape(m.URL) + "|Open it in Purser>"}})
		out.Text += " " + escape(m.URL)
	}
	out.Metadata = metadata{"purser_" + string(m.Kind), payload{
		ID: m.ID, Kind: m.Kind, Organization: m.Organization, OrganizationName: name, About: m.About, Project: m.Project, Run: m.Run,
		Subject: m.Subject, Facts: m.Facts, URL: m.URL, At: m.At.UTC().Format(time.RFC3339),
	}}
	if out.Metadata.EventPayload.Facts == nil {
		out.Metadata.EventPayload.Facts = []Fact{}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(out); err != nil {
		return nil, fmt.Errorf("writing a webhook: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func plainBlock(kind, words string) block {
	no := false
	return block{kind, &text{Type: "plain_text", Text: words, Emoji: &no}}
}

// escape is what Slack asks for, so that no word becomes a mention or a link.
func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}

func cutRunes(s string, most int) string {
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	return string(r[:most-1]) + "…"
}

func plainLine(s string, limit int) string { return catalog.Plain(strings.TrimSpace(s), limit) }
