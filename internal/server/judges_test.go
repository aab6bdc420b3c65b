package server

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/testneed"
)

// judge runs a program of others, and answers for the browser that it wants opened.
type judge struct {
	*exec.Cmd
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *judge) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *judge) said() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func summon(t *testing.T, pkg, script string, args ...string) *judge {
	t.Helper()
	node, path := testneed.Judge(t, pkg, script)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	j := &judge{Cmd: exec.CommandContext(ctx, node, append([]string{path}, args...)...)}
	home := t.TempDir()
	j.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "BROWSER=none", "NO_COLOR=1", "DISPLAY=", "PATH="+filepath.Dir(node)+":/usr/bin:/bin")
	j.Dir = home
	j.Stderr = j
	return j
}

// freePort is one that nobody listens on now.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// agree waits for the address that a judge wants opened, lets the owner agree, and
// brings the answer back as the browser would.
func (d *desk) agree(j *judge) purser.Granted {
	d.t.Helper()
	address := regexp.MustCompile(regexp.QuoteMeta(d.s.URL()) + `/oauth/authorize\?[^\s"'<>\\]+`)
	found := ""
	for deadline := time.Now().Add(4 * time.Minute); found == ""; time.Sleep(20 * time.Millisecond) {
		if found = address.FindString(j.said()); time.Now().After(deadline) {
			d.t.Fatalf("the judge wants no browser:\n%s", j.said())
		}
	}
	id, resp := d.open(found)
	if !strings.HasPrefix(id, "aut_") {
		d.t.Fatalf("%s leads to %d %s", found, resp.StatusCode, resp.Header.Get("Location"))
	}
	granted := d.grant(id)
	back, err := http.Get(granted.Redirect)
	if err != nil {
		d.t.Fatal(err)
	}
	_ = back.Body.Close()
	return granted
}

const (
	inspector   = "@modelcontextprotocol/inspector"
	conformance = "@modelcontextprotocol/conformance"
	launcher    = "clients/launcher/build/index.js"
)

func TestTheInspectorCallsToolsWithATokenOfOurs(t *testing.T) {
	inTurn(t)
	d := openDesk(t, nil)
	_, token, granted := d.connected(d.s.URL() + "/mcp")
	j := summon(t, inspector, launcher, "--cli", d.s.URL()+"/mcp", "--transport", "http", "--method", "tools/call", "--tool-name", "whoami",
		"--header", "Authorization: Bearer "+token.AccessToken, "--stored-auth-only", "--format", "json")
	out, err := j.Output()
	if err != nil || !strings.Contains(string(out), granted.Run.ID) {
		t.Fatalf("%v\n%s\n%s", err, out, j.said())
	}
	j = summon(t, inspector, launcher, "--cli", d.s.URL()+"/mcp", "--transport", "http", "--method", "tools/list", "--stored-auth-only", "--format", "json")
	if out, err := j.Output(); err == nil {
		t.Errorf("without a token: %s", out)
	}
}

func TestTheInspectorConnectsByItself(t *testing.T) {
	inTurn(t)
	d := openDesk(t, nil)
	j := summon(t, inspector, launcher, "--cli", d.s.URL()+"/mcp", "--transport", "http", "--method", "tools/call", "--tool-name", "whoami", "--format", "json",
		"--callback-url", "http://127.0.0.1:"+freePort(t)+"/oauth/callback")
	var out bytes.Buffer
	j.Stdout = &out
	// It shows the address to a person only, so its standard error is a terminal.
	master, terminal, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = master.Close() }()
	j.Stderr = terminal
	go func() { _, _ = io.Copy(j, master) }() // ends with the terminal
	if err := j.Start(); err != nil {
		t.Fatal(err)
	}
	_ = terminal.Close()
	granted := d.agree(j)
	if err := j.Wait(); err != nil || !strings.Contains(out.String(), granted.Run.ID) {
		t.Fatalf("%v\n%s\n%s", err, out.String(), j.said())
	}
}

func TestTheConformanceSuitePassesItsScenariosOfAuthorization(t *testing.T) {
	inTurn(t)
	d := openDesk(t, nil)
	port, results := freePort(t), t.TempDir()
	id := d.register("http://127.0.0.1/callback")
	j := summon(t, conformance, "dist/index.js", "authorization", "--url", d.s.URL(), "--client-id", id, "--resource", d.s.URL()+"/mcp", "--port", port, "--output-dir", results)
	j.Stdout = j
	if err := j.Start(); err != nil {
		t.Fatal(err)
	}
	d.agree(j)
	if err := j.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, j.said())
	}
	passed := map[string]string{}
	files, err := filepath.Glob(filepath.Join(results, "*", "checks.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var checks []struct{ ID, Status, ErrorMessage string }
		if err := json.Unmarshal(text, &checks); err != nil {
			t.Fatal(err)
		}
		for _, c := range checks {
			if passed[c.ID] = c.Status; c.Status != "SUCCESS" {
				t.Errorf("%s: %s %s", c.ID, c.Status, c.ErrorMessage)
			}
		}
	}
	for _, want := range []string{"authorization-server-metadata", "authorization-server-metadata-cimd", "authorization-code-grant"} {
		if passed[want] == "" {
			t.Errorf("%s was not tried: %v\n%s", want, passed, j.said())
		}
	}
}
