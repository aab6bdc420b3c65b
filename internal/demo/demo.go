// Package demo plays the first voyage: a person allows a budget, an agent takes a folder live on a domain that it buys, and everything is checked from outside.
//
// Server, local cloud and agent are processes of their own (RULES 24). The
// person is played here: the passphrase is made for the occasion and lives in
// this process's memory only.
package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/client"
	"github.com/purser-dev/purser/internal/child"
	"github.com/purser-dev/purser/internal/folder"
)

// Options say what to play.
type Options struct {
	Program string       // path of purser itself; each process is one
	Site    string       // folder to take live; empty: a small one is made
	Domain  string       // exact name to buy
	Budget  purser.Money // of the run
	Auto    bool         // the demo's person says yes to everything
	Path    string       // PATH of the server, which asks git nothing but may be asked for programs
	Now     func() time.Time
	Random  io.Reader
	Say     func(format string, args ...any)                                // progress, one line each
	Decide  func(ctx context.Context, p purser.Plan, at Page) (bool, error) // shows the plan and asks the person; ends early when the page was used
}

// Page is where the person can decide in a browser instead, with a passkey. The
// code makes the first passkey of the demo's owner, once; it is a secret, so it is
// shown and never part of a command line, which every process can read.
type Page struct {
	URL  string // without the code
	Link string // with it; empty when there is no page
	Code string
}

// Result is what --json prints; amounts are minor units with their currency.
type Result struct {
	OK        bool              `json:"ok"`
	URL       string            `json:"url"`
	Domain    string            `json:"domain"`
	Site      Site              `json:"site"`
	Budget    Budget            `json:"budget"`
	Orders    []Order           `json:"orders"`
	Audit     Audit             `json:"audit"`
	Checks    Checks            `json:"checks"`
	MachineMS int64             `json:"machine_ms"` // without the person's time
	Left      purser.Money      `json:"left"`
	Steps     []purser.PlanStep `json:"-"`
}

// Site counts what was deployed.
type Site struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

// Budget is the run's, at the end.
type Budget struct {
	Limit    purser.Money `json:"limit"`
	Captured purser.Money `json:"captured"`
	Held     purser.Money `json:"held"`
}

// Order is one purchase.
type Order struct {
	ID       string            `json:"id"`
	Step     int               `json:"step"`
	State    purser.OrderState `json:"state"`
	Resource string            `json:"resource"`
}

// Audit is the verdict of the separate process.
type Audit struct {
	Records  int64 `json:"records"`
	Verified bool  `json:"verified"`
}

// Checks are what was seen from outside.
type Checks struct {
	DNS  bool `json:"dns"`
	TLS  bool `json:"tls"`
	Body bool `json:"body"`
}

// Ready is what `purser up --json` says when it is ready.
type Ready struct {
	URL   string `json:"url"`
	MCP   string `json:"mcp"`
	Pid   int    `json:"pid"`
	Setup string `json:"setup_code"`
	Cloud struct {
		HTTPS   string `json:"edge_https"`
		DNS     string `json:"dns"`
		RootPEM string `json:"root_pem"`
		Pid     int    `json:"pid"`
	} `json:"cloud"`
}

// Voyage is a demo whose processes run. Close ends them and removes its folder.
type Voyage struct {
	Options
	Result Result
	Ready  Ready
	Dir    string // temporary; holds everything

	site   folder.Folder
	env    string
	server *child.Process
	person *client.Client
	token  string // the person's; loosens nothing
	secret []byte // the person's passphrase
	run    purser.Run
	plan   purser.Plan
	began  time.Time
	asked  time.Duration // the person's time
}

// grace is how long the server may drain before it is killed. It is short: its
// data is thrown away with the folder.
const grace = 3 * time.Second

// Sail plays the voyage. On success the caller looks around and then calls
// Close; on failure everything is gone already.
func Sail(ctx context.Context, o Options) (*Voyage, error) {
	v := &Voyage{Options: o, began: o.Now()}
	for _, leg := range []func(context.Context) error{v.load, v.launch, v.embark, v.buy, v.lookFromOutside, v.prove, v.settle} {
		if err := leg(ctx); err != nil {
			if ctx.Err() != nil { // what failed, failed because we are being ended
				err = ctx.Err()
			}
			return nil, errors.Join(err, v.Close())
		}
	}
	return v, nil
}

