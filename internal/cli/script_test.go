package cli

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/act"
	"github.com/purser-dev/purser/internal/canonical"
	"github.com/purser-dev/purser/internal/consent"
)

var update = flag.Bool("update", false, "write the golden files anew")

// phrase is what the scripts type; its key is the fake server's person.
const phrase = "correct horse battery staple"

// TestMain lets scripts call purser as it is called in a shell: as a process.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"purser": func() {
			// Leave the terminal of whoever runs the tests; it fails, as it should,
			// for a process that a script gave a terminal of its own (ttyin).
			// A cloud stays in the group of its server, which is ended as one.
			if len(os.Args) < 2 || os.Args[1] != "cloud" {
				_, _ = syscall.Setsid()
			}
			os.Exit(Main("v0.0.0-test"))
		},
	})
}

// What a person types is tested as typed. A script answers for the server with
// files below api/, named METHOD_path with - for /; the first line is the status.
func TestWhatIsTyped(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata", UpdateScripts: *update, RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			fake, err := newFake(env.WorkDir)
			if err != nil {
				return err
			}
			server := httptest.NewServer(fake)
			env.Defer(server.Close)
			env.Setenv("PURSER_URL", server.URL)
			env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
			env.Setenv("XDG_DATA_HOME", filepath.Join(env.WorkDir, "data"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"json":  checkJSON,
			"mode":  checkMode,
			"exits": checkExit,
		},
	})
}

// checkJSON checks that the last standard output is exactly one object and that
// a member has a value:  json error.code needs_person
func checkJSON(ts *testscript.TestScript, neg bool, args []string) {
	var v any
	d := json.NewDecoder(strings.NewReader(ts.ReadFile("stdout")))
	ts.Check(d.Decode(&v))
	if _, err := d.Token(); err != io.EOF {
		ts.Fatalf("there is more than one object on standard output")
	}
	for _, name := range strings.Split(args[0], ".") {
		m, ok := v.(map[string]any)
		if !ok {
			ts.Fatalf("%s is not a member", args[0])
		}
		v = m[name]
	}
	if got := fmt.Sprint(v); (got == strings.Join(args[1:], " ")) == neg {
		ts.Fatalf("%s is %q", args[0], got)
	}
}

// checkExit runs a command that must fail with an exit code:  exits 2 purser plna
func checkExit(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || fmt.Sprint(exit.ExitCode()) != args[0] {
		ts.Fatalf("%v ended with %v, want exit code %s", args[1:], err, args[0])
	}
}

// checkMode checks a file's permissions:  mode 600 config/purser/credentials.json
func checkMode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := fmt.Sprintf("%o", info.Mode().Perm()); got != args[0] {
		ts.Fatalf("%s has mode %s", args[1], got)
	}
}

// fake answers from files and keeps a journal of what it was asked. Only acts
// are made here, because they must be signed over what was really asked.
type fake struct {
	dir  string
	kdf  *purser.KDF
	key  string
	mu   sync.Mutex
	made map[string]act.Document // by nonce
}

func newFake(dir string) (*fake, error) {
	kdf, key, err := consent.NewKey([]byte(phrase), bytes.NewReader(bytes.Repeat([]byte{7}, 64)))
	return &fake{dir: dir, kdf: kdf, key: key, made: map[string]act.Document{}}, err
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	f.note(r, body)
	answer, err := os.ReadFile(filepath.Join(f.dir, "api", r.Method+strings.ReplaceAll(r.URL.Path, "/", "-")))
	switch {
	case err == nil:
		f.answer(w, answer)
	case r.URL.Path == "/v1/acts" || r.URL.Path == "/v1/sign-in/challenge":
		f.challenge(w, r.URL.Path, body)
	case r.URL.Path == "/v1/manifests":
		f.stage(w, body)
	case r.URL.Path == "/readyz" || r.URL.Path == "/v1/blobs":
		_, _ = io.WriteString(w, "{}")
	default:
		http.NotFound(w, r)
	}
}

