package office

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/spend"
)

func TestAPayeeIsWhatTheMessageSays(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._/-]{0,63}$`)
	names := []string{"", "models/large", strings.Repeat("a", 64), strings.Repeat("a", 65), "a\n", "aé", "é", "a\x00", "a\xff"}
	for c := range 256 {
		names = append(names, string([]byte{byte(c)}), string([]byte{'a', byte(c)}), string([]byte{byte(c), 'a'}))
	}
	for _, name := range names {
		if got := validPayee(name); got != form.MatchString(name) {
			t.Errorf("%q: %v", name, got)
		}
	}
}

// The hashes of idempotency keys are stored: another form would take each key that
// was sent before an update for one of another request.
func TestWhatAKeyStandsForIsHashedAsEver(t *testing.T) {
	t.Parallel()
	r := spend.Request{
		Op: spend.Charge, By: purser.Actor{Run: "run_1"}, Run: "run_2", Provider: "models/large", Category: "models", Kind: "usage", Final: true,
		Labels: []string{"team=a"}, Amount: purser.Money{Amount: 7, Currency: "USD"}, Lifetime: time.Hour,
	}
	if got := spendHash(&r); got != "sha256:dda5cab2f4ff513bdc4913c87d699ba000d4f3ffee4e8cbc1bc064f628e4ae23" {
		t.Errorf("got %s", got)
	}
}
