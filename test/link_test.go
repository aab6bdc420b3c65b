package test

import (
	"bytes"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/bench"
)

// link is the network between the server and PostgreSQL, or a provider. What it does
// to a connection can be changed while bytes flow.
type link struct {
	listener net.Listener
	dial     func() (net.Conn, error) // the far side
	delay    atomic.Int64
	silent   atomic.Bool  // bytes are taken and go nowhere; nobody is told
	cuts     atomic.Int64 // so many commits' answers are lost yet, with their connection
	cut      atomic.Int64 // were lost
	mu       sync.Mutex
	ends     map[net.Conn]struct{}
}

// newLink leads to PostgreSQL's socket.
func newLink(t *testing.T, pg *bench.Postgres) *link {
	return linkTo(t, func() (net.Conn, error) { return net.Dial("unix", pg.Socket()) })
}

func linkTo(t *testing.T, dial func() (net.Conn, error)) *link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{listener: listener, dial: dial, ends: map[net.Conn]struct{}{}}
	go l.serve()
	t.Cleanup(func() {
		_ = listener.Close()
		l.reset()
	})
	return l
}

// url leads to a database over the link.
func (l *link) url(database string) string {
	u := url.URL{Scheme: "postgres", User: url.User("purser"), Host: l.listener.Addr().String(), Path: "/" + database, RawQuery: "sslmode=disable"}
	return u.String()
}

func (l *link) serve() {
	for {
		near, err := l.listener.Accept()
		if err != nil {
			return
		}
		far, err := l.dial()
		if err != nil {
			_ = near.Close()
			continue
		}
		l.mu.Lock()
		l.ends[near], l.ends[far] = struct{}{}, struct{}{}
		l.mu.Unlock()
		go l.carry(near, far, false)
		go l.carry(far, near, true)
	}
}

// committed is the end of a message in which PostgreSQL says that a transaction
// was committed, whichever way it was asked.
var committed = []byte("COMMIT\x00")

func (l *link) carry(from, to net.Conn, answers bool) {
	defer l.drop(from, to)
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		if d := time.Duration(l.delay.Load()); d > 0 {
			time.Sleep(d)
		}
		if l.silent.Load() {
			continue
		}
		if answers && bytes.Contains(buffer[:n], committed) && l.cuts.Add(-1) >= 0 {
			l.cut.Add(1)
			return // it is committed, and nobody will say so
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func (l *link) drop(ends ...net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range ends {
		_ = c.Close()
		delete(l.ends, c)
	}
}

// reset breaks every connection, as a router that forgets does.
func (l *link) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.ends {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // no goodbye: a reset
		}
		_ = c.Close()
	}
	clear(l.ends)
}

// T11: nothing is accepted that is not committed, however the link fails, and what
// was committed while its answer was lost is told under its key.
func TestNoLinkToPostgreSQLMakesAnAcceptanceWithoutACommit(t *testing.T) {
	whole(t)
	pg := postgres(t)
	if err := pg.Do(t.Context(), "postgres", "CREATE DATABASE purser"); err != nil {
		t.Fatal(err)
	}
	wire := newLink(t, pg)
	l := &ledger{House: &bench.House{Program: program, Dir: t.TempDir(), Database: wire.url("purser")}, pg: pg}
	l.begin(t)
	crowd := gather(t, l.Address(), l.lane, 32)
	goesOn := func() {
		t.Helper()
		from := crowd.accepted.Load() + 50
		eventually(t, "spends are accepted again", func() bool { return crowd.accepted.Load() > from })
	}
	goesOn()
	for range rounds(2, 20) {
		wire.delay.Store(int64(5 * time.Millisecond))
		goesOn()
		wire.delay.Store(0)
		for range 3 {
			wire.reset()
			goesOn()
		}
		for range 3 {
			before := wire.cut.Load()
			wire.cuts.Store(1)
			eventually(t, "a commit's answer is lost", func() bool { return wire.cut.Load() > before })
			goesOn()
		}
	}
	if crowd.lost.Load() == 0 {
		t.Error("no call went without an answer: nothing failed")
	}
	l.proves(t, crowd.callOff())
}

