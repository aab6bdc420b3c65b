package mail

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	maxRequest = MaxMessage + MaxMessage/2 // attachments arrive as base64
	linkLife   = 15 * time.Minute
	pageSize   = 50
	pageMost   = 200
)

// api is the HTTP door. It translates and decides nothing.
type api struct {
	*Office
	log *slog.Logger
}

// Handler serves /v0 in the shape of AgentMail's API. Errors are
// {"name","message"}: NotFoundError 404, ValidationError 400, IsTakenError 409,
// UnauthorizedError 401, ForbiddenError 403, UnprocessableError 422.
func (o *Office) Handler(log *slog.Logger) http.Handler {
	a := &api{Office: o, log: log}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v0/agent/sign-up", a.answered(a.signUp))
	mux.HandleFunc("POST /v0/agent/verify", a.keyed(a.verify))
	mux.HandleFunc("POST /v0/inboxes", a.keyed(a.createInbox))
	mux.HandleFunc("GET /v0/inboxes", a.keyed(a.listInboxes))
	mux.HandleFunc("GET /v0/inboxes/{inbox}", a.boxed(a.getInbox))
	mux.HandleFunc("DELETE /v0/inboxes/{inbox}", a.boxed(a.removeInbox))
	mux.HandleFunc("POST /v0/inboxes/{inbox}/api-keys", a.boxed(a.issueKey))
	mux.HandleFunc("GET /v0/inboxes/{inbox}/messages", a.boxed(a.listMessages))
	mux.HandleFunc("POST /v0/inboxes/{inbox}/messages/send", a.boxed(a.send))
	mux.HandleFunc("GET /v0/inboxes/{inbox}/messages/{message}", a.boxed(a.getMessage))
	mux.HandleFunc("GET /v0/inboxes/{inbox}/messages/{message}/raw", a.boxed(a.rawLink))
	mux.HandleFunc("GET /v0/inboxes/{inbox}/messages/{message}/attachments/{attachment}", a.boxed(a.attachmentLink))
	mux.HandleFunc("GET /v0/downloads", a.answered(a.download))
	mux.HandleFunc("/v0/", a.answered(func(http.ResponseWriter, *http.Request) error { return ErrNotFound }))
	return mux
}

// answered writes the error of a handler, if any.
func (a *api) answered(f func(w http.ResponseWriter, r *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
		w.Header().Set("Cache-Control", "no-store")
		if err := f(w, r); err != nil {
			a.refuse(w, r, err)
		}
	}
}

func (a *api) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status, name, text := http.StatusInternalServerError, "ServerError", "The post office failed."
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		status, name, text = http.StatusRequestEntityTooLarge, "ValidationError", "The request is too large."
	case errors.Is(err, ErrKey):
		status, name, text = http.StatusUnauthorized, "UnauthorizedError", "The key is missing or unknown."
	case errors.Is(err, ErrStopped):
		status, name, text = http.StatusForbidden, "ForbiddenError", "The account is stopped."
	case errors.Is(err, ErrNotFound):
		status, name, text = http.StatusNotFound, "NotFoundError", "There is no such thing."
	case errors.Is(err, ErrTaken):
		status, name, text = http.StatusConflict, "IsTakenError", "The address is taken."
	case errors.Is(err, errElsewhere):
		status, name, text = http.StatusUnprocessableEntity, "UnprocessableError", "Mail is delivered to inboxes of this office only."
	case errors.Is(err, ErrInvalid):
		status, name, text = http.StatusBadRequest, "ValidationError", "A value is missing or not valid."
	default:
		a.log.ErrorContext(r.Context(), "mail request failed", "method", r.Method, "error", err)
	}
	write(w, status, map[string]string{"name": name, "message": text})
}

type keyedHandler func(w http.ResponseWriter, r *http.Request, k Key) error

func (a *api) keyed(f keyedHandler) http.HandlerFunc {
	return a.answered(func(w http.ResponseWriter, r *http.Request) error {
		scheme, secret, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if !strings.EqualFold(scheme, "bearer") || secret == "" {
			return ErrKey
		}
		k, err := a.Authorize(r.Context(), secret)
		if err != nil {
			return err
		}
		return f(w, r, k)
	})
}

// boxed opens the inbox named in the path, if the key may. An inbox that it may
// not see does not exist for it.
func (a *api) boxed(f func(w http.ResponseWriter, r *http.Request, box Inbox) error) http.HandlerFunc {
	return a.keyed(func(w http.ResponseWriter, r *http.Request, k Key) error {
		box, err := a.Inbox(r.Context(), r.PathValue("inbox"))
		if err != nil {
			return err
		}
		if box.Account != k.Account || (k.Inbox != "" && k.Inbox != box.Address) {
			return ErrNotFound
		}
		return f(w, r, box)
	})
}

