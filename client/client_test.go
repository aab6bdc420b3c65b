package client

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-dev/purser"
)

// serve makes a client of a server that answers with h, without real pauses.
func serve(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := New(Config{URL: s.URL + "/", Token: "pt_secret"})
	if err != nil {
		t.Fatal(err)
	}
	c.pause = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	return c
}

func camel(name string) string {
	var b strings.Builder
	for _, w := range strings.Split(name, "_") {
		b.WriteString(strings.ToUpper(w[:1]) + w[1:])
	}
	return b.String()
}

// members lists the JSON names of a struct, embedded ones included.
func members(t reflect.Type) map[string]reflect.Type {
	all := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(t) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
			all[name] = f.Type
		}
	}
	return all
}

func TestEachOperationHasAMethodThatFitsIt(t *testing.T) {
	client := reflect.TypeFor[*Client]()
	words := reflect.TypeFor[purser.Plan]().PkgPath()
	for _, op := range purser.Operations() {
		m, ok := client.MethodByName(camel(op.Name))
		if !ok {
			t.Errorf("%s has no method %s", op.Name, camel(op.Name))
			continue
		}
		f := m.Type
		if f.NumIn() != 3 || f.In(1) != reflect.TypeFor[context.Context]() || f.NumOut() != 2 || f.Out(1) != reflect.TypeFor[error]() {
			t.Errorf("%s is %v, not func(context.Context, In) (Out, error)", m.Name, f)
			continue
		}
		in, out := f.In(2), f.Out(0)
		if in.PkgPath() != words || out.PkgPath() != words || in.Kind() != reflect.Struct || out.Kind() != reflect.Struct {
			t.Errorf("%s takes %v and gives %v, which are not structs of the contract", m.Name, in, out)
		}
		have := members(in)
		for _, part := range strings.Split(op.Path, "/") {
			if name, braced := strings.CutPrefix(part, "{"); braced && have[strings.TrimSuffix(name, "}")] == nil {
				t.Errorf("%s: %v has no member for %s in %s", op.Name, in, part, op.Path)
			}
		}
		for name, typ := range have {
			if op.Method == http.MethodGet && typ.Kind() != reflect.String && typ.Kind() != reflect.Int && typ.Kind() != reflect.Int64 {
				t.Errorf("%s: member %s (%v) does not fit a query", op.Name, name, typ)
			}
		}
		if _, signed := have["act"]; op.Loosens != signed && op.Name != "sign_in" {
			t.Errorf("%s: loosens is %v, has an act: %v", op.Name, op.Loosens, signed)
		}
	}
}

