package office

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/store"
)

const (
	heartbeat   = 15 * time.Second
	tailMost    = 2048                  // events that are kept of an organization while somebody watches
	tailGap     = 20 * time.Millisecond // at least, between two reads of one log for all who watch
	eventsBack  = 10_000                // how far back a stream begins; older records are what audit_log is for
	streamsMost = 64                    // of one credential
)

// tail is the end of an organization's log, read once for all who watch it.
type tail struct {
	mu      sync.Mutex
	events  []purser.Event // in order of seq, without a gap, up to head
	head    int64          // seq of the newest that was read
	count   uint64         // of the news, before the read
	at      time.Time      // of the read
	streams map[string]int // by credential
}

// Events gives f what happens in an organization, in the order of its log, from
// in.After on: below zero, from now on; what is further back than 10,000 records is
// left out. An agent is told of its own run and of stops that cover it, and no more
// after such a stop. next is where the stream stands, with what was left out; f gets
// it each 15 seconds too, with no events. It returns f's error, and otherwise when the
// context ends, the server leaves or a stop ended the agent.
//
// The console can watch by this as well as an agent by GET /v1/events; it must call
// it with the actor of its session, and look again at each heartbeat whether the
// session still holds. A page that only wants to know that something changed takes
// News, which is one channel and no record.
func (o *Office) Events(ctx context.Context, by purser.Actor, in purser.AskEvents, f func(events []purser.Event, next int64) error) error {
	if by.Kind != purser.Person && by.Kind != purser.Agent {
		return purser.Errorf(purser.Forbidden, "this credential (%s) may not watch", by.Kind)
	}
	t, leave, err := o.watchTail(by)
	if err != nil {
		return err
	}
	defer leave()
	at, err := o.streamFrom(ctx, by, in.After)
	if err != nil {
		return err
	}
	if err := f(nil, at); err != nil {
		return err
	}
	spoke := time.Now()
	for pace := looks(); ; {
		news, count := o.news.next(by.Organization), o.news.count()
		events, next, err := o.eventsAfter(ctx, t, by.Organization, at, count)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		seen, ended := seenBy(by, events)
		if len(seen) > 0 || time.Since(spoke) >= heartbeat {
			if err := f(seen, next); err != nil {
				return err
			}
			spoke = time.Now()
		}
		if at = next; ended {
			return nil
		}
		if len(events) > 0 {
			continue // there may be more
		}
		select {
		case <-news:
		case <-time.After(min(shortWait, max(0, heartbeat-time.Since(spoke)))):
		case <-o.leaving.Done():
			return nil
		case <-ctx.Done():
			return nil
		}
		if pace.Wait(ctx) != nil {
			return nil
		}
	}
}

// seenBy keeps what an actor may know; ended is true when a stop in it ends an agent.
func seenBy(by purser.Actor, events []purser.Event) (seen []purser.Event, ended bool) {
	if by.Kind != purser.Agent {
		return events, false
	}
	for _, e := range events {
		scope, target, _ := strings.Cut(e.Target, ":")
		stops := e.Action == "stop" && e.Outcome == "accepted" && scope != "provider" && pathOf(by).Covered(scope, target)
		if e.Run == by.Run || stops {
			seen = append(seen, e)
		}
		if stops {
			return seen, true
		}
	}
	return seen, false
}

// streamFrom is the record after which a stream begins.
func (o *Office) streamFrom(ctx context.Context, by purser.Actor, after int64) (int64, error) {
	org, err := o.Store.Read().Organization(ctx, by.Organization)
	if err != nil {
		return 0, notFound(err, "organization", by.Organization)
	}
	if after < 0 || after > org.Seq {
		return org.Seq, nil
	}
	return max(after, org.Seq-eventsBack), nil
}

// watchTail finds the tail of an organization for one more stream. A credential has
// so many streams, so that one client that leaks them cannot take the memory of all.
func (o *Office) watchTail(by purser.Actor) (*tail, func(), error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	t := o.tails[by.Organization]
	if t == nil {
		t = &tail{streams: map[string]int{}}
		o.tails[by.Organization] = t
	}
	credential := by.Token
	if t.streams[credential] >= streamsMost {
		return nil, nil, purser.Errorf(purser.Overloaded, "this credential watches by %d streams already", streamsMost).WithHint("close some")
	}
	t.streams[credential]++
	return t, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if t.streams[credential]--; t.streams[credential] == 0 {
			delete(t.streams, credential)
		}
		if len(t.streams) == 0 {
			delete(o.tails, by.Organization)
		}
	}, nil
}

// eventsAfter reads the events after seq, from the tail or, for who is far behind,
// from the log. count is that of the news when the caller woke: one read serves all
// who woke before it.
func (o *Office) eventsAfter(ctx context.Context, t *tail, org string, seq int64, count uint64) ([]purser.Event, int64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.head == 0 {
		t.head = seq
	}
	if t.count < count || time.Since(t.at) >= shortWait {
		if rest := tailGap - time.Since(t.at); rest > 0 && pause(ctx, rest) != nil {
			return nil, seq, ctx.Err()
		}
		count := o.news.count()
		for {
			fresh, err := o.readEvents(ctx, org, t.head)
			if err != nil {
				return nil, seq, err
			}
			if len(fresh) == 0 {
				break
			}
			t.head = fresh[len(fresh)-1].Seq
			if t.events = append(t.events, fresh...); len(t.events) > tailMost {
				t.events = append([]purser.Event(nil), t.events[len(t.events)-tailMost:]...)
			}
		}
		t.count, t.at = count, time.Now()
	}
	if seq >= t.head {
		return nil, seq, nil
	}
	if len(t.events) > 0 && t.events[0].Seq <= seq+1 {
		out := t.events[seq+1-t.events[0].Seq:]
		return append([]purser.Event(nil), out...), t.head, nil
	}
	old, err := o.readEvents(ctx, org, seq)
	if err != nil || len(old) == 0 {
		return nil, seq, err
	}
	return old, old[len(old)-1].Seq, nil
}

// readEvents reads a page of the log as events.
func (o *Office) readEvents(ctx context.Context, org string, after int64) ([]purser.Event, error) {
	rows, err := store.RecordsAfter(ctx, o.Store.Read(), org, after, math.MaxInt64, 500)
	if err != nil {
		return nil, fmt.Errorf("reading the log: %w", err)
	}
	out := make([]purser.Event, 0, len(rows))
	for _, row := range rows {
		var r struct { // of an audit.Record
			Action  string `json:"action"`
			Target  string `json:"target"`
			Outcome string `json:"outcome"`
			Run     string `json:"run"`
			Project string `json:"project"`
		}
		if err := json.Unmarshal(row.Leaf, &r); err != nil {
			return nil, fmt.Errorf("reading record %d: %w", row.Seq, err)
		}
		out = append(out, purser.Event{Seq: row.Seq, At: store.Time(row.At), Action: r.Action, Target: r.Target, Outcome: r.Outcome, Run: r.Run, Project: r.Project})
	}
	return out, nil
}
