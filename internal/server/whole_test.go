package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/client"
	"github.com/purser-dev/purser/internal/act"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/config"
	"github.com/purser-dev/purser/internal/consent"
	"github.com/purser-dev/purser/internal/testpg"
)

const passphrase = "correct horse battery staple"

// owner signs up with a set-up code.
func owner(t *testing.T, s *Server) *client.Client {
	t.Helper()
	return dial(t, s, signUp(t, s))
}

func signUp(t *testing.T, s *Server) (token string) {
	t.Helper()
	code, needed, err := s.SetupCode(t.Context())
	if err != nil || !needed {
		t.Fatalf("set-up code: %v %v", needed, err)
	}
	// The least that is allowed: each signature of a test derives the key again.
	d := act.KDF{Name: "argon2id", Salt: []byte(rand.Text()[:16]), Time: 2, MemoryKiB: 19 << 10, Threads: 1}
	signer, err := act.Derive([]byte(passphrase), d)
	if err != nil {
		t.Fatal(err)
	}
	text := base64.RawURLEncoding
	kdf, public := &purser.KDF{Salt: text.EncodeToString(d.Salt), MemoryKiB: d.MemoryKiB, Time: d.Time, Parallelism: d.Threads}, text.EncodeToString(signer.PublicKey())
	in, err := dial(t, s, "").SetUp(t.Context(), purser.SetUp{
		Code: code, Organization: "Shop", Name: "Ann", Email: "ann@example.org", KDF: kdf, PublicKey: public,
	})
	if err != nil {
		t.Fatalf("setting up: %v", err)
	}
	return in.Token
}

func dial(t *testing.T, s *Server, token string) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{URL: s.URL(), Token: token})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// run makes a project and a run, signed by the owner, and returns its agent's token.
func run(t *testing.T, c *client.Client) purser.Run {
	t.Helper()
	if _, err := c.CreateProject(t.Context(), purser.CreateProject{Name: "shop"}); err != nil {
		t.Fatalf("creating a project: %v", err)
	}
	in := purser.CreateRun{Project: "shop", Budget: purser.Money{Amount: 2000, Currency: "USD"}}
	if _, err := c.CreateRun(t.Context(), in); purser.CodeOf(err) != purser.NeedsPerson {
		t.Errorf("a run without a signature: %v", err)
	}
	signer := consent.Consent{Server: c, Passphrase: func(context.Context, act.Document) ([]byte, error) { return []byte(passphrase), nil }}
	var err error
	if in.Act, err = signer.Sign(t.Context(), "create_run", in); err != nil {
		t.Fatalf("signing: %v", err)
	}
	made, err := c.CreateRun(t.Context(), in)
	if err != nil || made.Token == "" {
		t.Fatalf("creating a run: %v", err)
	}
	return made
}

type bearer string

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(b))
	return http.DefaultTransport.RoundTrip(r)
}

func TestAPersonAnAgentAndAnAuditorWorkThroughTheDoors(t *testing.T) {
	for _, db := range []struct {
		name string
		open func(*testing.T) string
	}{
		{"sqlite", func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "p.db") }},
		{"postgres", func(t *testing.T) string { return testpg.Open(t) }},
	} {
		t.Run(db.name, func(t *testing.T) {
			elsewhere := filepath.Join(t.TempDir(), "checkpoints")
			s, stop := start(t, settings(t, map[string]any{"database": db.open(t), "audit.witness.file": elsewhere}), quiet())
			person := owner(t, s)
			made := run(t, person)

			agent := dial(t, s, made.Token)
			if me, err := agent.Whoami(t.Context(), purser.None{}); err != nil || me.Kind != purser.Agent || me.Run != made.ID {
				t.Errorf("whoami: %+v %v", me, err)
			}
			if shown, err := agent.ShowRun(t.Context(), purser.RunRef{}); err != nil || shown.ID != made.ID {
				t.Errorf("an agent's own run: %v %v", shown.ID, err)
			}
			if _, err := agent.Approve(t.Context(), purser.Approve{Plan: "pln_x"}); purser.CodeOf(err) != purser.SelfApproval {
				t.Errorf("an agent approves: %v", err)
			}
			tools(t, s.URL(), made.Token)
			stops(t, agent, s.URL(), made)
			exported(t, person)
			witnessed(t, s, person, elsewhere)
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// tools checks the agent's door.
func tools(t *testing.T, url, token string) {
	t.Helper()
	session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(),
		&mcp.StreamableClientTransport{Endpoint: url + "/mcp", HTTPClient: &http.Client{Transport: bearer(token)}, DisableStandaloneSSE: true}, nil)
	if err != nil {
		t.Fatalf("MCP: %v", err)
	}
	defer func() { _ = session.Close() }()
	result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "list_budgets", Arguments: map[string]any{}})
	if err != nil || result.IsError {
		t.Errorf("list_budgets: %v %+v", err, result)
	}
}

