package mail

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/smtp"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-dev/purser/internal/cloud/fault"
	"github.com/purser-dev/purser/internal/cloud/state"
)

// world is an office with its two doors open on loopback.
type world struct {
	*Office
	t       *testing.T
	api     string // base URL
	smtp    string // host:port
	stopped sync.Map
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db, err := state.Open(t.Context(), state.Options{Dir: t.TempDir(), Now: time.Now, Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	w := &world{t: t}
	w.Office, err = Open(t.Context(), Config{
		DB: db, Dir: filepath.Join(t.TempDir(), "mail"), Now: time.Now, Random: rand.Reader, Faults: fault.NewSet(),
		Stopped: func(_ context.Context, account string) (bool, error) {
			_, stopped := w.stopped.Load(account)
			return stopped, nil
		},
		Domains: func(_ context.Context, account, domain string) (bool, error) {
			return account == "acct_a" && domain == "superseal.club", nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	web := httptest.NewServer(w.Handler(log))
	t.Cleanup(web.Close)
	w.api = web.URL
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := w.SMTPServer(log)
	t.Cleanup(func() { server.Close() })
	go func() { _ = server.Serve(listener) }()
	w.smtp = listener.Addr().String()
	return w
}

// inbox makes an inbox of acct_a with a key for it alone.
func (w *world) inbox(user string) (Inbox, string) {
	w.t.Helper()
	box, err := w.CreateInbox(w.t.Context(), NewInbox{Account: "acct_a", User: user, Domain: "superseal.club", Client: user})
	if err != nil {
		w.t.Fatal(err)
	}
	key, _, err := w.IssueKey(w.t.Context(), "acct_a", box.Address, "test")
	if err != nil {
		w.t.Fatal(err)
	}
	return box, key
}

func (w *world) mail(to, raw string) error {
	return smtp.SendMail(w.smtp, nil, "someone@example.org", []string{to}, []byte(strings.ReplaceAll(raw, "\n", "\r\n")))
}

// call asks the API and decodes its answer.
func (w *world) call(method, path, key string, body any) (int, map[string]any) {
	w.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	if body == nil {
		text = nil
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.api+path, bytes.NewReader(text))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	answer := map[string]any{}
	if raw, _ := io.ReadAll(res.Body); len(raw) > 0 {
		if err := json.Unmarshal(raw, &answer); err != nil {
			w.t.Fatalf("%s %s: %v in %s", method, path, err, raw)
		}
	}
	return res.StatusCode, answer
}

const letterText = `From: Jane Doe <jane@example.org>
To: agent@superseal.club
Subject: =?utf-8?B?R3LDvMOfZSBhdXMgS8O2bG4=?=
Message-ID: <m1@example.org>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

Sch=F6n!
On Monday Bob wrote:
> old words
--b
Content-Type: application/pdf
Content-Disposition: attachment; filename="a.pdf"
Content-Transfer-Encoding: base64

JVBERg==
--b--
`

func TestAMessageThatArrivesBySMTPIsReadOverTheAPI(t *testing.T) {
	w := newWorld(t)
	box, key := w.inbox("agent")
	if err := w.mail("Agent@Superseal.Club", letterText); err != nil {
		t.Fatal(err)
	}
	path := "/v0/inboxes/" + url.PathEscape(box.Address) + "/messages"
	status, list := w.call("GET", path, key, nil)
	if status != 200 || list["count"] != float64(1) {
		t.Fatalf("list: %d %v", status, list)
	}
	item := list["messages"].([]any)[0].(map[string]any)
	for _, name := range []string{"inbox_id", "thread_id", "message_id", "labels", "timestamp", "from", "to", "size", "updated_at", "created_at"} {
		if _, ok := item[name]; !ok {
			t.Errorf("a message item has no %s: %v", name, item)
		}
	}
	if item["subject"] != "Grüße aus Köln" || item["from"] != `"Jane Doe" <jane@example.org>` {
		t.Errorf("item: %v", item)
	}
	status, full := w.call("GET", path+"/"+url.PathEscape("<m1@example.org>"), key, nil)
	if status != 200 || !strings.HasPrefix(full["text"].(string), "Schön!") || full["extracted_text"] != "Schön!" {
		t.Errorf("full message: %d %v", status, full)
	}
	status, link := w.call("GET", path+"/"+url.PathEscape("<m1@example.org>")+"/attachments/0", key, nil)
	if status != 200 || link["filename"] != "a.pdf" || link["size"] != float64(4) {
		t.Fatalf("attachment: %d %v", status, link)
	}
	if got := fetch(t, link["download_url"].(string)); got != "%PDF" {
		t.Errorf("downloaded %q", got)
	}
	_, link = w.call("GET", path+"/"+url.PathEscape("<m1@example.org>")+"/raw", key, nil)
	if got := fetch(t, link["download_url"].(string)); !strings.Contains(got, "JVBERg==") || float64(len(got)) != link["size"] {
		t.Errorf("raw message of %d bytes, announced %v", len(got), link["size"])
	}
	bent := strings.Replace(link["download_url"].(string), "signature=", "signature=0", 1)
	if got := fetch(t, bent); !strings.Contains(got, "NotFoundError") {
		t.Errorf("a bent link gave %q", got)
	}
}

func fetch(t *testing.T, link string) string {
	t.Helper()
	res, err := http.Get(link)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestSMTPAnswersAsItShould(t *testing.T) {
	w := newWorld(t)
	box, _ := w.inbox("agent")
	for _, c := range []struct {
		name  string
		to    string
		body  string
		setUp func()
		code  int
	}{
		{"an unknown mailbox", "nobody@superseal.club", letterText, nil, 550},
		{"another host", "jane@example.org", letterText, nil, 550},
		{"a message too large", box.Address, "Subject: x\n\n" + strings.Repeat("0123456789abcdef\n", MaxMessage/17+1000), nil, 552},
		{"a stopped account", box.Address, letterText, func() { w.stopped.Store("acct_a", true) }, 450},
		{"a busy server", box.Address, letterText, func() { w.stopped.Delete("acct_a"); w.misbehave(fault.MailBusy, 1) }, 450},
		{"a refusing server", box.Address, letterText, func() { w.misbehave(fault.MailRefused, 1) }, 550},
		{"all well again", box.Address, letterText, nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.setUp != nil {
				c.setUp()
			}
			err := w.mail(c.to, c.body)
			var refused *textproto.Error
			code := 0
			if errors.As(err, &refused) {
				code = refused.Code
			}
			if code != c.code {
				t.Errorf("error %v, want code %d", err, c.code)
			}
		})
	}
	if found, err := w.Messages(t.Context(), box.Address, Page{Limit: 10}); err != nil || len(found) != 1 {
		t.Errorf("%d messages, error %v", len(found), err)
	}
}

func (w *world) misbehave(s fault.Switch, times int) {
	if err := w.Faults.Turn(s, times); err != nil {
		w.t.Fatal(err)
	}
}

func TestARubbishMessageIsKeptRaw(t *testing.T) {
	for name, raw := range map[string]string{
		"no header":        "\x00\xff\xfe rubbish",
		"broken header":    "From jane\nno colon here\n\nbody",
		"broken multipart": "Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: text/plain\n\nhalf",
		"unknown charset":  "Content-Type: text/plain; charset=klingon\n\nqapla'",
		"bad base64":       "Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\n!!!!",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			box, key := w.inbox("agent")
			if err := w.mail(box.Address, raw); err != nil {
				t.Fatal(err)
			}
			found, err := w.Messages(t.Context(), box.Address, Page{Limit: 10})
			if err != nil || len(found) != 1 {
				t.Fatalf("%d messages, error %v", len(found), err)
			}
			kept, err := w.Raw(found[0])
			if err != nil || !strings.Contains(string(kept), strings.ReplaceAll(raw, "\n", "\r\n")) {
				t.Errorf("kept %q, error %v", kept, err)
			}
			status, full := w.call("GET", "/v0/inboxes/"+box.Address+"/messages/"+url.PathEscape(found[0].ID), key, nil)
			if status != 200 {
				t.Errorf("reading it: %d %v", status, full)
			}
		})
	}
}

func TestAMessageSentAgainAfterALostAnswerArrivesOnce(t *testing.T) {
	w := newWorld(t)
	box, _ := w.inbox("agent")
	for range 3 {
		if err := w.mail(box.Address, letterText); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.mail(box.Address, strings.Replace(letterText, "Sch=F6n", "Other", 1)); err != nil {
		t.Fatal(err)
	}
	found, err := w.Messages(t.Context(), box.Address, Page{Limit: 10})
	if err != nil || len(found) != 2 || found[0].ID == found[1].ID {
		t.Errorf("%d messages, error %v: %v", len(found), err, found)
	}
}

func TestALetterGoesToInboxesOfThisOfficeOnly(t *testing.T) {
	w := newWorld(t)
	sender, key := w.inbox("agent")
	other, otherKey := w.inbox("other")
	send := "/v0/inboxes/" + url.PathEscape(sender.Address) + "/messages/send"
	status, answer := w.call("POST", send, key, map[string]any{
		"to": []string{other.Address}, "subject": "Hällo", "text": "words", "html": "<b>words</b>", "headers": map[string]string{"X-Note": "1"},
		"attachments": []map[string]string{{"filename": "n.txt", "content_type": "text/plain", "content": base64.StdEncoding.EncodeToString([]byte("note"))}},
	})
	if status != 200 || answer["message_id"] == "" {
		t.Fatalf("send: %d %v", status, answer)
	}
	path := "/v0/inboxes/" + url.PathEscape(other.Address) + "/messages/" + url.PathEscape(answer["message_id"].(string))
	status, got := w.call("GET", path, otherKey, nil)
	if status != 200 || got["subject"] != "Hällo" || got["text"] != "words" || got["html"] != "<b>words</b>" || len(got["attachments"].([]any)) != 1 {
		t.Errorf("received: %d %v", status, got)
	}
	for name, c := range map[string]struct {
		letter map[string]any
		status int
	}{
		"a recipient elsewhere":         {map[string]any{"to": "jane@example.org", "text": "x"}, 422},
		"one of two elsewhere":          {map[string]any{"to": []string{other.Address, "jane@example.org"}, "text": "x"}, 422},
		"no recipient":                  {map[string]any{"text": "x"}, 400},
		"a header smuggled in":          {map[string]any{"to": other.Address, "headers": map[string]string{"X-A": "1\r\nBcc: jane@example.org"}}, 400},
		"a header smuggled in subject":  {map[string]any{"to": other.Address, "subject": "a\r\nBcc: x@example.org"}, 400},
		"the sender forged by a header": {map[string]any{"to": other.Address, "headers": map[string]string{"From": "boss@superseal.club"}}, 400},
		"rubbish as attachment":         {map[string]any{"to": other.Address, "attachments": []map[string]string{{"content": "%%"}}}, 400},
	} {
		if status, got := w.call("POST", send, key, c.letter); status != c.status {
			t.Errorf("%s: %d %v, want %d", name, status, got, c.status)
		}
	}
	if found, err := w.Messages(t.Context(), other.Address, Page{Limit: 10}); err != nil || len(found) != 1 {
		t.Errorf("the other inbox has %d messages, error %v", len(found), err)
	}
}

func TestAReplyJoinsTheThread(t *testing.T) {
	w := newWorld(t)
	box, _ := w.inbox("agent")
	for _, raw := range []string{
		"Message-ID: <1@x>\n\nfirst", "Message-ID: <2@x>\nIn-Reply-To: <1@x>\n\nsecond", "Message-ID: <3@x>\nReferences: <1@x> <2@x>\n\nthird", "Message-ID: <4@x>\n\nother",
	} {
		if err := w.mail(box.Address, raw); err != nil {
			t.Fatal(err)
		}
	}
	threads := map[string]int{}
	found, err := w.Messages(t.Context(), box.Address, Page{Limit: 10})
	for _, m := range found {
		threads[m.Thread]++
	}
	if err != nil || len(threads) != 2 {
		t.Errorf("threads %v, error %v", threads, err)
	}
}

func TestAListIsReadPageByPageWithoutGapOrRepeat(t *testing.T) {
	w := newWorld(t)
	box, key := w.inbox("agent")
	fixed := time.Unix(1_800_000_000, 0) // equal times must not lose a message at a page's edge
	w.Now = func() time.Time { return fixed }
	for _, id := range []string{"a", "b", "c", "d", "e"} {
		if err := w.mail(box.Address, "Message-ID: <"+id+"@x>\n\nwords"); err != nil {
			t.Fatal(err)
		}
	}
	var ids []string
	token := ""
	for range 10 {
		_, list := w.call("GET", "/v0/inboxes/"+box.Address+"/messages?limit=2&page_token="+token, key, nil)
		for _, m := range list["messages"].([]any) {
			ids = append(ids, m.(map[string]any)["message_id"].(string))
		}
		next, more := list["next_page_token"].(string)
		if !more {
			break
		}
		token = next
	}
	if diff := cmp.Diff([]string{"<e@x>", "<d@x>", "<c@x>", "<b@x>", "<a@x>"}, ids); diff != "" {
		t.Error(diff)
	}
}

func TestAKeyOpensOnlyWhatItIsFor(t *testing.T) {
	w := newWorld(t)
	mine, key := w.inbox("agent")
	w.inbox("other")
	foreign, err := w.CreateInbox(t.Context(), NewInbox{Account: "acct_b", User: "b"})
	if err != nil {
		t.Fatal(err)
	}
	foreignKey, _, err := w.IssueKey(t.Context(), "acct_b", "", "all")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, method, path, key string
		status                  int
	}{
		{"its inbox", "GET", "/v0/inboxes/" + mine.Address, key, 200},
		{"another inbox of the account", "GET", "/v0/inboxes/other@superseal.club", key, 404},
		{"a foreign inbox", "GET", "/v0/inboxes/" + foreign.Address + "/messages", key, 404},
		{"deleting a foreign inbox", "DELETE", "/v0/inboxes/" + mine.Address, foreignKey, 404},
		{"more inboxes", "POST", "/v0/inboxes", key, 404},
		{"no key", "GET", "/v0/inboxes", "", 401},
		{"an unknown key", "GET", "/v0/inboxes", "am_x", 401},
		{"an unknown path", "GET", "/v0/nothing", key, 404},
		{"a domain of another account", "POST", "/v0/inboxes?", foreignKey, 400},
		{"its own deletion", "DELETE", "/v0/inboxes/" + mine.Address, key, 202},
		{"a deleted inbox", "GET", "/v0/inboxes/" + mine.Address, key, 401},
	} {
		var body any
		if strings.HasSuffix(c.path, "?") {
			body = map[string]string{"username": "x", "domain": "superseal.club"}
		}
		if status, got := w.call(c.method, c.path, c.key, body); status != c.status {
			t.Errorf("%s: %d %v, want %d", c.name, status, got, c.status)
		}
	}
	_, list := w.call("GET", "/v0/inboxes", foreignKey, nil)
	if list["count"] != float64(1) {
		t.Errorf("the other account sees %v", list)
	}
}

func TestAnInboxIsMadeOnce(t *testing.T) {
	w := newWorld(t)
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			box, err := w.CreateInbox(t.Context(), NewInbox{Account: "acct_a", User: "agent", Client: "res_1"})
			if err != nil || box.Address != "agent@"+DefaultDomain {
				t.Errorf("inbox %+v, error %v", box, err)
			}
		})
	}
	wait.Wait()
	if all, err := w.Inboxes(t.Context(), "acct_a"); err != nil || len(all) != 1 {
		t.Errorf("%d inboxes, error %v", len(all), err)
	}
	if _, err := w.CreateInbox(t.Context(), NewInbox{Account: "acct_b", User: "agent"}); !errors.Is(err, ErrTaken) {
		t.Errorf("a taken address: %v", err)
	}
	for _, user := range []string{"a b", "a@b", "../x", ".a", "a..b", strings.Repeat("a", 65)} {
		if _, err := w.CreateInbox(t.Context(), NewInbox{Account: "acct_a", User: user}); !errors.Is(err, ErrInvalid) {
			t.Errorf("user %q: %v", user, err)
		}
	}
}

