package test

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/bench"
)

// T6, RULES 26: two server processes on one PostgreSQL. One is paused, misses a
// stop, and goes on as if nothing had been.
func TestTwoReplicasNeverOverspendAndAPausedOneCannotPassAStop(t *testing.T) {
	whole(t)
	pg := postgres(t)
	l := openLedger(t, pg)
	other := &bench.House{Program: program, Dir: t.TempDir(), Database: l.Database, KeyFile: filepath.Join(l.Dir, "key"), Said: l.Said}
	if _, err := other.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Stop() })
	for range rounds(1, 20) {
		var told []spent
		for try := 1; ; try++ {
			more, shared := l.race(t, other)
			if told = append(told, more...); shared {
				break
			}
			if try == 10 {
				t.Error("void: in none of ten races did each replica take a fifth")
				break
			}
		}
		told = append(told, l.missesAStop(t, other)...)
		l.proves(t, append(told, l.before...))
		l.before = append(l.before, told...)
	}
}

// race lets both replicas spend one small budget to its end, the second one paused
// in between. It is void unless each had a fair share of it, which is the machine's
// scheduler's to say: then there is another race.
func (l *ledger) race(t *testing.T, other *bench.House) (told []spent, shared bool) {
	t.Helper()
	const budget = 20_000
	lane := l.newRun(t, budget)
	here, there := gather(t, l.Address(), lane, 16), gather(t, other.Address(), lane, 16)
	eventually(t, "both spend", func() bool { return here.accepted.Load() > 100 && there.accepted.Load() > 100 })
	pause(t, other)
	more := here.accepted.Load() + 100
	eventually(t, "the first goes on alone", func() bool { return here.accepted.Load() > more || here.refused.Load() > 0 })
	goOn(t, other)
	eventually(t, "the budget is spent", func() bool { return here.refused.Load() > 100 && there.refused.Load() > 100 })
	told = append(here.callOff(), there.callOff()...)
	var sum int64
	for _, s := range told {
		if s.accepted {
			sum += s.amount
		} else if s.code != string(purser.BudgetExceeded) {
			t.Errorf("a charge was refused with %q", s.code)
		}
	}
	// The smallest charge is 1, and is asked for by everybody: nothing may be left.
	if sum != budget {
		t.Errorf("%d cents of %d were spent", sum, budget)
	}
	a, b := here.accepted.Load(), there.accepted.Load()
	t.Logf("the replicas accepted %d and %d", a, b)
	return told, min(a, b)*5 >= a+b
}

// missesAStop stops a run at the first replica while the second is paused.
func (l *ledger) missesAStop(t *testing.T, other *bench.House) []spent {
	t.Helper()
	lane := l.newRun(t, unlimited)
	here, there := gather(t, l.Address(), lane, 16), gather(t, other.Address(), lane, 16)
	enough := func() bool {
		a, b := here.accepted.Load(), there.accepted.Load()
		return a+b >= bench.CycleCalls && min(a, b)*5 >= a+b
	}
	eventually(t, "each replica takes a fifth of the load", enough)
	pause(t, other)
	stop, err := l.Person.Stop(t.Context(), purser.Stop{Scope: "run", ID: lane.Run, Reason: "while one sleeps"})
	if err != nil {
		goOn(t, other)
		t.Fatalf("stopping: %v", err)
	}
	acknowledged := time.Now()
	goOn(t, other)
	late := func() bool {
		return here.refused.Load() >= bench.CycleCalls/2 && there.refused.Load() >= bench.CycleCalls/2
	}
	eventually(t, "both are asked on", late)
	told := append(here.callOff(), there.callOff()...)
	for _, s := range told {
		switch {
		case s.accepted && s.seq >= stop.Seq:
			t.Errorf("record %d was accepted after the stop's %d", s.seq, stop.Seq)
		case s.accepted && s.sent.After(acknowledged):
			t.Errorf("a charge sent %s after the acknowledgement was accepted", s.sent.Sub(acknowledged))
		case !s.accepted && s.code != string(purser.Stopped):
			t.Errorf("a charge was refused with %q", s.code)
		}
	}
	return told
}

// pause stops a process as a scheduler may: it does not learn of it.
func pause(t *testing.T, h *bench.House) { signal(t, h, syscall.SIGSTOP) }

func goOn(t *testing.T, h *bench.House) { signal(t, h, syscall.SIGCONT) }

func signal(t *testing.T, h *bench.House, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(h.Pid(), s); err != nil {
		t.Fatal(err)
	}
}
