package office_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/office"
	"github.com/purser-dev/purser/internal/seal"
)

// shy makes the provider ask a person before it opens an account. It counts account
// requests and the codes that came back; a page lasts as long as said.
type shy struct {
	mu       sync.Mutex
	asked    int
	redeemed []string
	lasts    time.Duration
	agreed   bool // then it gives a token
	lost     int  // so many answers to a code
}

func (s *shy) answer(req app.AccountRequest, code string) (office.Linked, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if code != "" {
		s.redeemed = append(s.redeemed, code)
		s.agreed = true
		if s.lost > 0 {
			s.lost--
			return office.Linked{}, purser.Errorf(purser.OutcomeUnknown, "the answer was lost")
		}
		return office.Linked{}, nil
	}
	s.asked++
	if s.agreed {
		return office.Linked{}, nil
	}
	return office.Linked{Consent: &office.Consent{
		URL: "https://local.example/authorize?state=cs_1", State: "cs_1", Secret: "cs_1", ExpiresAt: time.Now().Add(s.lasts),
	}}, nil
}

func (s *shy) count() (asked, redeemed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked, len(s.redeemed)
}

// waits applies a plan until it waits for a person.
func (h *house) waits(agent purser.Actor, s *shy) (plan purser.Plan, flow string) {
	h.t.Helper()
	h.seller.set(func(x *seller) { x.asks = s.answer })
	plan = h.planned(agent, purser.StepRequest{Service: "local/hosting:static", Name: "first"})
	_, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
	var no *purser.Error
	if !errors.As(err, &no) || no.Code != purser.NeedsPerson || !strings.Contains(no.Hint, "/v1/flows/acctreq_") {
		h.t.Fatalf("applying: %v", err)
	}
	plan = h.shown(plan.ID)
	if plan.State != purser.PlanApplying || plan.Orders[0].State != purser.OrderPlaced {
		h.t.Fatalf("the plan is %s, the order %s", plan.State, plan.Orders[0].State)
	}
	return plan, "acctreq_" + plan.Orders[0].ID
}

func (h *house) shown(plan string) purser.Plan {
	h.t.Helper()
	return must[purser.Plan](h, h.owner, "show_plan", purser.PlanRef{Plan: plan})
}

// opened is the owner's browser on its way.
func (h *house) opened(flow string) seal.Secret {
	h.t.Helper()
	out, err := h.o.StartFlow(h.ctx, h.owner, flow, "")
	if err != nil || out.URL != "https://local.example/authorize?state=cs_1" {
		h.t.Fatalf("starting: %+v %v", out, err)
	}
	return out.Session
}

func (h *house) back(code string, session seal.Secret) error {
	_, _, err := h.o.FinishFlow(h.ctx, office.FlowAnswer{Code: code, State: "cs_1", Sessions: []seal.Secret{session}})
	return err
}

