package test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// wire stands between server and cloud, in both directions: APP and deploy calls
// go to the cloud, charges go to the server's rail. It changes nothing but
// addresses, and can hold a message.
type wire struct {
	*httptest.Server
	mu     sync.Mutex
	cloud  string   // where the cloud is now
	rail   string   // where the server is
	key    string   // the provider's key at the rail, which the cloud was never told
	bearer string   // the newest connection's, as the server sent it
	gates  []*gate  // not reached yet
	held   []*gate  // reached
	seen   []string // method, path and body of each call that changes something
}

// moment says where in an exchange a gate stands.
type moment int

const (
	before moment = iota // the message is out, and the other side has not got it
	after                // the work is done, and the answer is held
)

// gate holds the first message that fits, once.
type gate struct {
	moment   moment
	method   string
	path     string // contained in the path
	body     string // contained in the body
	reached  chan struct{}
	verdict  chan bool // true: goes on
	finished chan struct{}
}

func newWire(t *testing.T) *wire {
	w := &wire{}
	w.Server = httptest.NewServer(w)
	t.Cleanup(func() {
		w.mu.Lock()
		left := append(w.gates, w.held...)
		w.gates = nil
		w.mu.Unlock()
		for _, g := range left {
			g.let(false)
		}
		w.CloseClientConnections()
		w.Close()
	})
	return w
}

// hold puts up a gate.
func (w *wire) hold(m moment, method, path, body string) *gate {
	g := &gate{m, method, path, body, make(chan struct{}), make(chan bool, 1), make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gates = append(w.gates, g)
	return g
}

// wait returns when the gate holds its message.
func (g *gate) wait(t testing.TB) {
	t.Helper()
	select {
	case <-g.reached:
	case <-time.After(patience):
		t.Fatalf("no %s %s with %q came", g.method, g.path, g.body)
	}
}

// let ends the hold: the message goes on, or is lost.
func (g *gate) let(on bool) {
	select {
	case g.verdict <- on:
	default: // decided before
	}
}

// done returns when what was let on has been delivered or has failed.
func (g *gate) done(t testing.TB) {
	t.Helper()
	select {
	case <-g.finished:
	case <-time.After(patience):
		t.Fatalf("the held %s %s did not end", g.method, g.path)
	}
}

// ServeHTTP carries one message over.
func (w *wire) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	g := w.gate(r, body)
	if g != nil {
		defer close(g.finished)
		if g.moment == before && !g.holds() {
			panic(http.ErrAbortHandler)
		}
	}
	answer, text, err := w.carry(r, body)
	if g != nil && g.moment == after && err == nil && !g.holds() || err != nil {
		panic(http.ErrAbortHandler)
	}
	for name, values := range answer.Header {
		if name != "Content-Length" && name != "Date" {
			out.Header()[name] = values
		}
	}
	out.WriteHeader(answer.StatusCode)
	_, _ = out.Write(text) // the receiver may be dead: that is the point
}

func (g *gate) holds() bool {
	close(g.reached)
	return <-g.verdict
}

// gate takes down the gate that this message meets, if any, and notes the message.
func (w *wire) gate(r *http.Request, body []byte) *gate {
	w.mu.Lock()
	defer w.mu.Unlock()
	if b := r.Header.Get("Authorization"); strings.HasPrefix(r.URL.Path, "/app/") && b != "" {
		w.bearer = strings.TrimPrefix(b, "Bearer ")
	}
	if r.Method != http.MethodGet {
		w.seen = append(w.seen, r.Method+" "+r.URL.Path+" "+string(body))
	}
	for i, g := range w.gates {
		if r.Method == g.method && strings.Contains(r.URL.Path, g.path) && bytes.Contains(body, []byte(g.body)) {
			w.gates = append(w.gates[:i:i], w.gates[i+1:]...)
			w.held = append(w.held, g)
			return g
		}
	}
	return nil
}

// count tells how many calls contain all the words.
func (w *wire) count(words ...string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
next:
	for _, s := range w.seen {
		for _, word := range words {
			if !strings.Contains(s, word) {
				continue next
			}
		}
		n++
	}
	return n
}

// carry sends the message on, also when its sender is gone.
func (w *wire) carry(r *http.Request, body []byte) (*http.Response, []byte, error) {
	w.mu.Lock()
	cloud, target, key := w.cloud, w.cloud, ""
	if strings.HasPrefix(r.URL.Path, "/v1/rail/") {
		target, key = w.rail, w.key
	}
	w.mu.Unlock()
	to, err := url.Parse(target + r.URL.RequestURI())
	if err != nil {
		return nil, nil, err
	}
	req := &http.Request{Method: r.Method, URL: to, Header: r.Header.Clone(), Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body))}
	req.Header.Del("Accept-Encoding") // the transport asks for itself, and unpacks
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	answer, err := oneWay.RoundTrip(req)
	if err != nil {
		return nil, nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return answer, bytes.ReplaceAll(text, []byte(cloud), []byte(w.URL)), err
}

// oneWay keeps no connection: one to a killed process would fail the next call,
// and it is not the wire that is tested.
var oneWay = &http.Transport{DisableKeepAlives: true, ResponseHeaderTimeout: time.Minute}
