// Package httpapi is the HTTP door: it translates requests under /v1 into operations and their results into JSON.
//
// It is made from the table of operations; nothing in it knows a single one of
// them. Failures are RFC 9457 problems.
package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/form"
	"github.com/purser-dev/purser/internal/gate"
	"github.com/purser-dev/purser/internal/office"
)

const (
	bodyLimit      = 1 << 20 // bytes of a request
	stageBodyLimit = 8 << 20 // a folder's list of files is long
	bodyTime       = 30 * time.Second
)

// Office is what the door needs beside the operations.
type Office interface {
	Operations() []office.Operation
	// PutBlob keeps content under its SHA-256 (lower hex); another content or size is blob_mismatch.
	PutBlob(ctx context.Context, by purser.Actor, sha256 string, size int64, r io.Reader) error
	// ExportAudit writes the whole log as JSON lines.
	ExportAudit(ctx context.Context, by purser.Actor, in purser.ExportAudit, w io.Writer) error
	// Events gives f what happens from in.After on, and where the stream stands, until f
	// fails or the context ends.
	Events(ctx context.Context, by purser.Actor, in purser.AskEvents, f func(events []purser.Event, next int64) error) error
	// Answering marks a request whose answer the door writes itself: sent is to be
	// called when it has left, so that a stop is acknowledged after it.
	Answering(ctx context.Context) (_ context.Context, sent func())
	// Ready reports whether the database answers.
	Ready(ctx context.Context) error
}

// Config joins the door to its surroundings.
type Config struct {
	Office  Office
	Gate    *gate.Gate
	Version string                  // of the program, for the OpenAPI document
	Doors   map[string]http.Handler // other handlers by pattern, as /mcp
	Lost    http.Handler            // answers a browser where there is nothing; nil: it gets a problem too
}

// New returns the handler of /v1, /openapi.json, /healthz, /readyz and the other doors.
func New(c Config) http.Handler {
	mux, fixed := http.NewServeMux(), map[place]http.Handler{}
	for _, op := range c.Office.Operations() {
		d := &door{op: op, gate: c.Gate, answering: c.Office.Answering, inPath: pathMembers(op.Path)}
		mux.Handle(op.Method+" "+op.Path, d)
		if len(d.inPath) == 0 {
			fixed[place{op.Method, op.Path}] = d
		}
	}
	mux.Handle("POST /v1/blobs", named("put_blobs", blobs(c)))
	mux.Handle("GET /v1/audit/export", named("export_audit", export(c)))
	mux.Handle("GET /v1/events", named("events", events(c)))
	mux.Handle("GET /healthz", named("health", func(w http.ResponseWriter, _ *http.Request) { answer(w, status{"ok"}) }))
	mux.Handle("GET /readyz", named("ready", ready(c.Office)))
	document := sync.OnceValues(func() ([]byte, error) { return Document(c.Office.Operations(), c.Version) })
	mux.Handle("GET /openapi.json", named("openapi", func(w http.ResponseWriter, r *http.Request) {
		text, err := document()
		if err != nil {
			gate.Problem(w, r, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(text)
	}))
	for pattern, h := range c.Doors {
		mux.Handle(pattern, h)
	}
	return c.Gate.Wrap(problems(mux, fixed, c.Lost))
}

// status answers the questions of a load balancer.
type status struct {
	Status string `json:"status"`
}

func ready(o Office) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		err := o.Ready(ctx)
		if purser.CodeOf(err) == purser.NewerDatabase {
			gate.ProblemStatus(w, r, err, http.StatusServiceUnavailable)
			return
		}
		if err != nil {
			gate.Problem(w, r, purser.Errorf(purser.Unavailable, "the database does not answer, or cannot write").WithCause(err))
			return
		}
		answer(w, status{"ready"})
	}
}

// named tells the log which request it was.
func named(op string, h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		gate.EntryOf(r.Context()).Name(op)
		h(w, r)
	})
}

// place is where an operation is found that names nothing in its path.
type place struct{ method, path string }