// stops lets the agent stop its own run, and hear of it from then on.
func stops(t *testing.T, agent *client.Client, url string, made purser.Run) {
	t.Helper()
	stopped, err := agent.Stop(t.Context(), purser.Stop{Scope: "run", ID: made.ID, Reason: "enough"})
	if err != nil || stopped.Seq == 0 {
		t.Fatalf("stopping its own run: %+v %v", stopped, err)
	}
	// No spend is accepted from the acknowledgement on; that the token says so too
	// is one of the revocations that follow it.
	eventually(t, "the token answers stopped", func() bool {
		_, err := agent.Whoami(t.Context(), purser.None{})
		return purser.CodeOf(err) == purser.Stopped
	})
	session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(),
		&mcp.StreamableClientTransport{Endpoint: url + "/mcp", HTTPClient: &http.Client{Transport: bearer(made.Token)}, DisableStandaloneSSE: true}, nil)
	if err != nil {
		t.Fatalf("a stopped agent cannot speak: %v", err)
	}
	defer func() { _ = session.Close() }()
	result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "plan", Arguments: map[string]any{"steps": []any{map[string]any{"service": "a/b"}}}})
	if err != nil || !result.IsError || result.StructuredContent.(map[string]any)["code"] != "stopped" {
		t.Errorf("a stopped agent hears %v %+v", err, result)
	}
}

// exported checks that the log, with its background checkpoints, proves itself.
func exported(t *testing.T, person *client.Client) {
	t.Helper()
	eventually(t, "a checkpoint is signed", func() bool {
		page, err := person.AuditLog(t.Context(), purser.AskAudit{})
		if err != nil {
			t.Fatalf("audit log: %v", err)
		}
		return page.Checkpoint != ""
	})
	page, err := person.AuditLog(t.Context(), purser.AskAudit{})
	if err != nil {
		t.Fatal(err)
	}
	var export bytes.Buffer
	if err := person.ExportAudit(t.Context(), purser.ExportAudit{}, &export); err != nil {
		t.Fatalf("exporting: %v", err)
	}
	report, err := audit.Verify(bytes.NewReader(export.Bytes()), page.PublicKey, audit.VerifyOptions{Books: true})
	if err != nil || !report.Verified || report.Records == 0 {
		t.Errorf("verifying: %v\n%v", err, report)
	}
}

// witnessed checks that checkpoints of both logs get to where the settings say,
// that the verifier takes what is there, and that the installation's log tells of
// keys and of strangers.
func witnessed(t *testing.T, s *Server, person *client.Client, file string) {
	t.Helper()
	if code, _ := get(t, s.URL()+"/v1/status"); code != http.StatusUnauthorized {
		t.Errorf("a stranger gets %d", code)
	}
	eventually(t, "the witness has all there is", func() bool {
		status, err := person.Status(t.Context(), purser.AskStatus{})
		return err == nil && len(status.Witnesses) == 1 && status.Witnesses[0].Behind == 0 && status.Witnesses[0].Size > 0
	})
	kept, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, log := range []string{"", "installation"} {
		var export bytes.Buffer
		if err := person.ExportAudit(t.Context(), purser.ExportAudit{Log: log}, &export); err != nil {
			t.Fatal(err)
		}
		point, err := person.Checkpoint(t.Context(), purser.AskCheckpoint{Log: log})
		if err != nil {
			t.Fatal(err)
		}
		report, err := audit.Verify(bytes.NewReader(export.Bytes()), point.PublicKey, audit.VerifyOptions{Books: true, Witness: kept})
		if err != nil || !report.Verified {
			t.Errorf("log %q with its witness: %v", log, err)
		}
		if log == "" {
			continue
		}
		for _, action := range []string{`"action":"make_keys"`, `"action":"set_up"`, `"target":"audit_seed"`} {
			if !bytes.Contains(export.Bytes(), []byte(action)) {
				t.Errorf("the installation's log does not tell of %s", action)
			}
		}
	}
}

// A change that the database does not take now is no fault of the program, whichever
// operation it is: whoever asked asks again.
func TestWhatTheDatabaseDoesNotTakeCanBeAskedAgain(t *testing.T) {
	t.Parallel()
	cfg := settings(t, nil)
	s, _ := start(t, cfg, quiet())
	token := signUp(t, s)
	letGo := lockedBy(t, cfg)
	create := func() (status int, body string) {
		r, err := http.NewRequestWithContext(t.Context(), "POST", s.URL()+"/v1/projects", strings.NewReader(`{"name":"shop"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Authorization": {"Bearer " + token}, "Idempotency-Key": {"again"}, "Content-Type": {"application/json"}}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	if status, body := create(); status != http.StatusServiceUnavailable || !strings.Contains(body, `"code":"unavailable"`) {
		t.Errorf("while another writes: %d %s", status, body)
	}
	if err := letGo(); err != nil {
		t.Fatal(err)
	}
	if status, body := create(); status != http.StatusOK {
		t.Errorf("afterwards: %d %s", status, body)
	}
}

// Nor is a start that the database does not let happen.
func TestAStartWithoutRoomSaysWhatIsInItsWay(t *testing.T) {
	t.Parallel()
	cfg := settings(t, nil)
	s, stop := start(t, cfg, quiet())
	signUp(t, s)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	lockedBy(t, cfg)
	var no *purser.Error
	again, err := New(t.Context(), cfg, quiet())
	if !errors.As(err, &no) || no.Code != purser.Unavailable || !strings.Contains(no.Detail, "database is locked") || no.Hint == "" {
		t.Errorf("it starts: %v", err)
	}
	if err == nil {
		_ = again.Close()
	}
}

// lockedBy lets somebody else write to the database until the test ends, or lets go.
func lockedBy(t *testing.T, cfg config.Config) (letGo func() error) {
	t.Helper()
	file, err := sql.Open("sqlite", "file:"+filepath.Join(cfg.Dir, "purser.db")+"?_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	busy, err := file.BeginTx(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = busy.Rollback(); _ = file.Close() }) // let go before, or not
	return busy.Rollback
}

// eventually waits for what happens in the background; its limit only ends a test that
// hangs.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come about that %s", what)
		}
	}
}
