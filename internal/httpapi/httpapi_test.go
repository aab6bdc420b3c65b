package httpapi

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/client"
	"github.com/purser-dev/purser/internal/doortest"
	"github.com/purser-dev/purser/internal/form"
	"github.com/purser-dev/purser/internal/gate"
)

var update = flag.Bool("update", false, "write the golden files anew")

func serve(t *testing.T) (*httptest.Server, *doortest.Office) {
	t.Helper()
	o := &doortest.Office{}
	g, err := gate.New(gate.Config{Authenticator: o, Log: slog.New(slog.DiscardHandler), Now: time.Now, Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(New(Config{Office: o, Gate: g, Version: "test"}))
	t.Cleanup(s.Close)
	return s, o
}

// viaClient is the door, called through package client.
type viaClient struct {
	url    string
	office *doortest.Office
}

// Call finds the client's method by the operation's name. What the client's types
// cannot say is sent raw.
func (v viaClient) Call(ctx context.Context, token, op, key string, members map[string]any) ([]byte, error) {
	for _, o := range v.office.Operations() {
		if o.Name != op {
			continue
		}
		in, err := form.Fill(o.In, members)
		if err != nil {
			return nil, v.raw(o.Operation, token, key, members)
		}
		c, err := client.New(client.Config{URL: v.url, Token: token})
		if err != nil {
			return nil, err
		}
		var name strings.Builder
		for word := range strings.SplitSeq(op, "_") {
			name.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
		out := reflect.ValueOf(c).MethodByName(name.String()).Call(
			[]reflect.Value{reflect.ValueOf(client.WithKey(ctx, key)), reflect.ValueOf(in)})
		if err, _ := out[1].Interface().(error); err != nil {
			return nil, err
		}
		return json.Marshal(out[0].Interface())
	}
	return nil, fmt.Errorf("no operation is called %q", op)
}

func (v viaClient) raw(op purser.Operation, token, key string, members map[string]any) error {
	url, body := v.url+op.Path, io.Reader(nil)
	if op.Method == http.MethodGet {
		url += "?"
		for name, value := range members {
			url += fmt.Sprintf("%s=%v&", name, value)
		}
		url = strings.TrimSuffix(url, "&")
	} else {
		text, _ := json.Marshal(members)
		body = bytes.NewReader(text)
	}
	req, _ := http.NewRequest(op.Method, url, body)
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Idempotency-Key", key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var e purser.Error
	if err := json.NewDecoder(resp.Body).Decode(&e); err != nil {
		return err
	}
	return &e
}

func TestHTTPDoesWhatGoDoes(t *testing.T) {
	s, o := serve(t)
	doortest.Run(t, o, viaClient{s.URL, o})
}

// ask sends one request and reads the whole answer.
func ask(t *testing.T, method, url, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, _ := io.ReadAll(resp.Body)
	return resp, string(text)
}

const (
	auth    = "Authorization"
	agent   = "Bearer " + doortest.Agent
	person  = "Bearer " + doortest.Person
	keyed   = "Idempotency-Key"
	kind    = "Content-Type"
	jsonDoc = "application/json"
)

func plan(purpose string) string {
	return `{"purpose":"` + purpose + `","steps":[{"service":"a/b"}]}`
}

func TestProblemsLookLikeTheirGoldenFiles(t *testing.T) {
	s, _ := serve(t)
	tests := []struct {
		name, method, path, body string
		headers                  []string
		status                   int
	}{
		{"too_dear", "POST", "/v1/plans", plan("too dear"), []string{auth, agent, keyed, "k", kind, jsonDoc}, 402},
		{"replay", "POST", "/v1/plans", plan("said before"), []string{auth, agent, keyed, "k", kind, jsonDoc}, 402},
		{"needs_approval", "POST", "/v1/plans", plan("ask"), []string{auth, agent, keyed, "k", kind, jsonDoc}, 409},
		{"provider_failure", "POST", "/v1/plans", plan("their fault"), []string{auth, agent, keyed, "k", kind, jsonDoc}, 502},
		{"busy", "POST", "/v1/plans", plan("busy"), []string{auth, agent, keyed, "k", kind, jsonDoc}, 503},
		{"fault", "POST", "/v1/plans", plan("fault"), []string{auth, agent, keyed, "k", kind, jsonDoc}, 500},
		{"invalid", "POST", "/v1/plans", `{"stepz":1,"purpose":false}`, []string{auth, agent, keyed, "k", kind, jsonDoc}, 400},
		{"no_key", "POST", "/v1/plans", plan("x"), []string{auth, agent, kind, jsonDoc}, 400},
		{"no_credential", "GET", "/v1/status", "", nil, 401},
		{"agent_approves", "POST", "/v1/plans/pln_1/approve", "", []string{auth, agent, keyed, "k"}, 403},
		{"not_found", "GET", "/v1/nothing", "", nil, 404},
		{"method", "DELETE", "/v1/plans", "", nil, 405},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			resp, body := ask(t, tt.method, s.URL+tt.path, tt.body, tt.headers...)
			if resp.StatusCode != tt.status || resp.Header.Get(kind) != "application/problem+json" {
				t.Errorf("%d %s", resp.StatusCode, resp.Header.Get(kind))
			}
			golden(t, "problem_"+tt.name+".json", indent(t, regexp.MustCompile(`req_[0-9a-f]{16}`).ReplaceAllString(body, "req_0123")))
		})
	}
}

func indent(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(text), "", "  "); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return b.Bytes()
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := "testdata/" + name
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (go test ./internal/httpapi -update):\n%s", file, d)
	}
}

