package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
)

// A secret that is pasted as soon as it is asked for is not shown.
func TestASecretIsNotShownHoweverFastItIsTyped(t *testing.T) {
	keyboard, screen, err := pty.Open()
	if err != nil {
		t.Skipf("there is no terminal to be had: %v", err)
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
