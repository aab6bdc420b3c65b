package office_test

import (
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/office"
)

// SPEND.md K2: all that was accepted before the stop has been told before the stop
// is acknowledged.
func TestAStopIsAcknowledgedAfterEarlierAnswersHaveLeft(t *testing.T) {
	t.Parallel()
	h := open(t, sqlite(t))
	run, agent := h.run(1000)
	agent.Key = "one"
	ctx, sent := h.o.Answering(h.ctx)
	if _, err := h.ops["charge_usage"].Do(ctx, agent, usage(1)); err != nil {
		t.Fatal(explain(err))
	}
	asked, acknowledged := time.Now(), make(chan purser.StopInfo, 1)
	go func() {
		acknowledged <- must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "run", ID: run.ID, Reason: "enough"})
	}()
	h.eventually("the stop is in force", func() bool { return h.counted("stop", "accepted") == 1 })
	// It is decided and stored, and yet not acknowledged.
	select {
	case stop := <-acknowledged:
		if time.Since(asked) < office.AnswerWait { // after which it waits no more
			t.Error("the stop was acknowledged before an answer of before it had left")
		}
		acknowledged <- stop
	case <-time.After(50 * time.Millisecond):
	}
	sent()
	select {
	case <-acknowledged:
	case <-time.After(time.Minute):
		t.Error("the stop waits for an answer that has left")
	}
	sent() // twice is once
}

// A second stop that comes while the first still waits does not overtake it.
func TestASecondStopIsAcknowledgedAfterEarlierAnswersToo(t *testing.T) {
	t.Parallel()
	h := open(t, sqlite(t))
	run, agent := h.run(1000)
	other, _ := h.run(1000)
	agent.Key = "one"
	ctx, sent := h.o.Answering(h.ctx)
	if _, err := h.ops["charge_usage"].Do(ctx, agent, usage(1)); err != nil {
		t.Fatal(explain(err))
	}
	asked, acknowledged := time.Now(), make(chan string, 2)
	for n, id := range []string{other.ID, run.ID} {
		go func() {
			must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "run", ID: id, Reason: "enough"})
			acknowledged <- id
		}()
		h.eventually("the stop is in force", func() bool { return h.counted("stop", "accepted") == n+1 })
	}
	select {
	case id := <-acknowledged:
		if time.Since(asked) < office.AnswerWait { // after which it waits no more
			t.Errorf("the stop of run %s was acknowledged before an answer of before it had left", id)
		}
		acknowledged <- id
	case <-time.After(50 * time.Millisecond):
	}
	sent()
	for range 2 {
		select {
		case <-acknowledged:
		case <-time.After(time.Minute):
			t.Fatal("a stop waits for an answer that has left")
		}
	}
}

// A rail's charge is an answer too: what it says was charged before a stop is told before
// the stop is acknowledged.
func TestAStopIsAcknowledgedAfterTheAnswerToACharge(t *testing.T) {
	t.Parallel()
	h := open(t, sqlite(t))
	other, _ := h.run(1000)
	h.inCall(func(token, _ string) {
		ctx, sent := h.o.Answering(h.ctx)
		in := purser.Charge{Token: token, AmountMinor: 1200, Currency: "USD", IdempotencyKey: "k"}
		if _, err := h.ops["charge"].Do(ctx, atLocal, in); err != nil {
			t.Error(explain(err))
			return
		}
		asked, acknowledged := time.Now(), make(chan struct{})
		go func() {
			must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "run", ID: other.ID, Reason: "enough"})
			close(acknowledged)
		}()
		h.eventually("the stop is in force", func() bool { return h.counted("stop", "accepted") == 1 })
		select {
		case <-acknowledged:
			if time.Since(asked) < office.AnswerWait { // after which it waits no more
				t.Error("the stop was acknowledged before the answer to a charge of before it had left")
			}
		case <-time.After(50 * time.Millisecond):
		}
		sent()
		<-acknowledged
	})
}
