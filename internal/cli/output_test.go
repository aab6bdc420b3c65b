package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
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

func TestARepeatedRefusalIsToldAsOne(t *testing.T) {
	s := &session{World: World{Err: &bytes.Buffer{}}}
	for _, replay := range []bool{false, true} {
		no := purser.Errorf(purser.BudgetExceeded, "0.50 is left of 0.50")
		no.Replay = replay
		p := describe(t.Context(), no)
		if said := strings.Contains(s.explain(p), "the answer that this key got before; a new key asks again"); said != replay || p.Replay != replay {
			t.Errorf("a replay, %v: %s", replay, s.explain(p))
		}
	}
}

// A reader that has enough, of whatever the answer goes to, is no fault to speak of.
func TestAClosedPipeEndsWithoutAWord(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	_ = r.Close()
	for _, args := range [][]string{{"version"}, {"version", "--json"}, {"--help"}, {"nonsense", "--json"}} {
		var said bytes.Buffer
		want := 141
		if args[0] == "nonsense" {
			want = purser.ExitUsage // the refusal is what counts, and standard error has it
		}
		code := Run(t.Context(), args, World{Out: w, Err: &said})
		if code != want || want == 141 && said.Len() > 0 {
			t.Errorf("%v: exit %d, %s", args, code, &said)
		}
	}
	_, err = w.WriteString("x")
	var said bytes.Buffer
	s := &session{World: World{Out: io.Discard, Err: &said}}
	if code := s.fail(t.Context(), "audit export", brokenOff("pipe", err)); code != 141 || said.Len() > 0 {
		t.Errorf("a named pipe: exit %d, %s", code, &said)
	}
}

// A disk that is full is no fault of the program, whoever wrote to it.
func TestAFileThatTookNoMoreIsUnwritten(t *testing.T) {
	full := fmt.Errorf("writing the copy: %w", &fs.PathError{Op: "write", Path: "/mnt/copy", Err: syscall.ENOSPC})
	if p := describe(t.Context(), full); p.Code != "unwritten" || p.Detail != "/mnt/copy cannot be written: no space left on device" {
		t.Errorf("%s: %s", p.Code, p.Detail)
	}
	if p := describe(t.Context(), &fs.PathError{Op: "write", Path: "/mnt/copy", Err: syscall.EIO}); p.Code != "internal" {
		t.Errorf("a broken disk: %s", p.Code)
	}
}