func TestAPlanWaitsForAPersonWithoutAskingAgainAndGoesOnByItself(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, database string) {
		h, s := open(t, database), &shy{lasts: time.Hour}
		_, agent := h.run(2000)
		plan, flow := h.waits(agent, s)
		for range 3 {
			if err := h.o.Recover(h.ctx); err != nil {
				t.Fatal(err)
			}
		}
		session := h.opened(flow)
		h.restart() // the person's answer outlives the process
		var wg sync.WaitGroup
		var taken atomic.Int64
		for range 8 { // a browser that reloads
			wg.Go(func() {
				if err := h.back("c1", session); err == nil {
					taken.Add(1)
				} else if purser.CodeOf(err) != purser.InvalidState {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := taken.Load(); n != 1 {
			t.Errorf("the answer was taken %d times", n)
		}
		h.eventually("the plan is done", func() bool { return h.shown(plan.ID).State == purser.PlanDone })
		if asked, redeemed := s.count(); asked != 1 || redeemed != 1 {
			t.Errorf("%d account requests and %d codes, want 1 and 1", asked, redeemed)
		}
		if err := h.back("c2", session); purser.CodeOf(err) != purser.InvalidState {
			t.Errorf("a second answer: %v", err)
		}
	})
}

func TestACodeWhoseAnswerWasLostIsNotExchangedTwice(t *testing.T) {
	t.Parallel()
	h, s := open(t, aDB(t)), &shy{lasts: time.Hour, lost: 1}
	_, agent := h.run(2000)
	plan, flow := h.waits(agent, s)
	if err := h.back("c1", h.opened(flow)); err != nil {
		t.Fatal(err)
	}
	h.eventually("the plan is done", func() bool {
		if err := h.o.Recover(h.ctx); err != nil {
			t.Fatal(err)
		}
		return h.shown(plan.ID).State == purser.PlanDone
	})
	if asked, redeemed := s.count(); asked != 2 || redeemed != 1 {
		t.Errorf("%d account requests and %d codes, want the request again and one code", asked, redeemed)
	}
}

func TestAPageThatRanOutIsAskedForAgain(t *testing.T) {
	t.Parallel()
	h, s := open(t, aDB(t)), &shy{lasts: time.Millisecond}
	_, agent := h.run(2000)
	plan, flow := h.waits(agent, s)
	if _, err := h.o.StartFlow(h.ctx, h.owner, flow, ""); purser.CodeOf(err) != purser.Unavailable {
		t.Errorf("a page that ran out is opened: %v", err)
	}
	s.mu.Lock()
	s.lasts = time.Hour
	s.mu.Unlock()
	var session seal.Secret
	h.eventually("the page is there again", func() bool {
		out, err := h.o.StartFlow(h.ctx, h.owner, flow, "")
		session = out.Session
		return err == nil
	})
	if err := h.back("c1", session); err != nil {
		t.Fatal(err)
	}
	h.eventually("the plan is done", func() bool { return h.shown(plan.ID).State == purser.PlanDone })
}

func TestAStopEndsAPlanThatWaitsForAPerson(t *testing.T) {
	t.Parallel()
	for name, answers := range map[string]bool{"who answers later": true, "who never answers": false} {
		t.Run(name, func(t *testing.T) {
			h, s := open(t, aDB(t)), &shy{lasts: time.Hour}
			_, agent := h.run(2000)
			plan, flow := h.waits(agent, s)
			session := h.opened(flow)
			must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "organization", Reason: "enough"})
			if answers {
				_ = h.back("c1", session) // the person does not know
			}
			h.eventually("the order and its plan are over", func() bool {
				if err := h.o.Recover(h.ctx); err != nil {
					t.Fatal(err)
				}
				now := h.shown(plan.ID)
				return now.Orders[0].State == purser.OrderFailed && now.State != purser.PlanApplying && now.State != purser.PlanDone
			})
			if asked, redeemed := s.count(); asked != 1 || redeemed != 0 {
				t.Errorf("after the stop: %d account requests, %d codes exchanged", asked, redeemed)
			}
		})
	}
}

func TestOnlyAPersonOfTheOrganizationOpensAPage(t *testing.T) {
	t.Parallel()
	h, s := open(t, aDB(t)), &shy{lasts: time.Hour}
	_, agent := h.run(2000)
	_, flow := h.waits(agent, s)
	viewer, stranger := h.owner, h.owner
	viewer.Role, stranger.Organization = purser.Viewer, "org_other"
	for name, c := range map[string]struct {
		by   purser.Actor
		code purser.Code
	}{
		"an agent":   {agent, purser.Forbidden},
		"a viewer":   {viewer, purser.Forbidden},
		"a stranger": {stranger, purser.NotFound},
		"nobody":     {purser.Actor{}, purser.Forbidden},
		"a provider": {purser.Actor{Kind: purser.Provider, ID: "local"}, purser.Forbidden},
	} {
		if _, err := h.o.StartFlow(h.ctx, c.by, flow, ""); purser.CodeOf(err) != c.code {
			t.Errorf("%s starts it: %v", name, err)
		}
		if _, err := h.o.FlowTicket(h.ctx, c.by, flow); purser.CodeOf(err) != c.code {
			t.Errorf("%s gets a ticket: %v", name, err)
		}
	}
	if _, err := h.o.StartFlow(h.ctx, purser.Actor{}, flow, "guessed"); purser.CodeOf(err) != purser.Forbidden {
		t.Errorf("a guessed ticket: %v", err)
	}
	if _, err := h.o.ShowFlow(h.ctx, purser.Actor{Kind: purser.Provider, ID: "other"}, flow); purser.CodeOf(err) != purser.NotFound {
		t.Errorf("another provider reads it: %v", err)
	}
}