// T11, K4, K9: with the database gone or silent nothing is accepted, and a stop is
// acknowledged or says that it is not; it does not hang.
func TestAStopWithoutADatabaseSaysThatItIsNotAcknowledged(t *testing.T) {
	whole(t)
	pg := postgres(t)
	if err := pg.Do(t.Context(), "postgres", "CREATE DATABASE purser"); err != nil {
		t.Fatal(err)
	}
	wire := newLink(t, pg)
	l := &ledger{House: &bench.House{Program: program, Dir: t.TempDir(), Database: wire.url("purser")}, pg: pg}
	l.begin(t)
	for _, c := range []struct {
		name       string
		harm, mend func()
	}{
		{"half-open", func() { wire.silent.Store(true) }, func() { wire.reset(); wire.silent.Store(false) }},
		{"gone", func() { fails(t, pg.Down()) }, func() { fails(t, pg.Up()); fails(t, pg.Await(t.Context())) }},
	} {
		lane := l.newRun(t, unlimited)
		crowd := gather(t, l.Address(), lane, 8)
		eventually(t, "the load begins", func() bool { return crowd.accepted.Load() > 50 })
		c.harm()
		// What was committed before the break may still be on its way to its caller.
		body := fmt.Appendf(nil, `{"scope":"run","id":%q,"reason":"no database"}`, lane.Run)
		conn := bench.Dial(l.Address(), patience)
		a, err := conn.Post("/v1/stops", l.Token, "stop-"+lane.Run, body)
		if err != nil {
			t.Errorf("%s: the stop got no answer: %v", c.name, err)
		} else if code := a.Code(); a.Accepted() || code == "" || !bytes.Contains(a.Body, []byte("latched here")) {
			t.Errorf("%s: the stop was answered %d %s", c.name, a.Status, a.Body)
		}
		conn.Close()
		accepted := crowd.accepted.Load()
		c.mend()
		// The same key: now it is acknowledged, and from then on nothing is accepted.
		var k int64
		again := bench.Dial(l.Address(), patience)
		eventually(t, "the stop is acknowledged", func() bool {
			a, err := again.Post("/v1/stops", l.Token, "stop-"+lane.Run, body)
			k = a.Number("seq")
			return err == nil && a.Accepted()
		})
		again.Close()
		eventually(t, "the callers are refused", func() bool { return crowd.refused.Load() > 100 })
		told := crowd.callOff()
		for _, s := range told {
			if s.accepted && s.seq > k {
				t.Errorf("%s: record %d was accepted after the stop's %d", c.name, s.seq, k)
			}
		}
		// K4: nothing is, between the answer and the acknowledgement either, but what was
		// committed before the break.
		if n := crowd.accepted.Load() - accepted; n > 8 {
			t.Errorf("%s: %d were accepted after the stop was latched", c.name, n)
		}
		l.before = append(l.before, told...)
		l.proves(t, l.before)
	}
}

// T11, the provider's side: the link fails in the middle of an order's call, or all of
// it is slow. The money is taken once or not at all, the order ends, and meanwhile a
// stop is acknowledged as always.
func TestNoLinkToAProviderLosesAnOrderOrHoldsUpAStop(t *testing.T) {
	whole(t)
	const create = "/provisioning/resources"
	for _, c := range []struct {
		name string
		at   moment // where the call is held when the link fails; none: it is slow
		harm func(l *link)
		mend func(l *link)
	}{
		{"slow", -1, func(l *link) { l.delay.Store(int64(100 * time.Millisecond)) }, func(*link) {}},
		{"reset before the work", before, func(l *link) { l.reset() }, func(*link) {}},
		{"reset after the work", after, func(l *link) { l.reset() }, func(*link) {}},
		{"half-open before the work", before, func(l *link) { l.silent.Store(true) }, func(l *link) { l.reset(); l.silent.Store(false) }},
		{"half-open after the work", after, func(l *link) { l.silent.Store(true) }, func(l *link) { l.reset(); l.silent.Store(false) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &house{dir: t.TempDir(), wire: newWire(t), log: &journal{}}
			far := strings.TrimPrefix(h.wire.URL, "http://")
			wire := linkTo(t, func() (net.Conn, error) { return net.Dial("tcp", far) })
			h.wire.URL = "http://" + wire.listener.Addr().String() // what the provider says of itself
			h.settle(t, 2000)
			plan := h.approved(t, name())
			if c.at < 0 {
				c.harm(wire)
				h.applying(t, plan.ID)
				h.bought(t, h.ends(t, plan.ID))
				h.settled(t)
				return
			}
			g := h.wire.hold(c.at, "POST", create, domain)
			h.applying(t, plan.ID)
			g.wait(t)
			c.harm(wire)
			asked := time.Now()
			stop, err := h.person.Stop(t.Context(), purser.Stop{Scope: purser.ScopeOrganization, Reason: "the provider does not answer"})
			if err != nil || time.Since(asked) > 25*time.Second { // after 30 the held call is given up
				t.Fatalf("the stop was acknowledged after %v: %v", time.Since(asked), err)
			}
			if open := stop.Open; len(open) != 1 || open[0].State != purser.OrderBuying && open[0].State != purser.OrderUnknown {
				t.Errorf("open at the stop: %+v", open)
			}
			if _, err := h.agent.Plan(t.Context(), purser.MakePlan{Steps: []purser.StepRequest{name()}}); purser.CodeOf(err) != purser.Stopped {
				t.Errorf("a plan after the stop: %v", err)
			}
			g.let(true)
			g.done(t)
			c.mend(wire)
			landed := h.lands(t, plan.ID)
			order := landed.Orders[len(landed.Orders)-1]
			made := 0
			for _, r := range h.listed(t) {
				if r.OrchestratorResourceID == order.ID && r.Status == app.StatusComplete {
					made++
				}
			}
			price := plan.Terms.Steps[len(plan.Terms.Steps)-1].Price.Now
			switch {
			case order.State == purser.OrderLive && made == 1 && order.Captured.Amount == price:
			case order.State == purser.OrderFailed && made == 0 && order.Captured.Amount == 0:
			default:
				t.Errorf("the order is %s with %v captured, and the provider has %d of it: %v", order.State, order.Captured, made, order.Error)
			}
			if c.at == after && order.State != purser.OrderLive {
				t.Errorf("it was bought, and the order is %s: %v", order.State, order.Error)
			}
			h.settled(t)
		})
	}
}

func fails(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
