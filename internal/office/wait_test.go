package office_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/purser-dev/purser"
)

// asked is a plan that waits for a person, and an agent that waits for it in a call.
func (h *house) asked(agent purser.Actor, wait func(plan string) (purser.Plan, error)) (plan purser.Plan, answer chan error, got *purser.Plan) {
	h.t.Helper()
	plan = must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("superseal.club")}})
	answer, got = make(chan error, 1), &purser.Plan{}
	go func() {
		p, err := wait(plan.ID)
		*got = p
		answer <- err
	}()
	return plan, answer, got
}

// soon takes the answer of one who waits, who would not have it by waiting alone.
func soon(t *testing.T, answer chan error) error {
	t.Helper()
	select {
	case err := <-answer:
		return err
	case <-time.After(45 * time.Second):
		t.Fatal("no answer in 45 seconds")
		return nil
	}
}

// Whoever waits hears a yes, a no with its reason, an end without an answer and a
// stop, from this server and from another.
func TestAWaitingAgentHearsWhatWasDecided(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, database string) {
		h := open(t, database)
		h.seller.pay = h.rail()
		other := h
		if strings.HasPrefix(database, "postgres") {
			other = h.twin() // decides
		}
		decide := func(plan purser.Plan, how string) {
			switch how {
			case "yes":
				other.approve(plan.ID)
			case "no":
				must[purser.Plan](other, h.owner, "deny", purser.Deny{Plan: plan.ID, Reason: "too dear; look for a cheaper one"})
			case "nothing":
				h.sql("UPDATE plans SET expires_at = $1 WHERE id = $2", time.Now().Add(-time.Millisecond).UnixMicro(), plan.ID)
				other.tick()
			case "stop":
				must[purser.StopInfo](other, h.owner, "stop", purser.Stop{Scope: "project", ID: h.project.ID, Reason: "enough"})
			}
		}
		for _, c := range []struct {
			how  string
			show purser.PlanState // of show_plan
			code purser.Code      // of apply and add
			says string
		}{
			{"yes", purser.PlanReady, "", ""},
			{"no", purser.PlanIsDenied, purser.PlanDenied, "too dear; look for a cheaper one"},
			{"nothing", purser.PlanIsExpired, purser.PlanExpired, "approval expired"},
			{"stop", purser.PlanVoid, purser.Stopped, ""},
		} {
			_, agent := h.run(2000)
			plan, answer, got := h.asked(agent, func(plan string) (purser.Plan, error) {
				return do[purser.Plan](h, agent, "show_plan", purser.PlanRef{Plan: plan, Wait: 55})
			})
			decide(plan, c.how)
			if err := soon(t, answer); err != nil || got.State != c.show {
				t.Errorf("%s: show_plan says %s, %v", c.how, got.State, err)
			}
			if c.how == "no" && (got.Approval == nil || got.Approval.Reason != c.says) {
				t.Errorf("show_plan gives no reason: %+v", got.Approval)
			}
			if c.how == "stop" {
				for _, s := range must[purser.List[purser.StopInfo]](h, h.owner, "list_stops", purser.None{}).Items {
					h.resume(s)
				}
				_, agent = h.run(2000)
			}
			plan, answer, got = h.asked(agent, func(plan string) (purser.Plan, error) {
				return do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan, Wait: 55})
			})
			decide(plan, c.how)
			err := soon(t, answer)
			if c.code == "" && (err != nil || got.State != purser.PlanDone) {
				t.Errorf("%s: apply says %s, %v", c.how, got.State, explainOrNil(err))
			}
			if c.code != "" && (purser.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("%s: apply says %v", c.how, explainOrNil(err))
			}
			if c.how == "yes" {
				h.sql("UPDATE resources SET name = 'another' || id")
				h.sql("UPDATE orders SET target = 'another' || id")
			}
		}
		h.books()
	})
}