// problems turns the mux's own plain-text refusals into problems. What is at a fixed
// place needs no mux, which looks twice: here, and when it serves.
func problems(mux *http.ServeMux, fixed map[place]http.Handler, lost http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h, ok := fixed[place{r.Method, r.URL.Path}]; ok && r.URL.RawPath == "" {
			h.ServeHTTP(w, r)
			return
		}
		h, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		refusal := &quiet{header: w.Header()}
		h.ServeHTTP(refusal, r)
		if refusal.code == http.StatusMethodNotAllowed {
			err := purser.Errorf(purser.InvalidRequest, "this path does not take that method").WithHint("it takes %s", w.Header().Get("Allow"))
			gate.ProblemStatus(w, r, err, refusal.code)
			return
		}
		if lost != nil && r.Method == http.MethodGet && strings.Contains(r.Header.Get("Accept"), "text/html") {
			lost.ServeHTTP(w, r)
			return
		}
		gate.Problem(w, r, purser.Errorf(purser.NotFound, "there is nothing under this path").WithHint("/openapi.json lists what there is"))
	})
}

// quiet takes a refusal's status and headers, and drops its text.
type quiet struct {
	header http.Header
	code   int
}

func (q *quiet) Header() http.Header         { return q.header }
func (q *quiet) Write(p []byte) (int, error) { return len(p), nil }
func (q *quiet) WriteHeader(code int)        { q.code = code }

// door is one operation at its path.
type door struct {
	op   office.Operation
	gate *gate.Gate
	// inPath are the members that the path names.
	inPath []string
	// answering marks a decision whose answer this door writes (Office).
	answering func(context.Context) (context.Context, func())
}

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	gate.EntryOf(r.Context()).Name(d.op.Name)
	ctx := r.Context()
	if d.op.Spends() || d.op.Who == purser.Providers {
		var sent func()
		ctx, sent = d.answering(ctx)
		defer sent()
		// What is written here leaves before sent is called.
		defer func() { _ = http.NewResponseController(w).Flush() }()
	}
	out, err := d.serve(ctx, w, r)
	var lost interface{ Drop() bool }
	switch {
	case errors.As(err, &lost) && lost.Drop():
		// The decision stands and the answer is lost on purpose: the rail's test of
		// what a provider does then.
		panic(http.ErrAbortHandler)
	case err != nil:
		gate.Problem(w, r, err)
	default:
		answer(w, form.Whole(out))
	}
}

// serve checks in the order that gives nothing away: who, then how, then what. ctx is
// the operation's.
func (d *door) serve(ctx context.Context, w http.ResponseWriter, r *http.Request) (any, error) {
	by, err := d.actor(r)
	if err != nil {
		return nil, err
	}
	if d.op.Changes {
		if by.Key, err = key(r); err != nil {
			return nil, err
		}
	}
	members, err := d.members(w, r)
	if err != nil {
		return nil, err
	}
	in, err := form.Fill(d.op.In, members)
	if err != nil {
		return nil, err
	}
	return d.op.Do(ctx, by, in)
}

func (d *door) actor(r *http.Request) (purser.Actor, error) {
	switch {
	case d.op.Who == purser.Anyone:
		return d.gate.Anonymous(r)
	case d.op.Spends():
		return d.gate.AdmitSpender(r)
	case d.op.Name == "stop":
		return d.gate.AdmitToStop(r)
	}
	return d.gate.Admit(r)
}

// key reads the Idempotency-Key: 1 to 255 visible ASCII characters.
func key(r *http.Request) (string, error) {
	values := r.Header["Idempotency-Key"]
	if len(values) != 1 || !purser.ValidKey(values[0]) {
		return "", purser.Errorf(purser.InvalidRequest, "a request that changes something needs one Idempotency-Key header of 1 to 255 visible ASCII characters").
			WithHint("send a new random one for each new request, and the same one when you send a request again")
	}
	return values[0], nil
}