type inboxBody struct {
	Pod     string `json:"pod_id"`
	Inbox   string `json:"inbox_id"`
	Email   string `json:"email"`
	Client  string `json:"client_id,omitempty"`
	Name    string `json:"display_name,omitempty"`
	Created string `json:"created_at"`
	Updated string `json:"updated_at"`
}

func (b Inbox) body() inboxBody {
	return inboxBody{
		Pod: "pod_" + hash(b.Account)[:24], Inbox: b.Address, Email: b.Address, Client: b.Client, Name: b.Name,
		Created: stamp(b.Created), Updated: stamp(b.Updated),
	}
}

func (a *api) createInbox(w http.ResponseWriter, r *http.Request, k Key) error {
	var in struct {
		User   string `json:"username"`
		Domain string `json:"domain"`
		Name   string `json:"display_name"`
		Client string `json:"client_id"`
	}
	if err := read(r, &in); err != nil {
		return err
	}
	if k.Inbox != "" {
		return ErrNotFound // the key is for one inbox; more of them are not for it
	}
	box, err := a.CreateInbox(r.Context(), NewInbox{Account: k.Account, User: in.User, Domain: in.Domain, Name: in.Name, Client: in.Client})
	if err != nil {
		return err
	}
	return write(w, http.StatusOK, box.body())
}

func (a *api) listInboxes(w http.ResponseWriter, r *http.Request, k Key) error {
	all, err := a.Inboxes(r.Context(), k.Account)
	if err != nil {
		return err
	}
	bodies := []inboxBody{}
	for _, box := range all {
		if k.Inbox == "" || k.Inbox == box.Address {
			bodies = append(bodies, box.body())
		}
	}
	return write(w, http.StatusOK, map[string]any{"count": len(bodies), "inboxes": bodies})
}

func (a *api) getInbox(w http.ResponseWriter, _ *http.Request, box Inbox) error {
	return write(w, http.StatusOK, box.body())
}

func (a *api) removeInbox(w http.ResponseWriter, r *http.Request, box Inbox) error {
	if err := a.RemoveInbox(r.Context(), box.Address); err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

func (a *api) issueKey(w http.ResponseWriter, r *http.Request, box Inbox) error {
	var in struct {
		Name string `json:"name"`
	}
	if err := read(r, &in); err != nil {
		return err
	}
	secret, k, err := a.IssueKey(r.Context(), box.Account, box.Address, in.Name)
	if err != nil {
		return err
	}
	return write(w, http.StatusOK, map[string]any{
		"api_key_id": k.ID, "api_key": secret, "prefix": k.Prefix, "name": k.Name, "inbox_id": k.Inbox,
		"permissions": map[string]any{}, "created_at": stamp(k.Created),
	})
}

type messageBody struct {
	Inbox   string   `json:"inbox_id"`
	Thread  string   `json:"thread_id"`
	ID      string   `json:"message_id"`
	Labels  []string `json:"labels"`
	At      string   `json:"timestamp"`
	Size    int64    `json:"size"`
	Created string   `json:"created_at"`
	Updated string   `json:"updated_at"`
	Head
	*texted
}

type texted struct {
	Text          string `json:"text,omitempty"`
	HTML          string `json:"html,omitempty"`
	ExtractedText string `json:"extracted_text,omitempty"`
	ExtractedHTML string `json:"extracted_html,omitempty"`
}

func (m Message) body() messageBody {
	at := stamp(m.At)
	return messageBody{
		Inbox: m.Inbox, Thread: m.Thread, ID: m.ID, Labels: m.Labels, At: at, Size: m.Size, Created: at, Updated: at, Head: m.Head,
	}
}

func (a *api) listMessages(w http.ResponseWriter, r *http.Request, box Inbox) error {
	page, err := pageOf(r.URL.Query())
	if err != nil {
		return err
	}
	found, err := a.Messages(r.Context(), box.Address, page)
	if err != nil {
		return err
	}
	bodies := []messageBody{}
	for _, m := range found {
		bodies = append(bodies, m.body())
	}
	answer := map[string]any{"count": len(bodies), "limit": page.Limit, "messages": bodies}
	if len(found) == page.Limit {
		last := found[len(found)-1]
		token := strconv.FormatInt(last.At.UnixMicro(), 10) + " " + last.ID
		answer["next_page_token"] = base64.RawURLEncoding.EncodeToString([]byte(token))
	}
	return write(w, http.StatusOK, answer)
}

func pageOf(query url.Values) (Page, error) {
	p := Page{Limit: pageSize}
	if text := query.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return Page{}, ErrInvalid
		}
		p.Limit = min(n, pageMost)
	}
	if token := query.Get("page_token"); token != "" {
		text, err := base64.RawURLEncoding.DecodeString(token)
		at, id, ok := strings.Cut(string(text), " ")
		micros, notNumber := strconv.ParseInt(at, 10, 64)
		if err != nil || !ok || notNumber != nil {
			return Page{}, ErrInvalid
		}
		p.Before, p.Below = time.UnixMicro(micros), id
	}
	return p, nil
}

