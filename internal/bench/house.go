package bench

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/client"
	"github.com/purser-dev/purser/internal/act"
	"github.com/purser-dev/purser/internal/child"
	"github.com/purser-dev/purser/internal/consent"
)

// What every charge of a load names; with the organization, the project and the
// run these are five levels of budgets.
const (
	Provider = "metered"
	Category = "tokens"
)

// House is a server process with a person who may sign, made for a load.
type House struct {
	Program  string // the binary
	Dir      string // data folder
	Database string // as `purser up --database` takes it
	KeyFile  string // shared by the replicas of one database; empty: in Dir
	Listen   string // where it listens; empty: on any free port, and there again
	Said     *Said  // what its processes write to standard error

	URL     string // http://localhost:PORT
	Person  *client.Client
	Token   string // the person's
	Org     string
	Project string

	process *child.Process
	secret  []byte // the passphrase, which nobody reads
}

// Said keeps the end of what processes say; it may be read while it grows.
type Said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

const saidMost = 256 << 10

func (s *Said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.text.Len() > saidMost {
		s.text.Next(s.text.Len() - saidMost/2)
	}
	return s.text.Write(p)
}

func (s *Said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// Start starts the server, or starts it anew at the same address. It returns when
// the server has said that it is ready.
func (h *House) Start(ctx context.Context) (setup string, err error) {
	if h.Said == nil {
		h.Said = &Said{}
	}
	if h.Listen == "" {
		h.Listen = "127.0.0.1:0"
	}
	read, write, err := os.Pipe()
	if err != nil {
		return "", fmt.Errorf("starting the server: %w", err)
	}
	defer read.Close()
	cmd := exec.Command(h.Program, "up", "--json", "--until-eof", "--no-cloud", "--log-level", "warn",
		"--dir", h.Dir, "--listen", h.Listen, "--database", h.Database)
	cmd.Env = []string{"HOME=" + h.Dir, "PATH=" + os.Getenv("PATH")}
	if h.KeyFile != "" {
		cmd.Env = append(cmd.Env, "PURSER_KEY_FILE="+h.KeyFile)
	}
	for _, name := range []string{"GOMAXPROCS", "GODEBUG", "GOGC", "GOMEMLIMIT"} {
		if value, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	cmd.Dir, cmd.Stdout, cmd.Stderr = h.Dir, write, h.Said
	p, err := child.Start(cmd, true)
	_ = write.Close() // the child has its own
	if err != nil {
		return "", err
	}
	var said struct {
		Data struct {
			URL   string `json:"url"`
			Setup string `json:"setup_code"`
		} `json:"data"`
		Error struct{ Detail string }
	}
	if err := read.SetReadDeadline(time.Now().Add(5 * time.Minute)); err != nil {
		return "", errors.Join(err, p.Stop(0))
	}
	if err := json.NewDecoder(read).Decode(&said); err != nil {
		_ = p.Stop(0) // why it did not start is what it said
		return "", fmt.Errorf("the server did not become ready: %w: %s", err, h.Said)
	}
	if said.Data.URL == "" {
		return "", errors.Join(fmt.Errorf("the server does not serve: %s", said.Error.Detail), p.Stop(0))
	}
	h.process, h.URL = p, said.Data.URL
	h.Listen = h.Address()
	return said.Data.Setup, ctx.Err()
}

// Address is host:port of the server.
func (h *House) Address() string {
	return strings.Replace(strings.TrimPrefix(h.URL, "http://"), "localhost", "127.0.0.1", 1)
}

// Pid is that of the server.
func (h *House) Pid() int { return h.process.Pid() }

// Process is the server's.
func (h *House) Process() *child.Process { return h.process }

// Stop ends the server in order.
func (h *House) Stop() error {
	if h.process == nil {
		return nil
	}
	p := h.process
	h.process = nil
	return p.Stop(20 * time.Second)
}

// SetUp makes the organization, its owner, a project, and limits on all levels
// but the run's.
func (h *House) SetUp(ctx context.Context, code string, limit int64) error {
	// A passphrase of 130 random bits needs no slow derivation: the cheapest that
	// the server takes.
	h.secret = []byte(rand.Text())
	kdf := act.KDF{Name: "argon2id", Salt: []byte(rand.Text()[:16]), Time: 2, MemoryKiB: 19 << 10, Threads: 1}
	key, err := act.Derive(bytes.Clone(h.secret), kdf)
	if err != nil {
		return fmt.Errorf("making the owner's key: %w", err)
	}
	in := purser.SetUp{
		Code: code, Organization: "Measured", Name: "Owner", Email: "owner@bench.example",
		PublicKey: base64.RawURLEncoding.EncodeToString(key.PublicKey()),
		KDF:       &purser.KDF{Salt: base64.RawURLEncoding.EncodeToString(kdf.Salt), MemoryKiB: kdf.MemoryKiB, Time: kdf.Time, Parallelism: kdf.Threads},
	}
	anyone, err := client.New(client.Config{URL: h.URL})
	if err != nil {
		return err
	}
	signed, err := anyone.SetUp(ctx, in)
	if err != nil {
		return fmt.Errorf("making the organization: %w", err)
	}
	h.Token = signed.Token
	if h.Person, err = client.New(client.Config{URL: h.URL, Token: h.Token}); err != nil {
		return err
	}
	me, err := h.Person.Whoami(ctx, purser.None{})
	if err != nil {
		return fmt.Errorf("asking who that is: %w", err)
	}
	h.Org = me.Actor.Organization
	project, err := h.Person.CreateProject(ctx, purser.CreateProject{Name: "measured"})
	if err != nil {
		return fmt.Errorf("making the project: %w", err)
	}
	h.Project = project.ID
	if err := h.register(ctx); err != nil {
		return err
	}
	for _, level := range [][2]string{{"organization", h.Org}, {"project", h.Project}, {"provider", Provider}, {"category", Category}} {
		if err := h.Limit(ctx, level[0], level[1], limit); err != nil {
			return err
		}
	}
	return nil
}

// nobody is a provider that need not answer: it is only charged for.
const nobody = `{"name":"` + Provider + `","base_url":"http://127.0.0.1:9/","oauth_token_endpoint":"http://127.0.0.1:9/oauth/token"}`

func (h *House) register(ctx context.Context) (err error) {
	in := purser.AddProvider{Manifest: nobody, SigningSecret: rand.Text() + rand.Text()}
	if in.Act, err = h.consent().Sign(ctx, "add_provider", in); err != nil {
		return fmt.Errorf("signing the provider: %w", err)
	}
	if _, err := h.Person.AddProvider(ctx, in); err != nil {
		return fmt.Errorf("registering the provider: %w", err)
	}
	return nil
}

// Limit sets a monthly limit, in US cents.
func (h *House) Limit(ctx context.Context, scope, id string, limit int64) (err error) {
	in := purser.SetBudget{Scope: scope, ID: id, Limit: purser.Money{Amount: limit, Currency: "USD"}}
	if in.Act, err = h.consent().Sign(ctx, "set_budget", in); err != nil {
		return fmt.Errorf("signing the limit of %s: %w", scope, err)
	}
	if _, err := h.Person.SetBudget(ctx, in); err != nil {
		return fmt.Errorf("setting the limit of %s: %w", scope, err)
	}
	return nil
}

// NewRun makes a run with a budget in US cents, and its agent's token.
func (h *House) NewRun(ctx context.Context, budget int64) (Lane, error) {
	in := purser.CreateRun{Project: h.Project, Agent: "load", Budget: purser.Money{Amount: budget, Currency: "USD"}, Expires: "24h"}
	var err error
	if in.Act, err = h.consent().Sign(ctx, "create_run", in); err != nil {
		return Lane{}, fmt.Errorf("signing the run: %w", err)
	}
	run, err := h.Person.CreateRun(ctx, in)
	if err != nil {
		return Lane{}, fmt.Errorf("making the run: %w", err)
	}
	return Lane{Run: run.ID, Token: run.Token}, nil
}

// Resume lifts a stop, as the person.
func (h *House) Resume(ctx context.Context, stop string) (err error) {
	in := purser.Resume{Stop: stop}
	if in.Act, err = h.consent().Sign(ctx, "resume", in); err != nil {
		return fmt.Errorf("signing the resume: %w", err)
	}
	_, err = h.Person.Resume(ctx, in)
	return err
}

func (h *House) consent() consent.Consent {
	return consent.Consent{Server: h.Person, Passphrase: func(context.Context, act.Document) ([]byte, error) {
		return bytes.Clone(h.secret), nil // it is wiped after use
	}}
}

// Load runs an order in a process of its own and returns what it found.
func (h *House) Load(ctx context.Context, o Order) (found Load, err error) {
	o.Address = h.Address()
	text, err := json.Marshal(o)
	if err != nil {
		return found, fmt.Errorf("writing the order: %w", err)
	}
	cmd := exec.CommandContext(ctx, h.Program, "bench", "load")
	cmd.Env = []string{"HOME=" + h.Dir, "PATH=" + os.Getenv("PATH")}
	var out, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Dir = bytes.NewReader(text), &out, &said, filepath.Dir(h.Program)
	if err := cmd.Run(); err != nil {
		return found, fmt.Errorf("the load: %w: %s", err, said.String())
	}
	if err := json.NewDecoder(io.LimitReader(&out, answerLimit)).Decode(&found); err != nil {
		return found, fmt.Errorf("reading what the load found: %w", err)
	}
	return found, nil
}