// members joins body, query and path. What the path names cannot be said
// otherwise in the body.
func (d *door) members(w http.ResponseWriter, r *http.Request) (map[string]any, error) {
	members, err := d.body(w, r)
	if err != nil {
		return nil, err
	}
	if err := d.query(r, members); err != nil {
		return nil, err
	}
	for _, name := range d.inPath {
		if _, twice := members[name]; twice {
			return nil, purser.Errorf(purser.InvalidRequest, "%s is named by the path and not in the body", name)
		}
		// "self" is a left-out member where the contract allows that: an agent's own run.
		if text := r.PathValue(name); text != "self" || !form.Members(d.op.In)[name].Optional {
			members[name] = form.Text(d.op.In, name, text)
		}
	}
	return members, nil
}

// query reads each parameter once. A request with a body takes no query: one
// place for each member.
func (d *door) query(r *http.Request, members map[string]any) error {
	if r.URL.RawQuery == "" {
		return nil
	}
	for name, values := range r.URL.Query() {
		switch {
		case d.op.Method != http.MethodGet:
			return purser.Errorf(purser.InvalidRequest, "this request takes its members in the body, not in the query")
		case len(values) != 1:
			return purser.Errorf(purser.InvalidRequest, "a query parameter is given more than once")
		}
		members[name] = form.Text(d.op.In, name, values[0])
	}
	return nil
}

func (d *door) body(w http.ResponseWriter, r *http.Request) (map[string]any, error) {
	if d.op.Method == http.MethodGet {
		return map[string]any{}, nil
	}
	limit := int64(bodyLimit)
	if d.op.Name == "stage" {
		limit = stageBodyLimit
	}
	text, err := read(w, r, limit)
	if err != nil || len(text) == 0 {
		return map[string]any{}, err
	}
	if !isJSON(r.Header.Get("Content-Type")) {
		return nil, purser.Errorf(purser.InvalidRequest, "the body must be application/json")
	}
	return form.Parse(text)
}

func isJSON(contentType string) bool {
	if contentType == "application/json" {
		return true
	}
	kind, _, err := mime.ParseMediaType(contentType)
	return err == nil && kind == "application/json"
}

// read takes a whole body, within a size and a time that a slow sender cannot stretch.
func read(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	conn := http.NewResponseController(w)
	_ = conn.SetReadDeadline(time.Now().Add(bodyTime)) // not every connection has one; then the server's own limits hold
	text, err := readAll(w, r, limit)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, purser.Errorf(purser.TooLarge, "the request is larger than %d bytes", limit)
	case err != nil:
		return nil, purser.Errorf(purser.InvalidRequest, "the request broke off").WithCause(err)
	}
	// The operation itself may take longer than the body; a deadline left on the
	// connection would cancel it.
	_ = conn.SetReadDeadline(time.Time{})
	return text, nil
}

// pieceMost is the longest body that is given its room before it comes: who only
// says that a long one follows gets none for it.
const pieceMost = 16 << 10

// readAll takes a short body that says how long it is in one piece.
func readAll(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength <= 0 || r.ContentLength > pieceMost {
		return io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	}
	text := make([]byte, r.ContentLength)
	_, err := io.ReadFull(r.Body, text)
	return text, err
}

func pathMembers(path string) []string {
	var names []string
	for part := range strings.SplitSeq(path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			names = append(names, strings.TrimSuffix(name, "}"))
		}
	}
	return names
}

var jsonKind = []string{"application/json"} // of every answer: nobody may write into it

func answer(w http.ResponseWriter, v any) {
	if v == nil {
		v = purser.None{}
	}
	t := texts.Get().(*text)
	defer t.done()
	_ = t.Encode(v) // our own types, which can be written
	h := w.Header()
	h["Content-Type"] = jsonKind
	h.Set("Content-Length", strconv.Itoa(t.Len()))
	_, _ = w.Write(t.Bytes()) // the caller is gone: the operation stands, and its key tells of it
}

// text is room for one answer, and what writes JSON there.
type text struct {
	bytes.Buffer
	*json.Encoder
}

var texts = sync.Pool{New: func() any {
	t := &text{}
	t.Encoder = json.NewEncoder(&t.Buffer)
	t.SetEscapeHTML(false)
	return t
}}

// textKept is the largest answer whose room is used again.
const textKept = 16 << 10

func (t *text) done() {
	if t.Cap() > textKept {
		return
	}
	clear(t.Bytes()) // an answer may hold a secret
	t.Reset()
	texts.Put(t)
}
