package office_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/notice"
)

// Two servers on one database send once; one that dies after the mail server took
// the mail, and before it was written down, sends again: at least once.
func TestTwoOfficesTellOnceAndACrashTellsAgain(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, database string) {
		h, b := told(t, database)
		b.carry = func(_ int, take func()) error {
			time.Sleep(20 * time.Millisecond) // so that the others come meanwhile
			take()
			return nil
		}
		offices := []*house{h}
		if strings.HasPrefix(database, "postgres") {
			offices = append(offices, h.twin())
		}
		_, agent := h.run(2000)
		must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("superseal.club")}})
		_, errs := fifty(func(i int) (int, error) { return 0, offices[i%len(offices)].o.Tell(h.ctx) })
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
		if n := len(b.of(notice.ApprovalNeeded)); n != 1 {
			t.Fatalf("told %d times", n)
		}
		// The crash: what was sent is not marked.
		h.sql("UPDATE deliveries SET state = 'waiting', lease_until = $1, ended_at = 0", time.Now().Add(time.Minute).UnixMicro())
		h.send()
		if n := len(b.of(notice.ApprovalNeeded)); n != 1 {
			t.Errorf("told %d times within the lease", n)
		}
		h.later(2 * time.Minute)
		h.send()
		got := b.of(notice.ApprovalNeeded)
		if len(got) != 2 || got[0].ID != got[1].ID {
			t.Errorf("after the lease: %+v", got)
		}
	})
}

func TestADeliveryIsTriedForADayAndThenGivenUpOnRecord(t *testing.T) {
	t.Parallel()
	h, b := told(t, aDB(t))
	b.carry = func(int, func()) error { return errors.New("554 no\r\nsuch user\u202e") }
	stop := must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "project", ID: h.project.ID, Reason: "enough"})
	tries := func() int {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.tries
	}
	h.send()
	h.send() // too soon
	if n := tries(); n != 1 {
		t.Fatalf("tried %d times at once", n)
	}
	for range 80 { // each half an hour
		h.later(30*time.Minute + time.Second)
		h.send()
	}
	if n := tries(); n < 40 || n > 55 {
		t.Errorf("tried %d times in a day", n)
	}
	list := must[purser.Notices](h, h.owner, "list_notices", purser.Page{})
	if len(list.Items) != 1 || list.Items[0].About != stop.ID || len(list.Untold) != 1 {
		t.Fatalf("%+v", list)
	}
	d := list.Items[0].Deliveries[0]
	if d.State != "given_up" || d.Way != "mail" || strings.ContainsAny(d.Error, "\r\n\u202e") || !strings.Contains(d.Error, "554 no") {
		t.Errorf("%+v", d)
	}
	if n := h.counted("give_up_notice", "failed"); n != 1 {
		t.Errorf("%d records of it", n)
	}
	if status := must[purser.Status](h, h.owner, "status", purser.AskStatus{}); len(status.Untold) != 1 {
		t.Errorf("the status says %+v", status.Untold)
	}
	h.verify()
}

// The list ends somewhere; the log does not. What is still on its way is kept, and
// no transaction lasts longer than others may wait for it.
func TestOldNoticesAreForgottenAFewAtATime(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h, b := told(t, database)
		stop := must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "project", ID: h.project.ID, Reason: "enough"})
		h.one(b, notice.Stopped)
		const many = 8
		for i := range many {
			h.sql(`INSERT INTO notices (organization, id, mark, kind, about, subject, facts, spread_at, created_at)
				SELECT organization, $1, $1, kind, about, subject, facts, spread_at, created_at FROM notices WHERE about = $2 AND id LIKE 'ntc_%'`, fmt.Sprintf("old_%d", i), stop.ID)
			h.sql(`INSERT INTO deliveries (organization, notice, way, person, kind, state, next_at, created_at)
				SELECT organization, $1, way, person, kind, $2, next_at, created_at FROM deliveries WHERE notice LIKE 'ntc_%'`, fmt.Sprintf("old_%d", i), []string{"done", "waiting"}[i/(many-1)])
		}
		h.later(89 * 24 * time.Hour)
		h.tick()
		if n := h.ask("SELECT COUNT(*) FROM notices"); n != many+1 {
			t.Fatalf("%d notices are left after 89 days", n)
		}
		var mu sync.Mutex
		dropped := map[int64]int{} // in each transaction
		h.watch(func(tx int64, statement string) error {
			if strings.Contains(statement, "DELETE FROM notices") {
				time.Sleep(3 * time.Millisecond) // a slow disk
				mu.Lock()
				defer mu.Unlock()
				dropped[tx]++
			}
			return nil
		})
		h.later(2 * 24 * time.Hour)
		h.tick()
		h.watch(nil)
		if n, d := h.ask("SELECT COUNT(*) FROM notices WHERE about = $1", stop.ID), h.ask("SELECT COUNT(*) FROM deliveries WHERE state <> 'given_up'"); n != 1 || d != 1 {
			t.Errorf("after 91 days %d notices and %d deliveries are left, want the one that waits", n, d)
		}
		for tx, n := range dropped {
			if n > 2 {
				t.Errorf("transaction %d dropped %d at 3 ms each", tx, n)
			}
		}
		if len(dropped) < many/2 {
			t.Errorf("%d transactions dropped %d", len(dropped), many)
		}
		h.verify()
	})
}

