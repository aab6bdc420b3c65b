package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

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
