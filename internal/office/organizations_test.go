package office_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// neighbour makes another organization with a run of 10.00 USD, and its agent.
func (h *house) neighbour(n int) purser.Actor {
	h.t.Helper()
	id := func(kind string) string { return fmt.Sprintf("%s_neighbour%d", kind, n) }
	by := purser.Actor{Kind: purser.Agent, ID: id("agt"), Organization: id("org"), Run: id("run"), Project: id("prj")}
	err := h.store.Write(h.ctx, func(q *db.Queries) error {
		return q.InsertOrganization(h.ctx, db.InsertOrganizationParams{ID: by.Organization, Name: "Neighbour", Timezone: "UTC"})
	})
	if err == nil {
		err = h.store.Turn(h.ctx, by.Organization, func(t *store.Turn) error {
			if _, err := t.InsertProject(h.ctx, db.InsertProjectParams{Organization: t.Org, ID: by.Project, Name: "work"}); err != nil {
				return err
			}
			if err := t.InsertPerson(h.ctx, db.InsertPersonParams{Organization: t.Org, ID: id("per"), Name: "Eve", Email: id("eve"), Role: "owner", Kdf: "{}"}); err != nil {
				return err
			}
			if err := t.InsertAgent(h.ctx, db.InsertAgentParams{Organization: t.Org, ID: by.ID, Name: "builder", Person: id("per")}); err != nil {
				return err
			}
			err := t.InsertRun(h.ctx, db.InsertRunParams{
				Organization: t.Org, ID: by.Run, Project: by.Project, Agent: by.ID, Person: id("per"), Currency: "USD", Providers: "[]", Reveal: "[]",
				Labels: "[]", ExpiresAt: store.Micro(t.Now) + 3_600_000_000,
			})
			if err != nil {
				return err
			}
			return t.SetBudget(h.ctx, db.SetBudgetParams{Organization: t.Org, Scope: "run", Target: by.Run, Period: "run", Currency: "USD", LimitMinor: 1000})
		})
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return by
}

// A provider is everybody's on a server: who needs it no more does not take it away from
// another organization, hears nothing of that, and forgets an account of its own.
func TestAProviderStaysWhileAnotherOrganizationNeedsIt(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		_, agent := h.run(1500)
		h.link(agent)
		h.sql("UPDATE resources SET state = 'removed'")
		other := h.neighbour(1)
		in := func(f func(*store.Turn) error) {
			t.Helper()
			if err := h.store.Turn(h.ctx, other.Organization, f); err != nil {
				t.Fatal(err)
			}
		}
		forget := func() error {
			_, err := do[purser.Accepted](h, h.owner, "remove_provider", purser.ProviderRef{Provider: "local"})
			return err
		}
		stays := func() {
			t.Helper()
			no := refused(t, forget(), purser.InvalidState)
			for _, theirs := range []string{"Neighbour", other.Organization, "res_theirs", "their-site", "ord_theirs", "order", "resource", "charge"} {
				if strings.Contains(no.Detail+no.Hint, theirs) {
					t.Errorf("it tells %q: %q, %q", theirs, no.Detail, no.Hint)
				}
			}
		}
		in(func(u *store.Turn) error {
			return u.InsertOrder(h.ctx, db.InsertOrderParams{Organization: u.Org, ID: "ord_theirs", Plan: "pln_theirs", Run: other.Run, Project: other.Project, Provider: "local", State: "unknown"})
		})
		stays()
		must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{{Service: "local/", Unlink: true}}})
		in(func(u *store.Turn) error {
			if err := u.SettleOrder(h.ctx, db.SettleOrderParams{Organization: u.Org, ID: "ord_theirs", State: "live"}); err != nil {
				return err
			}
			return u.InsertResource(h.ctx, db.InsertResourceParams{
				Organization: u.Org, ID: "res_theirs", Project: other.Project, Env: "production", Name: "their-site", Provider: "local", Service: "hosting:static", State: "live", OrderID: "ord_theirs", Configuration: "{}", Access: []byte{},
			})
		})
		stays()
		in(func(u *store.Turn) error {
			return u.SetResourceState(h.ctx, db.SetResourceStateParams{Organization: u.Org, ID: "res_theirs", State: "detached"})
		})
		if err := forget(); err != nil {
			t.Errorf("nobody needs it any more: %v", explain(err))
		}
	})
}

