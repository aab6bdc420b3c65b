package cli

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"testing"

	"github.com/purser-dev/purser"
)

// Ctrl-C reaches what a command had started too, and each of them ends in its own words.
func TestAnInterruptionIsToldAsOneWhateverItEnded(t *testing.T) {
	killed := exec.Command("/bin/sh", "-c", "kill -9 $$").Run()
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"a call to the server", purser.Errorf(purser.Unavailable, "no answer").WithCause(context.Canceled), "interrupted"},
		{"a child", fmt.Errorf("running pgbench: %w", killed), "interrupted"},
		{"a child, in a coded error", purser.Errorf(purser.InvalidRequest, "it failed").WithCause(killed), "interrupted"},
		{"a measurement", notMeasured(ended(t), errors.New("a word of a child")), "interrupted"},
		{"nothing: the answer was there before", purser.Errorf(purser.BudgetExceeded, "too much"), "budget_exceeded"},
		{"nothing: the end went wrong by itself", errors.New("closing the database"), "internal"},
	} {
		if got := describe(ended(t), c.err); got.Code != c.want || got.Code == "interrupted" && got.Exit != 130 {
			t.Errorf("%s: %s, exit %d", c.name, got.Code, got.Exit)
		}
	}
	if got := describe(t.Context(), killed); got.Code != string(purser.Internal) {
		t.Errorf("a child that ended by itself: %s", got.Code)
	}
}

func ended(t *testing.T) context.Context {
	ctx, end := context.WithCancel(t.Context())
	end()
	return ctx
}