func TestANewKeyOfTheSameNameKillsTheOldOne(t *testing.T) {
	w := newWorld(t)
	box, first := w.inbox("agent")
	second, _, err := w.IssueKey(t.Context(), "acct_a", box.Address, "test")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Authorize(t.Context(), first); !errors.Is(err, ErrKey) {
		t.Errorf("the old key: %v", err)
	}
	if k, err := w.Authorize(t.Context(), second); err != nil || k.Inbox != box.Address {
		t.Errorf("the new key: %+v, %v", k, err)
	}
}

func TestRemovingAnInboxRemovesItsRawMessages(t *testing.T) {
	w := newWorld(t)
	first, _ := w.inbox("agent")
	second, _ := w.inbox("other")
	for _, box := range []Inbox{first, second} {
		if err := w.mail(box.Address, letterText); err != nil {
			t.Fatal(err)
		}
	}
	files := func() (n int) {
		_ = filepath.WalkDir(w.Dir, func(_ string, d os.DirEntry, _ error) error {
			if !d.IsDir() {
				n++
			}
			return nil
		})
		return n
	}
	before := files()
	for _, box := range []Inbox{first, second, second} {
		if err := w.RemoveInbox(t.Context(), box.Address); err != nil {
			t.Fatal(err)
		}
	}
	if before == 0 || files() != 0 {
		t.Errorf("%d files before, %d left", before, files())
	}
}