func (a *api) getMessage(w http.ResponseWriter, r *http.Request, box Inbox) error {
	m, err := a.Message(r.Context(), box.Address, r.PathValue("message"))
	if err != nil {
		return err
	}
	body, err := a.Body(m)
	if err != nil {
		return err
	}
	full := m.body()
	full.texted = &texted{Text: body.Text, HTML: body.HTML, ExtractedText: unquoted(body.Text), ExtractedHTML: body.HTML}
	return write(w, http.StatusOK, full)
}

func (a *api) rawLink(w http.ResponseWriter, r *http.Request, box Inbox) error {
	m, err := a.Message(r.Context(), box.Address, r.PathValue("message"))
	if err != nil {
		return err
	}
	link, expires := a.link(r, m, "")
	return write(w, http.StatusOK, map[string]any{"message_id": m.ID, "size": m.Size, "download_url": link, "expires_at": stamp(expires)})
}

func (a *api) attachmentLink(w http.ResponseWriter, r *http.Request, box Inbox) error {
	m, err := a.Message(r.Context(), box.Address, r.PathValue("message"))
	if err != nil {
		return err
	}
	for _, part := range m.Parts {
		if part.ID == r.PathValue("attachment") {
			link, expires := a.link(r, m, part.ID)
			return write(w, http.StatusOK, struct {
				Attachment
				Link    string `json:"download_url"`
				Expires string `json:"expires_at"`
			}{part, link, stamp(expires)})
		}
	}
	return ErrNotFound
}

// link makes a URL that opens one message or attachment for a while, without a key.
func (a *api) link(r *http.Request, m Message, attachment string) (string, time.Time) {
	expires := a.Now().Add(linkLife)
	query := url.Values{
		"inbox": {m.Inbox}, "message": {m.ID}, "attachment": {attachment}, "expires": {strconv.FormatInt(expires.Unix(), 10)},
	}
	query.Set("signature", a.sign(query))
	return "http://" + r.Host + "/v0/downloads?" + query.Encode(), expires
}

func (a *api) sign(query url.Values) string {
	mac := hmac.New(sha256.New, a.linkKey)
	for _, key := range []string{"inbox", "message", "attachment", "expires"} {
		mac.Write([]byte(query.Get(key) + "\x00"))
	}
	return hex.EncodeToString(mac.Sum(nil))
}

// download serves a link. What it serves comes from strangers: it is never
// shown as a page of this origin.
func (a *api) download(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	expires, err := strconv.ParseInt(query.Get("expires"), 10, 64)
	if err != nil || !hmac.Equal([]byte(a.sign(query)), []byte(query.Get("signature"))) || a.Now().Unix() >= expires {
		return ErrNotFound
	}
	m, err := a.Message(r.Context(), query.Get("inbox"), query.Get("message"))
	if err != nil {
		return err
	}
	content, kind := []byte(nil), "message/rfc822"
	if id := query.Get("attachment"); id == "" {
		content, err = a.Raw(m)
	} else {
		kind = "application/octet-stream"
		_, content, err = a.Attached(m, id)
	}
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Disposition", "attachment")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, err = w.Write(content)
	return ignoreGone(r.Context(), err)
}

// ignoreGone drops the write error of a client that went away.
func ignoreGone(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// read decodes a JSON body; an empty one counts as {}.
func read(r *http.Request, into any) error {
	if r.ContentLength == 0 {
		return nil
	}
	err := json.NewDecoder(r.Body).Decode(into)
	var large *http.MaxBytesError
	if err != nil && !errors.As(err, &large) {
		return errors.Join(ErrInvalid, err)
	}
	return err
}

func write(w http.ResponseWriter, status int, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text) // a client that went away needs no answer
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