// What waits in several organizations is decided in one commit. A row that the
// database refuses in one, and one that is not there, fail nobody else.
func TestSeveralOrganizationsAreDecidedInOneCommit(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, database string) {
		h := open(t, database)
		const many = 12
		agents := make([]purser.Actor, many)
		for i := range agents {
			agents[i] = h.neighbour(i)
		}
		nowhere := agents[0]
		nowhere.Organization = "org_nowhere"
		round := func(of []purser.Actor, cents func(i int) int64) (errs []error, commits int) {
			h.t.Helper()
			errs = make([]error, len(of))
			at, on := make(chan struct{}), make(chan struct{})
			goOn := sync.OnceFunc(func() { close(on) })
			defer goOn()
			var once sync.Once
			h.watch(func(_ int64, statement string) error {
				if takesTurn.MatchString(statement) {
					once.Do(func() {
						close(at)
						<-on
					})
				}
				if statement == store.Committed {
					h.mu.Lock()
					commits++
					h.mu.Unlock()
				}
				return nil
			})
			defer h.watch(nil)
			var wg sync.WaitGroup
			call := func(i int) {
				wg.Go(func() { _, errs[i] = do[purser.Hold](h, of[i], "charge_usage", usage(cents(i))) })
			}
			call(0)
			<-at
			for i := 1; i < len(of); i++ {
				call(i)
			}
			// Where there is a second worker, some of them are already in its batch, held too.
			h.eventually("the others wait", func() bool {
				return !slices.ContainsFunc(of[1:], func(by purser.Actor) bool {
					return h.o.Waiting(by.Organization) == 0 && !h.o.Deciding(by.Organization)
				})
			})
			goOn()
			wg.Wait()
			return errs, commits
		}

		errs, commits := round(agents, func(int) int64 { return 10 })
		for i, err := range errs {
			if err != nil {
				t.Errorf("organization %d: %s", i, explain(err))
			}
		}
		// The first, and the others together; as many workers as there are cores may share them.
		if commits >= many/2 {
			t.Errorf("%d commits for %d organizations", commits, many)
		}

		if strings.HasPrefix(database, "postgres") {
			h.mustSQL(t, "ALTER TABLE holds ADD CONSTRAINT unlucky CHECK (amount <> 13)")
		} else {
			h.mustSQL(t, "CREATE TRIGGER unlucky BEFORE INSERT ON holds WHEN NEW.amount = 13 BEGIN SELECT RAISE(ABORT, 'unlucky'); END")
		}
		errs, _ = round(append(agents, nowhere), func(i int) int64 {
			if i == 5 {
				return 13
			}
			return 10
		})
		for i, err := range errs {
			switch {
			case i == many:
				refused(t, err, purser.NotFound)
			case (err != nil) != (i == 5):
				t.Errorf("organization %d: %v", i, explainOrNil(err))
			}
		}
		for i, by := range agents {
			lines, err := h.store.Read().Windows(h.ctx, by.Organization)
			if err != nil {
				t.Fatal(err)
			}
			want := int64(20)
			if i == 5 {
				want = 10
			}
			for _, w := range lines {
				if w.Scope == "run" && w.Captured != want {
					t.Errorf("the run of organization %d used %d, not %d", i, w.Captured, want)
				}
			}
			if len(lines) == 0 {
				t.Errorf("organization %d has no window", i)
			}
		}
	})
}

// An organization whose turn another process has keeps nobody else waiting, and when
// the office closes meanwhile, whoever waits for it is told.
func TestOneWhoWaitsForATurnKeepsNobodyWaiting(t *testing.T) {
	t.Parallel()
	for _, closing := range []bool{false, true} {
		t.Run(fmt.Sprintf("closing %v", closing), func(t *testing.T) {
			t.Parallel()
			h := open(t, postgres.Open(t))
			held, free := h.neighbour(0), h.neighbour(1)
			other, err := store.Open(h.ctx, store.Config{Database: h.db, Now: h.now})
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			inTurn, goOn, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
			go func() {
				ctx := context.WithoutCancel(h.ctx)
				ended <- other.Turn(ctx, held.Organization, func(turn *store.Turn) error {
					close(inTurn)
					for { // PostgreSQL ends a turn in which nothing is asked for five seconds
						select {
						case <-goOn:
							return nil
						case <-time.After(100 * time.Millisecond):
							if _, err := turn.Organization(ctx, turn.Org); err != nil {
								return err
							}
						}
					}
				})
			}()
			<-inTurn
			var wg sync.WaitGroup
			errs := make([]error, 2)
			wg.Go(func() { _, errs[0] = do[purser.Hold](h, held, "charge_usage", usage(1)) })
			h.eventually("the first is being decided", func() bool { return h.o.Deciding(held.Organization) })
			wg.Go(func() { _, errs[1] = do[purser.Hold](h, held, "charge_usage", usage(1)) })
			h.eventually("the second waits", func() bool { return h.o.Waiting(held.Organization) == 1 })
			must[purser.Hold](h, free, "charge_usage", usage(1))
			closed := make(chan struct{})
			if closing {
				h.o.Leave()
				go func() {
					h.o.Close()
					close(closed)
				}()
				h.eventually("the office is closing", func() bool { return h.o.Closing() })
			}
			close(goOn)
			wg.Wait()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			for i, err := range errs {
				if code := purser.CodeOf(err); err != nil && (!closing || code != purser.Unavailable) {
					t.Errorf("call %d: %s", i, explain(err))
				}
			}
			if closing {
				<-closed
				if errs[1] == nil {
					t.Error("what came last was decided by an office that had closed")
				}
			}
		})
	}
}