// A way that the settings do not name any more holds up nothing.
func TestADeliveryByAWayThatIsGoneIsGivenUp(t *testing.T) {
	t.Parallel()
	h, _ := told(t, aDB(t))
	must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "project", ID: h.project.ID, Reason: "enough"})
	h.sql("UPDATE notices SET spread_at = 1")
	h.sql(`INSERT INTO deliveries (organization, notice, way, person, kind, state, next_at, created_at)
		SELECT organization, id, 'webhook', '', kind, 'waiting', 0, created_at FROM notices`)
	h.send()
	h.later(25 * time.Hour)
	h.send()
	d := must[purser.Notices](h, h.owner, "list_notices", purser.Page{}).Items[0].Deliveries
	if len(d) != 1 || d[0].State != "given_up" || !strings.Contains(d[0].Error, "not set up") {
		t.Errorf("%+v", d)
	}
}

func TestWhatWasDecidedMeanwhileIsNotAskedForAnyMore(t *testing.T) {
	t.Parallel()
	h, b := told(t, aDB(t))
	b.carry = func(n int, take func()) error {
		if n == 1 {
			return errors.New("try later")
		}
		take()
		return nil
	}
	_, agent := h.run(2000)
	plan := must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("superseal.club")}})
	h.send()
	must[purser.Plan](h, h.owner, "deny", purser.Deny{Plan: plan.ID, Reason: "no"})
	h.later(time.Minute)
	h.send()
	if got := b.of(notice.ApprovalNeeded); len(got) != 0 {
		t.Errorf("told after the no: %+v", got)
	}
	if list := must[purser.Notices](h, h.owner, "list_notices", purser.Page{}); list.Items[0].Deliveries[0].State != "moot" {
		t.Errorf("%+v", list.Items[0])
	}
}

// An agent can ask for approvals without end; a person's mail box ends.
func TestAFloodIsMutedAndStaysInTheList(t *testing.T) {
	t.Parallel()
	h, b := told(t, aDB(t))
	_, agent := h.run(2000)
	for i := range 25 {
		must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain(fmt.Sprintf("n%d.club", i))}})
	}
	h.send()
	h.send()
	got := b.of(notice.ApprovalNeeded)
	if len(got) != 20 || !slices.ContainsFunc(got, func(m notice.Message) bool { return m.Last }) {
		t.Errorf("told %d times", len(got))
	}
	must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "run", ID: agent.Run, Reason: "it floods"})
	h.one(b, notice.Stopped)
	first := must[purser.Notices](h, h.owner, "list_notices", purser.Page{Limit: 20})
	rest := must[purser.Notices](h, h.owner, "list_notices", purser.Page{Limit: 20, Cursor: first.NextCursor})
	seen := map[string]bool{}
	for _, n := range append(first.Items, rest.Items...) {
		seen[n.ID] = true
	}
	if len(seen) != 26 || rest.NextCursor != "" || first.Items[0].Kind != "stopped" {
		t.Errorf("the list has %d of 26; the first is %s", len(seen), first.Items[0].Kind)
	}
}

func TestATestSaysWhatBecameOfIt(t *testing.T) {
	t.Parallel()
	h, b := told(t, aDB(t))
	b.carry = func(n int, take func()) error {
		if n == 1 {
			return errors.New("535 wrong password")
		}
		take()
		return nil
	}
	n := must[purser.Notice](h, h.owner, "test_notices", purser.None{})
	if len(n.Deliveries) != 1 || n.Deliveries[0].State != "waiting" || !strings.Contains(n.Deliveries[0].Error, "535") {
		t.Errorf("%+v", n)
	}
	if n = must[purser.Notice](h, h.owner, "test_notices", purser.None{}); n.Deliveries[0].State != "done" {
		t.Errorf("%+v", n)
	}
	_, err := do[purser.Notice](lite(t), h.owner, "test_notices", purser.None{})
	refused(t, err, purser.InvalidState)
}