func TestTheOpenAPIDocumentIsTheCommittedOne(t *testing.T) {
	s, o := serve(t)
	resp, body := ask(t, "GET", s.URL+"/openapi.json", "")
	if resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	golden(t, "openapi.json", []byte(body))
	var doc struct {
		Paths map[string]map[string]struct{ OperationID string }
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	for _, op := range o.Operations() {
		if got := doc.Paths[op.Path][strings.ToLower(op.Method)].OperationID; got != op.Name {
			t.Errorf("%s %s is %q, not %q", op.Method, op.Path, got, op.Name)
		}
	}
	if n := strings.Count(body, `"operationId"`); n != len(purser.Operations())+3 {
		t.Errorf("%d operations are described, of %d and the three streams", n, len(purser.Operations()))
	}
	for ref := range strings.SplitSeq(body, `"$ref": "#/components/schemas/`) {
		if name, _, ok := strings.Cut(ref, `"`); ok && regexp.MustCompile(`^[A-Z][A-Za-z]+$`).MatchString(name) && !strings.Contains(body, `"`+name+`": {`) {
			t.Errorf("nothing is called %s", name)
		}
	}
}

func TestARequestIsRefusedInTheOrderThatGivesNothingAway(t *testing.T) {
	s, o := serve(t)
	tests := []struct {
		name, path, body string
		headers          []string
		code             purser.Code
		says             string
	}{
		{"no credential hears nothing of its faults", "/v1/plans", `{"rubbish`, nil, purser.NotSignedIn, ""},
		{"the key comes before the body", "/v1/plans", `{"rubbish`, []string{auth, agent}, purser.InvalidRequest, "Idempotency-Key"},
		{"an empty key", "/v1/plans", plan("x"), []string{auth, agent, keyed, ""}, purser.InvalidRequest, "Idempotency-Key"},
		{"a key with a space", "/v1/plans", plan("x"), []string{auth, agent, keyed, "a b"}, purser.InvalidRequest, "Idempotency-Key"},
		{"a key of 256 characters", "/v1/plans", plan("x"), []string{auth, agent, keyed, strings.Repeat("k", 256)}, purser.InvalidRequest, "Idempotency-Key"},
		{"two keys", "/v1/plans", plan("x"), []string{auth, agent, keyed, "a", keyed, "b"}, purser.InvalidRequest, "Idempotency-Key"},
		{"a form", "/v1/plans", "steps=1", []string{auth, agent, keyed, "k", kind, "application/x-www-form-urlencoded"}, purser.InvalidRequest, "application/json"},
		{"no content type", "/v1/plans", plan("x"), []string{auth, agent, keyed, "k"}, purser.InvalidRequest, "application/json"},
		{"a member of the path in the body", "/v1/plans/pln_1/apply", `{"plan":"pln_2"}`, []string{auth, agent, keyed, "k", kind, jsonDoc}, purser.InvalidRequest, "path"},
		{"a member in the query of a change", "/v1/plans/pln_1/apply?wait=1", `{}`, []string{auth, agent, keyed, "k", kind, jsonDoc}, purser.InvalidRequest, "query"},
		{"a body above the limit", "/v1/plans", plan(strings.Repeat("x", bodyLimit)), []string{auth, agent, keyed, "k", kind, jsonDoc}, purser.TooLarge, "1048576"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			resp, body := ask(t, "POST", s.URL+tt.path, tt.body, tt.headers...)
			var p struct {
				Code   purser.Code
				Detail string
			}
			_ = json.Unmarshal([]byte(body), &p)
			if p.Code != tt.code || !strings.Contains(p.Detail, tt.says) {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
		})
	}
	if made := o.Made(); len(made) != 0 {
		t.Errorf("%d refused requests reached the office", len(made))
	}
}

func TestStageTakesALongListAndOthersDoNot(t *testing.T) {
	s, o := serve(t)
	file := `{"path":"` + strings.Repeat("p", 200) + `","sha256":"` + strings.Repeat("0", 64) + `","size":1}`
	body := `{"files":[` + strings.Repeat(file+",", 20_000) + file + `]}`
	resp, text := ask(t, "POST", s.URL+"/v1/manifests", body, auth, agent, keyed, "k", kind, jsonDoc)
	if resp.StatusCode != 200 || len(o.Made()[0].In.(purser.Stage).Files) != 20_001 {
		t.Errorf("%d %.200s", resp.StatusCode, text)
	}
}

func TestTheKeyAndTheCallerReachTheOffice(t *testing.T) {
	s, o := serve(t)
	ask(t, "POST", s.URL+"/v1/plans", plan("x"), auth, agent, keyed, "key~!", kind, jsonDoc)
	made := o.Made()
	if len(made) != 1 || made[0].By.Key != "key~!" || made[0].By.ID != "agt_1" || made[0].By.Source != "127.0.0.1" {
		t.Errorf("%+v", made)
	}
	ask(t, "POST", s.URL+"/v1/sign-in/challenge", `{"email":"a@b"}`, auth, agent, kind, jsonDoc)
	if made := o.Made(); len(made) != 1 || made[0].By.ID != "" || made[0].By.Source != "127.0.0.1" {
		t.Errorf("an operation for anyone got %+v", made)
	}
}

// marking is an office that counts the answers that left.
type marking struct {
	doortest.Office
	sent atomic.Int64
}

func (m *marking) Answering(ctx context.Context) (context.Context, func()) {
	return ctx, func() { m.sent.Add(1) }
}

// RULES 21: an answer of the rail is told of as those to spends are, when it has left.
func TestTheAnswerToAChargeIsToldOfWhenItHasLeft(t *testing.T) {
	o := &marking{}
	g, err := gate.New(gate.Config{Authenticator: o, Log: slog.New(slog.DiscardHandler), Now: time.Now, Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	door := New(Config{Office: o, Gate: g})
	for n, path := range []string{"/v1/charges", "/v1/rail/charges"} {
		s := httptest.NewServer(door)
		ask(t, "POST", s.URL+path, `{}`, kind, jsonDoc)
		s.Close() // after it, the request is over
		if sent := o.sent.Load(); sent != int64(n+1) {
			t.Errorf("after %s %d answers are told of", path, sent)
		}
	}
}

func TestARailThatLosesItsAnswerBreaksTheConnectionAfterTheDecision(t *testing.T) {
	s, o := serve(t)
	req, _ := http.NewRequestWithContext(t.Context(), "POST", s.URL+"/v1/plans", strings.NewReader(plan("drop")))
	req.Header = http.Header{auth: {agent}, keyed: {"k"}, kind: {jsonDoc}}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err == nil {
		_ = resp.Body.Close()
		t.Fatalf("answered %d", resp.StatusCode)
	}
	if len(o.Made()) != 1 {
		t.Error("nothing was decided")
	}
}

func TestNeitherAnAnswerNorALogLineHoldsATokenOrACause(t *testing.T) {
	var log bytes.Buffer
	o := &doortest.Office{}
	g, err := gate.New(gate.Config{Authenticator: o, Log: slog.New(slog.NewTextHandler(&log, nil)), Now: time.Now, Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	h := New(Config{Office: o, Gate: g})
	for _, words := range []string{"x", "fault", "coded fault", "panic", "busy"} {
		r := httptest.NewRequest("POST", "http://localhost/v1/plans", strings.NewReader(plan(words)))
		r.Header = http.Header{auth: {agent}, keyed: {"k"}, kind: {jsonDoc}}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if strings.Contains(w.Body.String(), "hunter2") || strings.Contains(w.Body.String(), doortest.Agent) {
			t.Errorf("%s: %s", words, w.Body)
		}
	}
	if strings.Contains(log.String(), doortest.Agent) {
		t.Errorf("the log holds a token: %s", log.String())
	}
	if n := strings.Count(log.String(), "msg=request"); n != 5 {
		t.Errorf("%d lines for 5 requests", n)
	}
	if strings.Count(log.String(), "hunter2") != 4 {
		t.Errorf("the log lacks a cause: %s", log.String())
	}
}

func sum(content string) string {
	h := sha256.Sum256([]byte(content))
	return hex.EncodeToString(h[:])
}

func TestBlobsAreTakenByTheirHashOnly(t *testing.T) {
	type entry struct {
		name, content string
		kind          byte
	}
	tests := []struct {
		name    string
		entries []entry
		token   string
		code    purser.Code
		stored  int
	}{
		{"two files", []entry{{sum("a"), "a", tar.TypeReg}, {sum("bb"), "bb", tar.TypeReg}}, agent, "", 2},
		{"none", nil, agent, "", 0},
		{"other content", []entry{{sum("a"), "b", tar.TypeReg}}, agent, purser.BlobMismatch, 0},
		{"a path", []entry{{"../../etc/passwd", "a", tar.TypeReg}}, agent, purser.InvalidRequest, 0},
		{"capital letters", []entry{{strings.ToUpper(sum("a")), "a", tar.TypeReg}}, agent, purser.InvalidRequest, 0},
		{"a link", []entry{{sum(""), "", tar.TypeSymlink}}, agent, purser.InvalidRequest, 0},
		{"a provider's key", []entry{{sum("a"), "a", tar.TypeReg}}, "Bearer " + doortest.Provider, purser.Forbidden, 0},
		{"no credential", []entry{{sum("a"), "a", tar.TypeReg}}, "", purser.NotSignedIn, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, o := serve(t)
			var b bytes.Buffer
			w := tar.NewWriter(&b)
			for _, e := range tt.entries {
				if err := w.WriteHeader(&tar.Header{Name: e.name, Size: int64(len(e.content)), Typeflag: e.kind}); err != nil {
					t.Fatal(err)
				}
				_, _ = io.WriteString(w, e.content)
			}
			_ = w.Close()
			headers := []string{kind, "application/x-tar"}
			if tt.token != "" {
				headers = append(headers, auth, tt.token)
			}
			resp, body := ask(t, "POST", s.URL+"/v1/blobs", b.String(), headers...)
			var p struct {
				Code   purser.Code
				Stored int
			}
			_ = json.Unmarshal([]byte(body), &p)
			if p.Code != tt.code || p.Stored != tt.stored || len(o.Blobs) != tt.stored {
				t.Errorf("%d %s, %d kept", resp.StatusCode, body, len(o.Blobs))
			}
		})
	}
	s, _ := serve(t)
	if resp, body := ask(t, "POST", s.URL+"/v1/blobs", "not a tar at all, but long enough to be one"+strings.Repeat(".", 600), auth, agent); resp.StatusCode != 400 {
		t.Errorf("rubbish: %d %s", resp.StatusCode, body)
	}
}

func TestTheClientsUploadArrives(t *testing.T) {
	s, o := serve(t)
	c, err := client.New(client.Config{URL: s.URL, Token: doortest.Agent})
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	var missing []string
	for i := range 300 {
		content := strings.Repeat("x", i)
		files[sum(content)] = content
		missing = append(missing, sum(content))
	}
	open := func(sha string) (io.ReadCloser, int64, error) {
		return io.NopCloser(strings.NewReader(files[sha])), int64(len(files[sha])), nil
	}
	if err := c.UploadBlobs(t.Context(), missing, open, nil); err != nil || len(o.Blobs) != 300 {
		t.Errorf("%v, %d blobs", err, len(o.Blobs))
	}
	large := strings.Repeat("z", blobSmall+1)
	files[sum(large)] = large
	if err := c.UploadBlobs(t.Context(), []string{sum(large), missing[3]}, open, nil); err != nil || o.Blobs[sum(large)] != blobSmall+1 {
		t.Errorf("a large file: %v", err)
	}
	files[missing[1]] = "y"
	if err := c.UploadBlobs(t.Context(), missing[:2], open, nil); purser.CodeOf(err) != purser.BlobMismatch {
		t.Errorf("other content: %v", err)
	}
}

func TestAnExportIsWholeOrBroken(t *testing.T) {
	s, _ := serve(t)
	tests := []struct {
		log, token string
		code       purser.Code
		lines      int
	}{
		{"", doortest.Person, "", 3},
		{"refused", doortest.Person, purser.Forbidden, 0},
		{"broken", doortest.Person, purser.Unavailable, 1},
		{"", doortest.Agent, purser.Forbidden, 0},
		{"", "nobody", purser.NotSignedIn, 0},
	}
	for _, tt := range tests {
		c, err := client.New(client.Config{URL: s.URL, Token: tt.token})
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		err = c.ExportAudit(t.Context(), purser.ExportAudit{Log: tt.log}, &b)
		if err != nil && purser.CodeOf(err) != tt.code || err == nil && tt.code != "" || strings.Count(b.String(), "\n") > tt.lines {
			t.Errorf("log %q as %s: %v, %q", tt.log, tt.token, err, b.String())
		}
	}
}

// Each form of the export has one address, a name and a kind: what a page of the
// console links to.
func TestAnExportIsAFileToKeep(t *testing.T) {
	s, _ := serve(t)
	for query, want := range map[string][2]string{
		"":                          {"application/jsonl", `attachment; filename="audit.jsonl"`},
		"?format=jsonl":             {"application/jsonl", `attachment; filename="audit.jsonl"`},
		"?format=ocsf":              {"application/jsonl", `attachment; filename="audit.ocsf.jsonl"`},
		"?format=focus":             {"text/csv; charset=utf-8; header=present", `attachment; filename="costs.focus.csv"`},
		"?format=ocsf&log=refused":  {"application/problem+json", ""},
		"?format=ocsf&format=jsonl": {"application/problem+json", ""},
		"?after=3":                  {"application/problem+json", ""},
	} {
		resp, _ := ask(t, http.MethodGet, s.URL+"/v1/audit/export"+query, "", "Authorization", "Bearer "+doortest.Person)
		if got := [2]string{resp.Header.Get("Content-Type"), resp.Header.Get("Content-Disposition")}; got != want {
			t.Errorf("%q: %q, want %q", query, got, want)
		}
		resp, _ = ask(t, http.MethodGet, s.URL+"/v1/audit/export"+query, "", "Authorization", "Bearer "+doortest.Agent)
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("%q: an agent gets %d", query, resp.StatusCode)
		}
	}
}

func TestReadinessFollowsTheDatabaseAndHealthDoesNot(t *testing.T) {
	s, o := serve(t)
	o.Down = errors.New("dialling " + doortest.Secret)
	if resp, _ := ask(t, "GET", s.URL+"/healthz", ""); resp.StatusCode != 200 {
		t.Errorf("healthz %d", resp.StatusCode)
	}
	if resp, body := ask(t, "GET", s.URL+"/readyz", ""); resp.StatusCode != 503 || strings.Contains(body, "hunter2") {
		t.Errorf("readyz %d %s", resp.StatusCode, body)
	}
	o.Down = purser.Errorf(purser.NewerDatabase, "the database has version 24, this program knows 23")
	if resp, body := ask(t, "GET", s.URL+"/readyz", ""); resp.StatusCode != 503 || !strings.Contains(body, "version 24") {
		t.Errorf("readyz of an old server %d %s", resp.StatusCode, body)
	}
	o.Down = nil
	c, _ := client.New(client.Config{URL: s.URL})
	if err := c.Health(t.Context()); err != nil {
		t.Error(err)
	}
}
