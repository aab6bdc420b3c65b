package office

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/store/db"
)

const (
	watchEvery  = 200 * time.Millisecond // between looks for turns of other servers
	lookGap     = 50 * time.Millisecond  // between two looks of one who waits in a busy organization
	looksAtOnce = 4                      // in a quiet one none has to wait
)

// looks paces one who waits: where each moment brings news of something else, not
// each is worth a look.
func looks() *rate.Limiter { return rate.NewLimiter(rate.Every(lookGap), looksAtOnce) }

// news wakes those who wait for something of an organization to change.
type news struct {
	mu    sync.Mutex
	waits map[string]chan struct{}
	told  uint64 // how often anybody was told anything
}

func newNews() *news { return &news{waits: map[string]chan struct{}{}} }

// next is closed at the next change. Take it before looking.
func (n *news) next(org string) <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.waits[org] == nil {
		n.waits[org] = make(chan struct{})
	}
	return n.waits[org]
}

func (n *news) tell(org string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.told++
	if c := n.waits[org]; c != nil {
		close(c)
		delete(n.waits, org)
	}
}

// count grows with each change.
func (n *news) count() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.told
}

// awaited lists the organizations that somebody waits for.
func (n *news) awaited() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := make([]string, 0, len(n.waits))
	for org := range n.waits {
		out = append(out, org)
	}
	return out
}

// watch tells those who wait here of turns that other servers of the database took.
// One question for all of them, a few times a second and only while somebody waits:
// a NOTIFY would cost each turn of a busy organization, and a connection that
// listens can be lost without a sign. Whoever waits looks by itself each second, so
// that nothing depends on this.
func (o *Office) watch(ctx context.Context) {
	seen := map[string]int64{}
	for pause(ctx, watchEvery) == nil {
		orgs := o.news.awaited()
		if len(orgs) == 0 {
			continue
		}
		turns, err := o.Store.Turns(ctx, orgs)
		if err != nil {
			continue // those who wait look by themselves
		}
		for org, turn := range turns {
			// The first look at an organization has nothing to compare with: a turn may
			// have come since its waiter looked.
			if last, ok := seen[org]; !ok || last != turn {
				seen[org] = turn
				o.news.tell(org)
			}
		}
	}
}

// changed waits until a plan is no longer in the state, or has no longer the error,
// that it was shown with; or until it expires. It returns at once if that is so.
func (o *Office) changed(ctx context.Context, org string, plan purser.Plan) error {
	for pace := looks(); ; {
		news := o.news.next(org)
		row, err := o.Store.Read().PlanState(ctx, db.PlanStateParams{Organization: org, ID: plan.ID})
		if err != nil {
			return notFound(err, "plan", plan.ID)
		}
		waits := plan.State == purser.PlanWaiting || plan.State == purser.PlanReady
		if row.State != string(plan.State) || (row.Error != "") != (plan.Error != nil) || waits && !o.Now().Before(plan.ExpiresAt) {
			return nil
		}
		if err := o.waitFor(ctx, plan.ID, nil, news); err != nil {
			return err
		}
		if pace.Wait(ctx) != nil { // it also refuses to wait beyond the end
			<-ctx.Done()
			return ctx.Err()
		}
	}
}
