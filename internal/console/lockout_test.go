package console

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/purser-dev/purser"
)

// entry is how a browser signs in: with a passphrase here, since there is no browser.
func (h *house) entry(email, nonce string) (status int, header http.Header, body string) {
	h.tb.Helper()
	in := purser.SignIn{Email: email, Act: &purser.Signature{Nonce: nonce, Method: "passphrase", Signature: "c29tZXRoaW5n"}}
	if nonce == "" { // the right one
		challenge, err := h.ops["ask_sign_in"].Do(context.Background(), purser.Actor{Source: "elsewhere"}, purser.AskSignIn{Email: email})
		if err != nil {
			h.tb.Fatal(err)
		}
		if in.Act, err = h.signer().SignIn(context.Background(), challenge.(purser.Challenge)); err != nil {
			h.tb.Fatal(err)
		}
	}
	return h.exchange(h.script("/session/sign_in", "", in))
}

// later moves the clock of the house.
func (h *house) later(d time.Duration) {
	at := h.now().Add(d)
	h.stands.Store(&at)
}

// after reads the header that says when to come back.
func after429(t *testing.T, status int, header http.Header, body string) time.Duration {
	t.Helper()
	seconds, err := strconv.Atoi(header.Get("Retry-After"))
	if status != http.StatusTooManyRequests || err != nil || seconds < 1 {
		t.Fatalf("%d, Retry-After %q: %s", status, header.Get("Retry-After"), body)
	}
	return time.Duration(seconds) * time.Second
}

// Guessing from one address ends within ten tries, says for how long, and the right
// answer counts again at exactly the time that was told.
func TestFailedSignInsLockAnAddressOfTheNetworkOutForAMinute(t *testing.T) {
	h := open(t)
	start := time.Now().Truncate(time.Minute).Add(20 * time.Second)
	h.stands.Store(&start)
	if status, header, body := h.entry("ada@example.org", ""); status != http.StatusOK || header.Get("Set-Cookie") == "" {
		t.Fatalf("the right answer: %d %s", status, body)
	}
	for i := range 10 {
		status, header, body := h.entry(fmt.Sprintf("guess%d@example.org", i), "guess") // of other people, so that no person is locked
		if status != http.StatusForbidden && status != http.StatusUnauthorized || header.Get("Set-Cookie") != "" {
			t.Fatalf("guess %d: %d %s", i, status, body)
		}
	}
	status, header, body := h.entry("guess@example.org", "guess")
	wait := after429(t, status, header, body)
	if wait != 40*time.Second || !strings.Contains(body, "too many failed tries from here") || !strings.Contains(body, "wait 4") || !strings.Contains(body, `"code":"too_many_tries"`) {
		t.Errorf("it says to wait %v: %s", wait, body)
	}
	h.later(wait - time.Second)
	if status, header, body := h.entry("ada@example.org", ""); status != http.StatusTooManyRequests || header.Get("Set-Cookie") != "" {
		t.Errorf("the right answer, a second too early: %d %s", status, body)
	}
	h.later(time.Second)
	if status, header, body := h.entry("ada@example.org", ""); status != http.StatusOK || header.Get("Set-Cookie") == "" {
		t.Errorf("the right answer, when the time is over: %d %s", status, body)
	}
}

// Guessing slowly at one person's passphrase locks that way in, for a quarter of an
// hour, from wherever it comes.
func TestFailedSignInsLockAPersonsPassphraseOut(t *testing.T) {
	h := open(t)
	start := time.Now().Truncate(time.Minute).Add(5 * time.Second)
	h.stands.Store(&start)
	for i := range 10 {
		if status, _, body := h.entry("ada@example.org", "guess"); status == http.StatusTooManyRequests || status == http.StatusOK {
			t.Fatalf("guess %d: %d %s", i, status, body)
		}
		h.later(30 * time.Second) // two a minute: the address of the network is not locked
	}
	status, header, body := h.entry("ada@example.org", "")
	wait := after429(t, status, header, body)
	end := h.now().Add(wait).UTC().Format("15:04 MST")
	if wait < 14*time.Minute || wait > 15*time.Minute || !strings.Contains(body, "locked until "+end) || !strings.Contains(body, "passkey") {
		t.Errorf("it says to wait %v, until %s: %s", wait, end, body)
	}
	h.later(wait)
	if status, header, body := h.entry("ada@example.org", ""); status != http.StatusOK || header.Get("Set-Cookie") == "" {
		t.Errorf("when the time is over: %d %s", status, body)
	}
}

// A page that is refused for the same reason tells it as a page does.
func TestALockedPageSaysWhenToComeBack(t *testing.T) {
	h := open(t)
	start := time.Now().Truncate(time.Minute).Add(20 * time.Second)
	h.stands.Store(&start)
	for range 10 {
		if status, _, body := h.get("/invitation?code=guess"); status == http.StatusTooManyRequests || status == http.StatusOK {
			t.Fatalf("a guess: %d %s", status, body)
		}
	}
	status, header, body := h.get("/invitation?code=guess")
	if wait := after429(t, status, header, body); wait != 40*time.Second || !strings.Contains(body, "<h1><bdi>Too many tries") || !strings.Contains(body, "Try again in 40 seconds.") {
		t.Errorf("to wait %v: %s", wait, body)
	}
	h.later(40 * time.Second)
	if status, _, _ := h.get("/invitation?code=guess"); status == http.StatusTooManyRequests {
		t.Error("it is locked for longer than it said")
	}
}

// Whoever floods without a credential is refused before anything is asked.
func TestAFloodWithoutACredentialIsRefusedUntilItEbbs(t *testing.T) {
	h := open(t)
	start := time.Now()
	h.stands.Store(&start)
	refused := 0
	for range 80 {
		if status, header, body := h.exchange(h.script("/do/ask_sign_in", "", purser.AskSignIn{})); status != http.StatusOK {
			after429(t, status, header, body)
			refused++
		}
	}
	if refused < 10 || refused > 30 {
		t.Errorf("of 80 at once %d were refused", refused)
	}
	h.later(5 * time.Second)
	if status, _, body := h.exchange(h.script("/do/ask_sign_in", "", purser.AskSignIn{})); status != http.StatusOK {
		t.Errorf("five seconds later: %d %s", status, body)
	}
}