func TestRequestsAreWrittenByTheTable(t *testing.T) {
	type sent struct{ Method, URI, Key, Auth, Body string }
	tests := []struct {
		name string
		call func(context.Context, *Client) error
		want sent
	}{
		{"a change carries key and body, and its path member leaves the body", func(ctx context.Context, c *Client) error {
			_, err := c.Deny(WithKey(ctx, "k1"), purser.Deny{Plan: "pln_1", Reason: "no"})
			return err
		}, sent{"POST", "/v1/plans/pln_1/deny", "k1", "Bearer pt_secret", `{"reason":"no"}`}},
		{"a read carries a query and no key", func(ctx context.Context, c *Client) error {
			_, err := c.Search(ctx, purser.Search{Words: "a b", Page: purser.Page{Limit: 7}})
			return err
		}, sent{"GET", "/v1/search?limit=7&words=a+b", "", "Bearer pt_secret", ""}},
		{"a left-out run is the caller's own", func(ctx context.Context, c *Client) error {
			_, err := c.ShowRun(ctx, purser.RunRef{})
			return err
		}, sent{"GET", "/v1/runs/self", "", "Bearer pt_secret", ""}},
		{"a name with slashes stays one segment", func(ctx context.Context, c *Client) error {
			_, err := c.Restore(WithKey(ctx, "k2"), purser.Restore{Resource: "a/../b c", Env: "production"})
			return err
		}, sent{"POST", "/v1/resources/a%2F..%2Fb%20c/restore", "k2", "Bearer pt_secret", `{"env":"production"}`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got sent
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				got = sent{r.Method, r.RequestURI, r.Header.Get("Idempotency-Key"), r.Header.Get("Authorization"), string(body)}
				_, _ = io.WriteString(w, "{}")
			})
			if err := tt.call(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestAPathMemberThatNamesNothingIsRefusedBeforeSending(t *testing.T) {
	c := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a request was sent") })
	for _, name := range []string{"", ".", ".."} {
		if _, err := c.ShowPlan(t.Context(), purser.PlanRef{Plan: name}); purser.CodeOf(err) != purser.InvalidRequest {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestAProblemComesBackWhole(t *testing.T) {
	want := &purser.Error{
		Code: purser.BudgetExceeded, Detail: "too dear", Hint: "ask", RetryAfter: 3 * time.Second, Plan: "pln_1", Reference: "ref_1",
		Budgets:  []purser.BudgetLine{{Scope: "run", ID: "run_1", Limit: purser.Money{Amount: 2000, Currency: "USD"}, Left: 10, Needed: 500}},
		Blockers: []purser.Blocker{{Code: purser.Unpriced, Step: 2, Detail: "no price"}},
		Provider: &purser.ProviderSaid{Code: "x", Message: "no", Status: 402},
	}
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(402)
		text, _ := json.Marshal(struct {
			*purser.Error
			RetryAfter int `json:"retry_after"`
		}{want, 3})
		_, _ = w.Write(text)
	})
	_, err := c.Plan(t.Context(), purser.MakePlan{})
	var got *purser.Error
	if !errors.As(err, &got) {
		t.Fatalf("%v is not a *purser.Error", err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestALostAnswerIsAskedAgainUnderTheSameKey(t *testing.T) {
	var mu sync.Mutex // each try comes on a connection of its own
	var keys []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if keys = append(keys, r.Header.Get("Idempotency-Key")); len(keys) < 3 {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, `{"id":"pln_9"}`)
	})
	plan, err := c.Plan(t.Context(), purser.MakePlan{})
	if err != nil || plan.ID != "pln_9" {
		t.Fatalf("%v, %v", plan.ID, err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(keys) != 3 || keys[0] == "" || keys[1] != keys[0] || keys[2] != keys[0] {
		t.Errorf("keys %q", keys)
	}
}

func TestFailuresOfTheNetworkSayWhatTheyMean(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone, _ := New(Config{URL: "http://" + closed.Addr().String()})
	_ = closed.Close()
	var calls atomic.Int64 // the server counts beside the test
	drops := serve(t, func(http.ResponseWriter, *http.Request) { calls.Add(1); panic(http.ErrAbortHandler) })
	proxy := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404); _, _ = io.WriteString(w, "<html>") })
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		name string
		call func() error
		code purser.Code
		hint string
	}{
		{"nobody listens", func() error { _, err := gone.Stop(t.Context(), purser.Stop{}); return err }, purser.Unavailable, "purser up"},
		{"a change's answer is lost", func() error { _, err := drops.Apply(WithKey(t.Context(), "k7"), purser.Apply{Plan: "p"}); return err }, purser.OutcomeUnknown, "--key k7"},
		{"a read's answer is lost", func() error { _, err := drops.Status(t.Context(), purser.AskStatus{}); return err }, purser.Unavailable, "purser up"},
		{"something else answers", func() error { _, err := proxy.Status(t.Context(), purser.AskStatus{}); return err }, purser.Unavailable, "address"},
		{"the caller gave up", func() error { _, err := drops.Status(cancelled, purser.AskStatus{}); return err }, purser.Unavailable, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var e *purser.Error
			if err := tt.call(); !errors.As(err, &e) || e.Code != tt.code || !strings.Contains(e.Hint, tt.hint) {
				t.Errorf("got %v, hint %q", err, e.Hint)
			}
		})
	}
	if n := calls.Load(); n == 0 || n > 2*tries {
		t.Errorf("%d calls arrived", n)
	}
	if _, err := drops.Status(cancelled, purser.AskStatus{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled call does not say so: %v", err)
	}
}

func TestARedirectNeverGetsTheToken(t *testing.T) {
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("followed with Authorization %q", r.Header.Get("Authorization"))
	}))
	defer thief.Close()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, thief.URL, http.StatusTemporaryRedirect)
	})
	if _, err := c.Status(t.Context(), purser.AskStatus{}); purser.CodeOf(err) != purser.Unavailable {
		t.Errorf("got %v", err)
	}
}

func TestBlobsAreSentInBatchesAndEachOnce(t *testing.T) {
	big := bytes.Repeat([]byte("x"), batchBytes/2+1)
	blobs := map[string][]byte{"a": big, "b": big, "c": []byte("small")}
	got := map[string]int{}
	batches := 0
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		batches++
		tr := tar.NewReader(r.Body)
		for {
			h, err := tr.Next()
			if err != nil {
				break
			}
			n, _ := io.Copy(io.Discard, tr)
			got[h.Name] += int(n)
		}
		_, _ = io.Copy(io.Discard, r.Body)
	})
	var progress int64
	err := c.UploadBlobs(t.Context(), []string{"a", "b", "c"}, opener(blobs), func(n int64) { progress += n })
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"a": len(big), "b": len(big), "c": 5}
	if d := cmp.Diff(want, got); d != "" || batches != 2 || progress != int64(2*len(big)+5) {
		t.Errorf("%s, %d batches, %d bytes of progress", d, batches, progress)
	}
}

func opener(blobs map[string][]byte) func(string) (io.ReadCloser, int64, error) {
	return func(sha string) (io.ReadCloser, int64, error) {
		b, ok := blobs[sha]
		if !ok {
			return nil, 0, errors.New("no such file")
		}
		return io.NopCloser(bytes.NewReader(b)), int64(len(b)), nil
	}
}

func TestAnUploadThatFailsTellsTheReason(t *testing.T) {
	refuses := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(400)
		_, _ = io.WriteString(w, `{"code":"blob_mismatch","detail":"other content"}`)
	}
	grows := func(string) (io.ReadCloser, int64, error) { return io.NopCloser(strings.NewReader("12345")), 3, nil }
	tests := []struct {
		name   string
		server http.HandlerFunc
		open   func(string) (io.ReadCloser, int64, error)
		want   string
	}{
		{"the server refuses while we still send", refuses, opener(map[string][]byte{"a": bytes.Repeat([]byte("x"), 8<<20)}), "blob_mismatch: other content"},
		{"a file of ours is gone", func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }, opener(nil), "no such file"},
		{"a file of ours grew", func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }, grows, "changed while"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := serve(t, tt.server).UploadBlobs(t.Context(), []string{"a"}, tt.open, nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestAnExportThatBreaksOffIsAnError(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "{}\n")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	var b bytes.Buffer
	if err := c.ExportAudit(t.Context(), purser.ExportAudit{}, &b); purser.CodeOf(err) != purser.Unavailable {
		t.Errorf("got %v after %q", err, b.String())
	}
}
