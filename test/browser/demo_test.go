package browser

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
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

// The demo asks in the browser: its owner makes a passkey behind the link that it
// prints, signs the plan, and the agent goes on to the end.
func TestTheDemoEndsInTheBrowser(t *testing.T) {
	t.Parallel()
	browser(t) // or skipped, before anything is started
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	home, temp := t.TempDir(), t.TempDir()
	demo := exec.CommandContext(ctx, purserProgram(t), "demo", "--approve", "ask")
	demo.Env = []string{"HOME=" + home, "TMPDIR=" + temp, "PATH=" + os.Getenv("PATH")}
	demo.Cancel = func() error { return demo.Process.Signal(syscall.SIGINT) } // it ends its own processes
	demo.WaitDelay = 10 * time.Second
	keyboard, err := demo.StdinPipe() // at which nobody types
	if err != nil {
		t.Fatal(err)
	}
	defer keyboard.Close()
	var out bytes.Buffer
	demo.Stdout = &out
	said, write := io.Pipe()
	var all bytes.Buffer
	demo.Stderr = io.MultiWriter(write, &all)
	if err := demo.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- demo.Wait()
		_ = write.Close()
	}()

	link := linkIn(t, said, "/recover?")
	b := open(t, link[:strings.Index(link, "/recover?")])
	b.visit(link)
	b.sees("you make a new passkey")
	b.fill("#recover form", "passkey_name", "the one of the demo")
	b.press("#recover form")
	b.sees("Keep these recovery codes")
	b.click("[data-after] a")
	b.sees("Approve this?")
	b.sees("superseal.club")
	b.usable()
	b.press(approve)
	if err := <-ended; err != nil {
		t.Fatalf("the demo ended with %v: %s", err, all.String())
	}
	for _, part := range []string{"https://superseal.club/ is live", "verified by a separate process"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("at its end the demo does not say %q but: %s", part, out.String())
		}
	}
	if !strings.Contains(all.String(), "approved in the browser, with a passkey") {
		t.Errorf("the demo says %s", all.String())
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
		t.Errorf("the demo leaves %v, %v", left, err)
	}
}