// Close ends the processes and removes the folder. It may be called twice.
func (v *Voyage) Close() error {
	clear(v.secret)
	if v.server != nil {
		_ = v.server.Stop(grace) // how it ended matters to nobody now
	}
	if v.Dir == "" {
		return nil
	}
	if err := os.RemoveAll(v.Dir); err != nil {
		return fmt.Errorf("removing the demo's folder: %w", err)
	}
	return nil
}

// Wait returns when the server ends by itself, or the context does.
func (v *Voyage) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-v.server.Done():
		return purser.Errorf(purser.Unavailable, "the server ended by itself: %v", v.server.Err())
	}
}

// load makes the temporary folder and reads the site, before any process runs:
// a folder that cannot be deployed is told at once.
func (v *Voyage) load(ctx context.Context) (err error) {
	if v.Dir, err = os.MkdirTemp("", "purser-demo-"); err != nil {
		return fmt.Errorf("making the demo's folder: %w", err)
	}
	if v.Site == "" {
		v.Site = filepath.Join(v.Dir, "site")
		if err := writeSite(v.Site, v.Domain); err != nil {
			return err
		}
	}
	if v.site, err = folder.Walk(ctx, v.Site); err != nil {
		return err
	}
	v.Result.Domain = v.Domain
	v.Result.Site = Site{len(v.site.Files), v.site.Bytes}
	if v.env = "production"; v.site.Dirty {
		v.env = "development" // production takes committed work only
		v.Say("the folder has changes that are not committed, so this deploys to the environment development")
	}
	return nil
}

// launch starts server and local cloud, on free ports, in the temporary folder.
func (v *Voyage) launch(ctx context.Context) error {
	log, err := os.OpenFile(v.serverLog(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("starting the server: %w", err)
	}
	defer log.Close()
	read, write, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("starting the server: %w", err)
	}
	defer read.Close()
	const free = "127.0.0.1:0"
	cmd := exec.Command(v.Program, "up", "--json", "--until-eof", "--dir", filepath.Join(v.Dir, "server"), "--listen", free,
		"--cloud-api", free, "--cloud-https", free, "--cloud-http", free, "--cloud-dns", free, "--cloud-smtp", free)
	cmd.Env = []string{"HOME=" + v.Dir, "PATH=" + v.Path}
	cmd.Dir, cmd.Stdout, cmd.Stderr = v.Dir, write, log
	v.server, err = child.Start(cmd, true)
	_ = write.Close() // the child has its own
	if err != nil {
		return err
	}
	if err := v.ready(ctx, read); err != nil {
		return err
	}
	v.Say("server (pid %d) and local cloud (pid %d) are up at %s", v.Ready.Pid, v.Ready.Cloud.Pid, v.Ready.URL)
	return nil
}

func (v *Voyage) serverLog() string { return filepath.Join(v.Dir, "server.log") }

// ready reads the ready object of the server.
func (v *Voyage) ready(ctx context.Context, out *os.File) error {
	answer := make(chan error, 1)
	var said struct {
		OK    bool          `json:"ok"`
		Data  Ready         `json:"data"`
		Error *purser.Error `json:"error"`
	}
	go func() { answer <- json.NewDecoder(out).Decode(&said) }()
	select {
	case <-ctx.Done():
		_ = out.Close() // ends the reader
		<-answer
		return ctx.Err()
	case err := <-answer:
		switch {
		case err == nil && said.OK:
			v.Ready = said.Data
			return nil
		case err == nil && said.Error != nil:
			return fmt.Errorf("starting the server: %w", said.Error)
		}
		return purser.Errorf(purser.Unavailable, "the server did not start; its log ends with:\n%s", tail(v.serverLog()))
	}
}

// tail is the end of a log, for a person.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "(no log)"
	}
	if len(text) > 2000 {
		text = text[len(text)-2000:]
	}
	return string(text)
}
