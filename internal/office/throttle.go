package office

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/notice"
	"github.com/purser-dev/purser/internal/store"
)

// failure counts what went wrong from one source within one minute.
type failure struct {
	source string
	minute time.Time
	counts map[string]int
	total  int            // failed tries: what throttle looks at
	asks   map[string]int // what was asked for without a credential, refused or not
}

// failures are the counts of the minutes that are not recorded yet.
type failures struct {
	now  map[string]*failure // by source, of its last minute
	done []*failure          // of earlier minutes
}

const (
	// most failed tries from one source in a minute are answered; the next wait.
	most = 10
	// mostSources is how many sources are counted apart; a flood from more of them
	// becomes one record a minute, and one entry of memory.
	mostSources = 1000
	others      = "others"
)

// throttle refuses a source that failed too often in this minute.
func (o *Office) throttle(source string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	f, minute := o.failures.now[o.failures.counted(source)], o.Now().Truncate(time.Minute)
	if f == nil || !f.minute.Equal(minute) || f.total < most {
		return nil
	}
	f.counts["rate_limited"]++
	err := purser.Errorf(purser.TooManyTries, "too many failed tries from here")
	err.RetryAfter = minute.Add(time.Minute).Sub(o.Now())
	return err.WithHint("wait %d seconds", int(err.RetryAfter.Seconds())+1)
}

// countFailure counts an unauthenticated refusal. One record a source and minute
// goes into the installation's log, so that a flood cannot fill it (RULES 22).
func (o *Office) countFailure(source, what string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f := o.failureOf(source)
	f.counts[what]++
	f.total++
}

// paced refuses a source that asked for the same thing more than most times in
// this minute, and puts that on the record.
func (o *Office) paced(source, what string, most int) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	f := o.failureOf(source)
	if f.asks[what]++; f.asks[what] <= most {
		return nil
	}
	f.counts[what+"_flood"]++
	err := purser.Errorf(purser.TooManyTries, "this address asked for too much in a minute")
	err.RetryAfter = f.minute.Add(time.Minute).Sub(o.Now())
	return err
}

// CountRefusal counts a request that the gate refused before anything was asked:
// one without a credential, or one too many. It is on the record and no failed try.
func (o *Office) CountRefusal(source, what string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failureOf(source).counts[what]++
}

// counted is the name that a source is counted under.
func (f *failures) counted(source string) string {
	if f.now[source] == nil && len(f.now) >= mostSources {
		return others
	}
	return source
}

// failureOf is the count of a source in this minute.
func (o *Office) failureOf(source string) *failure {
	all, minute := &o.failures, o.Now().Truncate(time.Minute)
	if all.now == nil {
		all.now = map[string]*failure{}
	}
	source = all.counted(source)
	f := all.now[source]
	if f != nil && f.minute.Equal(minute) {
		return f
	}
	if f != nil {
		all.done = append(all.done, f)
	}
	f = &failure{source: source, minute: minute, counts: map[string]int{}, asks: map[string]int{}}
	all.now[source] = f
	return f
}

// takeFailures takes the counts of the minutes that are over.
func (o *Office) takeFailures() []*failure {
	o.mu.Lock()
	defer o.mu.Unlock()
	minute := o.Now().Truncate(time.Minute)
	for source, f := range o.failures.now {
		if f.minute.Before(minute) {
			o.failures.done = append(o.failures.done, f)
			delete(o.failures.now, source)
		}
	}
	done := slices.DeleteFunc(o.failures.done, func(f *failure) bool { return len(f.counts) == 0 })
	o.failures.done = nil
	return done
}

// recordFailures writes the finished minutes. A server that is killed loses what it
// counted in its last one.
func (o *Office) recordFailures(ctx context.Context) error {
	done := o.takeFailures()
	if len(done) == 0 {
		return nil
	}
	err := o.turn(ctx, store.Installation, func(t *store.Turn) error {
		for _, f := range done {
			r := recordOf(system, "refused_unauthenticated", f.source)
			r.Outcome = audit.Refused
			r.Detail = map[string]string{"minute": f.minute.Format(time.RFC3339)}
			for what, n := range f.counts {
				r.Detail[what] = fmt.Sprint(n)
			}
			t.Record(r)
			if f.total >= most && f.source != others {
				if err := o.tell(ctx, t, notice.Lockout(f.source, f.total, f.minute)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil { // they wait for the next time
		o.mu.Lock()
		defer o.mu.Unlock()
		o.failures.done = append(o.failures.done, done...)
	}
	return err
}

// A lock of one address: so many wrong passphrases or recovery codes in a row, from
// wherever, and nobody is answered for it for a while. Passkeys cannot be guessed
// and are not locked, so that a stranger can lock nobody out.
const (
	lockAfter = 10
	lockFor   = 15 * time.Minute
	lockKept  = 10_000
)

// guesses counts wrong tries for one address.
type guesses struct {
	n    int
	last time.Time
}

// locked refuses an address that was guessed at too often, known here or not.
func (o *Office) locked(email string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	g := o.guesses[email]
	until := g.last.Add(lockFor)
	if g.n < lockAfter || !o.Now().Before(until) {
		return nil
	}
	err := purser.Errorf(purser.TooManyTries, "too many wrong tries for this address; it is locked until %s", until.UTC().Format("15:04 MST"))
	err.RetryAfter = until.Sub(o.Now())
	return err.WithHint("sign in with a passkey, or wait")
}

func (o *Office) wrongFor(email string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	g := o.guesses[email]
	if o.Now().Sub(g.last) >= lockFor {
		g.n = 0
	}
	if len(o.guesses) >= lockKept {
		for other, old := range o.guesses {
			if o.Now().Sub(old.last) >= lockFor || len(o.guesses) >= lockKept {
				delete(o.guesses, other)
			}
		}
	}
	o.guesses[email] = guesses{g.n + 1, o.Now()}
	if g.n+1 == lockAfter {
		o.locks = append(o.locks, email)
	}
}

// tellLocks tells people that somebody guesses at their passphrase.
func (o *Office) tellLocks(ctx context.Context) error {
	o.mu.Lock()
	locks := o.locks
	o.locks = nil
	o.mu.Unlock()
	var failed error
	for _, email := range locks {
		p, err := o.Store.Read().PersonByEmail(ctx, email)
		if missing(err) {
			continue // nobody has this address
		}
		if err == nil {
			err = o.turn(ctx, p.Organization, func(t *store.Turn) error {
				r := recordOf(system, "lock_sign_in", p.ID)
				r.Outcome = audit.Refused
				t.Record(r)
				return o.tell(ctx, t, notice.Locked(p.ID, p.Email, t.Now.Add(lockFor), t.Now))
			})
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

func (o *Office) right(email string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.guesses, email)
}