func TestSigningUpAgainGivesTheSameOrganizationAndANewKey(t *testing.T) {
	w := newWorld(t)
	person, personKey := w.inbox("jane")
	sign := map[string]string{"human_email": person.Address, "username": "bot"}
	status, first := w.call("POST", "/v0/agent/sign-up", "", sign)
	if status != 200 {
		t.Fatalf("sign-up: %d %v", status, first)
	}
	_, second := w.call("POST", "/v0/agent/sign-up", "", sign)
	if first["organization_id"] != second["organization_id"] || first["inbox_id"] != second["inbox_id"] || first["api_key"] == second["api_key"] {
		t.Errorf("first %v, second %v", first, second)
	}
	_, list := w.call("GET", "/v0/inboxes/"+person.Address+"/messages", personKey, nil)
	code := strings.TrimPrefix(list["messages"].([]any)[0].(map[string]any)["preview"].(string), "Your code is ")
	if status, got := w.call("POST", "/v0/agent/verify", second["api_key"].(string), map[string]string{"otp_code": "no"}); status != 400 {
		t.Errorf("a wrong code: %d %v", status, got)
	}
	if status, got := w.call("POST", "/v0/agent/verify", second["api_key"].(string), map[string]string{"otp_code": code}); status != 200 || got["verified"] != true {
		t.Errorf("the right code: %d %v", status, got)
	}
	if status, got := w.call("POST", "/v0/agent/sign-up", "", map[string]string{"human_email": "nobody"}); status != 400 {
		t.Errorf("no e-mail: %d %v", status, got)
	}
}

func TestAfterTenWrongCodesTheRightOneIsRefused(t *testing.T) {
	w := newWorld(t)
	organization, code, err := w.register(t.Context(), "jane@example.org")
	if err != nil {
		t.Fatal(err)
	}
	key, _, err := w.IssueKey(t.Context(), organization, "", "all")
	if err != nil {
		t.Fatal(err)
	}
	for range codeTries {
		w.call("POST", "/v0/agent/verify", key, map[string]string{"otp_code": "no"})
	}
	if status, got := w.call("POST", "/v0/agent/verify", key, map[string]string{"otp_code": code}); status != 400 {
		t.Errorf("%d %v", status, got)
	}
}