func TestAWaitEndsWithItsTimeAndWithItsServer(t *testing.T) {
	t.Parallel()
	h := lite(t)
	_, agent := h.run(2000)
	plan := must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("superseal.club")}})
	if got := must[purser.Plan](h, agent, "show_plan", purser.PlanRef{Plan: plan.ID, Wait: 1}); got.State != purser.PlanWaiting {
		t.Errorf("after its time it is %s", got.State)
	}
	_, stranger := h.run(2000)
	_, err := do[purser.Plan](h, stranger, "show_plan", purser.PlanRef{Plan: plan.ID, Wait: 55})
	refused(t, err, purser.Forbidden)
	answer := make(chan error, 1)
	go func() {
		_, err := do[purser.Plan](h, agent, "show_plan", purser.PlanRef{Plan: plan.ID, Wait: 55})
		answer <- err
	}()
	h.o.Leave()
	refused(t, soon(t, answer), purser.Unavailable)
}

func TestAddWithAWaitWaitsForThePerson(t *testing.T) {
	t.Parallel()
	h := lite(t)
	h.seller.pay = h.rail()
	_, agent := h.run(2000)
	_, err := do[purser.Plan](h, agent, "add", purser.Add{StepRequest: domain("superseal.club")})
	refused(t, err, purser.NeedsApproval)
	answer := make(chan error, 1)
	go func() {
		_, err := do[purser.Plan](h, agent, "add", purser.Add{StepRequest: domain("superseal.cc"), Wait: 55})
		answer <- err
	}()
	h.eventually("the second plan", func() bool {
		return len(must[purser.List[purser.Plan]](h, h.owner, "list_approvals", purser.Page{}).Items) == 2
	})
	for _, p := range must[purser.List[purser.Plan]](h, h.owner, "list_approvals", purser.Page{}).Items {
		h.approve(p.ID)
	}
	if err := soon(t, answer); err != nil {
		t.Fatal(explain(err))
	}
	h.charged(1, 1200)
}

// stream watches as an actor until enough events came, or the stream ends.
type stream struct {
	mu     sync.Mutex
	events []purser.Event
	done   chan error
	cancel context.CancelFunc
}

func (h *house) stream(by purser.Actor, after int64) *stream {
	h.t.Helper()
	ctx, cancel := context.WithCancel(h.ctx)
	s, begun := &stream{done: make(chan error, 1), cancel: cancel}, make(chan struct{})
	var once sync.Once
	go func() {
		s.done <- h.o.Events(ctx, by, purser.AskEvents{After: after}, func(events []purser.Event, _ int64) error {
			s.mu.Lock()
			s.events = append(s.events, events...)
			s.mu.Unlock()
			once.Do(func() { close(begun) })
			return nil
		})
	}()
	select {
	case <-begun:
	case err := <-s.done:
		h.t.Fatal(err)
	}
	h.t.Cleanup(cancel)
	return s
}

func (s *stream) seqs() (out []int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		out = append(out, e.Seq)
	}
	return out
}

// Every record comes once, in order, to each who watches, from whichever server;
// and a stream that comes back goes on where it was.
func TestEventsComeInOrderWithoutGapOrRepeat(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, database string) {
		h := open(t, database)
		h.seller.pay = h.rail()
		writer := h
		if strings.HasPrefix(database, "postgres") {
			writer = h.twin()
		}
		whole, now := h.stream(h.owner, 0), h.stream(h.owner, -1)
		began := int64(len(h.records()))
		_, agent := writer.run(9000)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				must[purser.Project](writer, h.owner, "create_project", purser.CreateProject{Name: fmt.Sprintf("p%d", i)})
			})
		}
		wg.Wait()
		must[purser.Plan](writer, agent, "apply", purser.Apply{Plan: writer.planned(agent, domain("superseal.club")).ID})
		last := int64(len(h.records()))
		for name, c := range map[string]struct {
			s     *stream
			after int64
		}{"from the first": {whole, 0}, "from now on": {now, began}} {
			h.eventually(name, func() bool { return int64(len(c.s.seqs())) >= last-c.after })
			for i, seq := range c.s.seqs() {
				if seq != c.after+int64(i)+1 {
					t.Fatalf("%s: event %d is record %d", name, i, seq)
				}
			}
		}
		again := h.stream(h.owner, last-3)
		h.eventually("the rest", func() bool { return len(again.seqs()) >= 3 })
		if got := again.seqs(); !slices.Equal(got[:3], []int64{last - 2, last - 1, last}) {
			t.Errorf("it goes on with %v", got)
		}
		whole.cancel()
		if err := soon(t, whole.done); err != nil {
			t.Error(err)
		}
	})
}

