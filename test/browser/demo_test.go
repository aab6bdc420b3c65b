package browser

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// purserProgram is this test's own file under the name of the program, which
// TestMain then is: the demo starts itself again for each of its processes.
func purserProgram(t *testing.T) string {
	t.Helper()
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "purser")
	if os.Link(own, program) == nil {
		return program
	}
	text, err := os.ReadFile(own) // on another disk
	if err == nil {
		err = os.WriteFile(program, text, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// desktop is a folder with a program that opens pages, as a desktop has one: it
// writes down what it is told to open.
func desktop(t *testing.T) (dir, opened string) {
	t.Helper()
	dir = t.TempDir()
	opened = filepath.Join(dir, "opened")
	script := "#!/bin/sh\nprintf %s \"$1\" >'" + opened + ".part' && mv '" + opened + ".part' '" + opened + "'\n"
	for _, name := range []string{"xdg-open", "open"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir, opened
}

// On a terminal the demo opens the approval in the browser. Its owner makes a passkey
// there with the code that the terminal shows, signs the plan, and the agent goes on.
func TestTheDemoEndsInTheBrowser(t *testing.T) {
	t.Parallel()
	browser(t) // or skipped, before anything is started
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	temp := t.TempDir()
	bin, opened := desktop(t)
	demo := exec.CommandContext(ctx, purserProgram(t), "demo", "--approve", "ask")
	demo.Env = []string{"HOME=" + t.TempDir(), "TMPDIR=" + temp, "PATH=" + bin + ":" + os.Getenv("PATH"), "DISPLAY=:none"}
	demo.Cancel = func() error { return demo.Process.Signal(syscall.SIGINT) } // it ends its own processes
	demo.WaitDelay = time.Minute
	keyboard, err := demo.StdinPipe() // at which nobody types
	if err != nil {
		t.Fatal(err)
	}
	defer keyboard.Close()
	var out bytes.Buffer
	demo.Stdout = &out
	screen, terminal, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer screen.Close()
	demo.Stderr = terminal
	if err := demo.Start(); err != nil {
		t.Fatal(err)
	}
	_ = terminal.Close()
	ended, said := make(chan error, 1), newScreen(screen)
	go func() { ended <- demo.Wait() }()

	code := strings.TrimSpace(said.after(t, "enter the code\r\n"))
	page, err := os.ReadFile(opened)
	if err != nil || strings.Contains(string(page), code) || !strings.Contains(string(page), "/recover?email=") {
		t.Fatalf("the desktop opens %q, %v", page, err) // the code is in no command line
	}
	b := open(t, string(page[:bytes.Index(page, []byte("/recover?"))]))
	b.visit(string(page))
	b.sees("you make a new passkey")
	b.usable()
	b.fill("#recover form", "code", code)
	b.press("#recover form")
	b.sees("Keep these recovery codes")
	b.click("[data-after] a")
	b.sees("Approve this?")
	b.sees("superseal.club")
	b.press(approve)
	if err := <-ended; err != nil {
		t.Fatalf("the demo ended with %v: %s", err, said)
	}
	for _, part := range []string{"https://superseal.club/ is live", "verified by a separate process"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("at its end the demo does not say %q but: %s", part, out.String())
		}
	}
	if !strings.Contains(said.String(), "approved in the browser, with a passkey") {
		t.Errorf("the demo says %s", said)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
		t.Errorf("the demo leaves %v, %v", left, err)
	}
}

// display is all that a terminal showed.
type display struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// newScreen reads a terminal until it is closed.
func newScreen(from io.Reader) *display {
	d := &display{}
	go func() { _, _ = io.Copy(d, from) }()
	return d
}

func (d *display) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.Write(p)
}

func (d *display) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.String()
}

// after waits for the whole line behind a text.
func (d *display) after(t *testing.T, text string) string {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, rest, ok := strings.Cut(d.String(), text); ok {
			if line, _, whole := strings.Cut(rest, "\n"); whole {
				return line
			}
		}
	}
	t.Fatalf("the terminal does not show %q but: %s", text, d)
	return ""
}
