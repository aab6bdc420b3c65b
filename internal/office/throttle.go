package office

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/notice"
	"github.com/purser-dev/purser/internal/store"
)

// failure counts what went wrong from one source within one minute.
type failure struct {
	minute time.Time
	counts map[string]int
	total  int
}

// most failed tries from one source in a minute are answered; the next wait.
const most = 10

// throttle refuses a source that failed too often in this minute.
func (o *Office) throttle(source string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	f, minute := o.failures[source], o.Now().Truncate(time.Minute)
	if f == nil || !f.minute.Equal(minute) || f.total < most {
		return nil
	}
	err := purser.Errorf(purser.TooManyTries, "too many failed tries from here")
	err.RetryAfter = minute.Add(time.Minute).Sub(o.Now())
	return err.WithHint("wait %d seconds", int(err.RetryAfter.Seconds())+1)
}

// countFailure counts an unauthenticated refusal. One record a source and minute
// goes into the installation's log, so that a flood cannot fill it (RULES 22).
func (o *Office) countFailure(source, what string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	minute := o.Now().Truncate(time.Minute)
	f := o.failures[source]
	if f == nil || !f.minute.Equal(minute) {
		if f != nil {
			o.failures[fmt.Sprintf("%s@%d", source, f.minute.Unix())] = f // to be recorded
		}
		f = &failure{minute: minute, counts: map[string]int{}}
		o.failures[source] = f
	}
	f.counts[what]++
	f.total++
}

// recordFailures writes the finished minutes.
func (o *Office) recordFailures(ctx context.Context) error {
	o.mu.Lock()
	done := map[string]*failure{}
	for source, f := range o.failures {
		if f.minute.Before(o.Now().Truncate(time.Minute)) {
			done[source] = f
			delete(o.failures, source)
		}
	}
	o.mu.Unlock()
	if len(done) == 0 {
		return nil
	}
	err := o.turn(ctx, store.Installation, func(t *store.Turn) error {
		for source, f := range done {
			r := recordOf(system, "refused_unauthenticated", source)
			r.Outcome = audit.Refused
			r.Detail = map[string]string{"minute": f.minute.Format(time.RFC3339)}
			for what, n := range f.counts {
				r.Detail[what] = fmt.Sprint(n)
			}
			t.Record(r)
			if f.total >= most {
				if err := o.tell(ctx, t, notice.Lockout(strings.Split(source, "@")[0], f.total, f.minute)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil { // they are counted again with the next try
		o.mu.Lock()
		defer o.mu.Unlock()
		for source, f := range done {
			o.failures[fmt.Sprintf("%s@%d", source, f.minute.Unix())] = f
		}
	}
	return err
}
