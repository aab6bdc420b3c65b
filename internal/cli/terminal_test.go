package cli

import (
	"bytes"
	"errors"
	"net/http/httptest"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"

	"github.com/purser-dev/purser"
)

// A secret that is pasted as soon as it is asked for is not shown.
func TestASecretIsNotShownHoweverFastItIsTyped(t *testing.T) {
	keyboard, screen, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer keyboard.Close()
	defer screen.Close()
	const secret = "correct horse"
	shown := make(chan string, 1000)
	go func() {
		for b := make([]byte, 1024); ; {
			n, err := keyboard.Read(b)
			if err != nil {
				return
			}
			if strings.Contains(string(b[:n]), "Passphrase:") {
				_, _ = keyboard.WriteString(secret + "\n")
			}
			shown <- string(b[:n])
		}
	}()
	var all strings.Builder
	see := func(text string) {
		for !strings.Contains(all.String(), text) {
			select {
			case s := <-shown:
				all.WriteString(s)
			case <-time.After(10 * time.Second):
				t.Fatalf("no %q in %q", text, all.String())
			}
		}
	}
	for range 200 {
		all.Reset()
		got, err := (&Terminal{in: screen, out: screen}).Secret(t.Context(), "Passphrase: ")
		if err != nil || string(got) != secret {
			t.Fatalf("%q, %v", got, err)
		}
		see("\n")
		if strings.Contains(all.String(), "horse") {
			t.Fatalf("the terminal shows %q", all.String())
		}
	}
}

// Who ends the input instead of answering has not answered; that is no fault of the program.
func TestAnEndOfInputIsNoAnswer(t *testing.T) {
	keyboard, screen, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer keyboard.Close()
	defer screen.Close()
	if _, err := keyboard.WriteString("\x04"); err != nil {
		t.Fatal(err)
	}
	text, err := (&Terminal{in: screen, out: screen}).Line(t.Context(), "The name: ")
	if text != "" || purser.CodeOf(err) != purser.NeedsPerson {
		t.Errorf("%q, %v", text, err)
	}
}

// Whatever ends the program while it asks for a secret, the terminal shows again what is
// typed into it afterwards.
func TestTheTerminalIsPutBackWhateverEndsAQuestion(t *testing.T) {
	t.Parallel()
	fake, err := newFake(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(fake)
	defer server.Close()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, end := range map[string]func(keyboard *os.File, asks *os.Process) error{
		"ctrl-C":  func(keyboard *os.File, _ *os.Process) error { _, err := keyboard.WriteString("\x03"); return err },
		"ctrl-\\": func(keyboard *os.File, _ *os.Process) error { _, err := keyboard.WriteString("\x1c"); return err },
		"SIGTERM": func(_ *os.File, asks *os.Process) error { return asks.Signal(syscall.SIGTERM) },
		"SIGHUP":  func(_ *os.File, asks *os.Process) error { return asks.Signal(syscall.SIGHUP) },
		"SIGABRT": func(_ *os.File, asks *os.Process) error { return asks.Signal(syscall.SIGABRT) },
	} {
		keyboard, screen, err := pty.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer keyboard.Close()
		before, err := term.GetState(int(keyboard.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		asks := exec.CommandContext(t.Context(), program, "resume", "stp_1")
		asks.Args[0] = "purser" // as TestMain knows it
		asks.Env = append(os.Environ(), "PURSER_URL="+server.URL, "PURSER_TOKEN=a-token")
		asks.Stdin, asks.Stdout, asks.Stderr = screen, &said, &said
		asks.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		if err := asks.Start(); err != nil {
			t.Fatal(err)
		}
		screen.Close()
		for shown := ""; !strings.Contains(shown, "Passphrase"); {
			b := make([]byte, 1024)
			n, err := keyboard.Read(b)
			if err != nil {
				t.Fatalf("%s: %v after %q and %q", name, err, shown, said.String())
			}
			shown += string(b[:n])
		}
		if now, err := term.GetState(int(keyboard.Fd())); err != nil || reflect.DeepEqual(now, before) {
			t.Errorf("%s: the terminal is not silent while it asks (%v)", name, err)
		}
		if err := end(keyboard, asks.Process); err != nil {
			t.Fatal(err)
		}
		err = asks.Wait()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 130 || !strings.HasSuffix(said.String(), "interrupted: interrupted\n") {
			t.Errorf("%s: %v, and said %.200q", name, err, said.String())
		}
		if now, err := term.GetState(int(keyboard.Fd())); err != nil || !reflect.DeepEqual(now, before) {
			t.Errorf("%s: the terminal stays another than it was (%v)", name, err)
		}
	}
}