func (f *fake) answer(w http.ResponseWriter, file []byte) {
	status, body, _ := bytes.Cut(file, []byte("\n"))
	code := http.StatusOK
	_, _ = fmt.Sscan(string(status), &code)
	w.Header().Set("Content-Type", "application/json")
	if code >= 400 {
		w.Header().Set("Content-Type", "application/problem+json")
	}
	w.WriteHeader(code)
	_, _ = w.Write(body)
}

// note writes one line per request to api.log: method, path, credential, body,
// and what was signed. A signature that does not verify is written as such.
func (f *fake) note(r *http.Request, body []byte) {
	line := r.Method + " " + r.URL.RequestURI() + " as " + strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		if strings.HasPrefix(key, "key_") {
			key = "key_random"
		}
		line += " key " + key
	}
	var in map[string]any
	if r.URL.Path != "/v1/blobs" && json.Unmarshal(body, &in) == nil {
		if signature, ok := in["act"].(map[string]any); ok {
			line += " " + f.verdict(signature)
			delete(in, "act")
		}
		delete(in, "kdf")
		delete(in, "public_key")
		text, _ := json.Marshal(in)
		line += " " + string(text)
	}
	log, err := os.OpenFile(filepath.Join(f.dir, "api.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, _ = fmt.Fprintln(log, line)
		_ = log.Close()
	}
}

func (f *fake) verdict(signature map[string]any) string {
	text := func(name string) string { s, _ := signature[name].(string); return s }
	raw := func(name string) []byte { b, _ := base64.RawURLEncoding.DecodeString(text(name)); return b }
	doc := f.made[text("nonce")]
	registered, _ := base64.RawURLEncoding.DecodeString(f.key)
	if err := act.VerifyBy(doc, act.Signature{Method: text("method"), PublicKey: raw("public_key"), Signature: raw("signature")}, registered); err != nil {
		return "BADLY SIGNED"
	}
	return "signed(" + doc.Operation + doc.Decision + ")"
}

func (f *fake) challenge(w http.ResponseWriter, path string, body []byte) {
	var in purser.AskAct
	_ = json.Unmarshal(body, &in)
	if path != "/v1/acts" {
		in.Operation = "sign_in"
	}
	nonce := fmt.Sprintf("nonce-of-16-letters-%d", len(f.made))
	d := act.Document{Organization: "org_1", Approver: "per_1", Nonce: nonce, NotAfter: time.Now().Add(time.Minute).UnixMicro(), Origin: "http://localhost:7627"}
	if in.Operation == "approve" {
		d.Decision, d.PlanDigest = "approve", f.planDigest(fmt.Sprint(in.Request["plan"]))
	} else {
		d.Operation = in.Operation
		d.RequestDigest, _ = canonical.Digest(in.Request)
	}
	f.made[nonce] = d
	c := purser.Challenge{Nonce: nonce, KDF: f.kdf, NotAfter: time.UnixMicro(d.NotAfter)}
	text, _ := json.Marshal(d)
	_ = json.Unmarshal(text, &c.Document)
	_ = json.NewEncoder(w).Encode(c)
}

func (f *fake) planDigest(id string) string {
	file, _ := os.ReadFile(filepath.Join(f.dir, "api", "GET-v1-plans-"+id))
	_, body, _ := bytes.Cut(file, []byte("\n"))
	var p purser.Plan
	_ = json.Unmarshal(body, &p)
	digest, _ := canonical.Digest(p.Terms)
	return digest
}

// stage lacks every file.
func (f *fake) stage(w http.ResponseWriter, body []byte) {
	var in purser.Stage
	_ = json.Unmarshal(body, &in)
	out := purser.Staged{Manifest: "sha256:manifest", Files: len(in.Files), Missing: []string{}}
	for _, file := range in.Files {
		out.Missing = append(out.Missing, file.SHA256)
	}
	_ = json.NewEncoder(w).Encode(out)
}