// An agent sees its own run, and is told of a stop that ends it; no agent watches others.
func TestAnAgentSeesItsOwnRunAndItsEnd(t *testing.T) {
	t.Parallel()
	h := lite(t)
	mine, agent := h.run(2000)
	other, stranger := h.run(2000)
	s := h.stream(agent, 0)
	must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("superseal.club")}})
	must[purser.Plan](h, stranger, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("superseal.cc")}})
	must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "run", ID: other.ID, Reason: "not this one"})
	must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "project", ID: h.project.ID, Reason: "enough"})
	if err := soon(t, s.done); err != nil {
		t.Fatal(err)
	}
	actions := []string{}
	for _, e := range s.events {
		if e.Run != mine.ID && e.Target != "project:"+h.project.ID {
			t.Errorf("it saw %+v", e)
		}
		actions = append(actions, e.Action)
	}
	if !slices.Contains(actions, "plan") || actions[len(actions)-1] != "stop" {
		t.Errorf("it saw %v", actions)
	}
	err := h.o.Events(h.ctx, purser.Actor{Kind: purser.Provider, ID: "local"}, purser.AskEvents{}, func([]purser.Event, int64) error { return nil })
	refused(t, err, purser.Forbidden)
}

func TestAStreamEndsWithWhoReadsItAndACredentialHasSoMany(t *testing.T) {
	t.Parallel()
	h := lite(t)
	gone := errors.New("the reader is gone")
	if err := h.o.Events(h.ctx, h.owner, purser.AskEvents{}, func([]purser.Event, int64) error { return gone }); !errors.Is(err, gone) {
		t.Errorf("it ended with %v", err)
	}
	var open []*stream
	for range 64 {
		open = append(open, h.stream(h.owner, -1))
	}
	err := h.o.Events(h.ctx, h.owner, purser.AskEvents{}, func([]purser.Event, int64) error { return gone })
	refused(t, err, purser.Overloaded)
	open[0].cancel()
	if err := soon(t, open[0].done); err != nil {
		t.Error(err)
	}
	h.stream(h.owner, -1)
}

// From the decision to the answer that the waiting agent has, within one process,
// and between two on PostgreSQL.
func BenchmarkDecisionToWaitingAgent(b *testing.B) {
	for _, c := range []struct {
		name     string
		database func() string
		other    bool
	}{
		{"sqlite", func() string { return sqlite(b) }, false},
		{"postgres", func() string { return postgres.Open(b) }, false},
		{"postgres, another server", func() string { return postgres.Open(b) }, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			h := open(b, c.database())
			decides := h
			if c.other {
				decides = h.twin()
			}
			_, agent := h.run(2000)
			var took []time.Duration
			for b.Loop() {
				var heard time.Time
				plan, answer, _ := h.asked(agent, func(plan string) (purser.Plan, error) {
					p, err := do[purser.Plan](h, agent, "show_plan", purser.PlanRef{Plan: plan, Wait: 55})
					heard = time.Now()
					return p, err
				})
				time.Sleep(150 * time.Millisecond) // it waits by now, as an agent does for a person
				must[purser.Plan](decides, h.owner, "deny", purser.Deny{Plan: plan.ID, Reason: "no"})
				decided := time.Now()
				if err := <-answer; err != nil {
					b.Fatal(err)
				}
				took = append(took, max(0, heard.Sub(decided)))
			}
			slices.Sort(took)
			b.ReportMetric(0, "ns/op") // most of it is the person's
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}

// A page that waits for news of one server hears of another's turns: there it has
// no second look to fall back on.
func TestATurnOfAnotherServerIsNews(t *testing.T) {
	t.Parallel()
	a := open(t, postgres.Open(t))
	b := a.twin()
	heard := func(news <-chan struct{}, what string) {
		t.Helper()
		select {
		case <-news:
		case <-time.After(time.Minute):
			t.Fatalf("no news of %s", what)
		}
	}
	heard(a.o.News(a.owner.Organization), "whatever was before the first look")
	news := a.o.News(a.owner.Organization)
	must[purser.Project](b, a.owner, "create_project", purser.CreateProject{Name: "another"})
	heard(news, "the other server's turn")
}
