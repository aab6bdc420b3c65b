package bench

import (
	"cmp"
	"context"
	crand "crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/purser-dev/purser"
)

// Lane is one run that is charged: the organization behind it is one of those
// that the load is spread over.
type Lane struct {
	Run   string `json:"run"`
	Token string `json:"token"` // of the run's agent
}

// Order is what a load process is told, in JSON on its standard input.
type Order struct {
	Address string        `json:"address"` // host:port of the server
	Callers int           `json:"callers"`
	For     time.Duration `json:"for"` // nanoseconds of measured time
	Warm    time.Duration `json:"warm"`
	Lanes   []Lane        `json:"lanes"`

	// Stops makes the load a series of stops instead of one measurement: each
	// lane is loaded, stopped and asked on. Person is the token that stops.
	Stops  bool   `json:"stops,omitempty"`
	Person string `json:"person,omitempty"`
	Scope  string `json:"scope,omitempty"` // of the stops; left out: each lane's run
	ID     string `json:"id,omitempty"`    // of the scope
	Calls  int64  `json:"calls,omitempty"` // accepted before a stop and sent after it; left out: CycleCalls
}

// Load is what a load process found, in JSON on its standard output.
type Load struct {
	Decisions int64            `json:"decisions"` // answers with a decision, refusals by a guard included
	Accepted  int64            `json:"accepted"`
	Seconds   float64          `json:"seconds"`
	P50       float64          `json:"p50_ms"`
	P99       float64          `json:"p99_ms"`
	Worst     float64          `json:"max_ms"`
	Codes     map[string]int64 `json:"codes,omitempty"` // of answers that were not accepted, and "lost" for those that did not come
	Cycles    []Cycle          `json:"cycles,omitempty"`
}

// Cycle is one stop under load, as the callers saw it.
type Cycle struct {
	Run            string  `json:"run"`
	K              int64   `json:"k"` // the stop's sequence number
	Stop           string  `json:"stop"`
	AcceptedBefore int64   `json:"accepted_before"` // with a number below K
	SentAfter      int64   `json:"sent_after"`      // after the acknowledgement had arrived
	AcceptedAfter  int64   `json:"accepted_after"`  // sent after the acknowledgement and accepted, or numbered above K
	StopMS         float64 `json:"stop_ms"`
}

// CycleCalls are needed on each side of a stop for a cycle to count (RULES 26).
const CycleCalls = 1000

// answerTimeout is how long a caller waits before it calls an answer lost.
const answerTimeout = 10 * time.Second

// Serve is the load process: it reads an Order, carries it out, and writes a Load.
func Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	var o Order
	if err := json.NewDecoder(in).Decode(&o); err != nil {
		return fmt.Errorf("reading the order: %w", err)
	}
	if len(o.Lanes) == 0 || o.Callers < 1 {
		return errors.New("a load needs a lane and a caller")
	}
	l := &load{Order: o}
	if err := l.run(ctx); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(l.found)
}

type load struct {
	Order
	found Load
}

func (l *load) run(ctx context.Context) error {
	l.found.Codes = map[string]int64{}
	if !l.Stops {
		return l.measure(ctx)
	}
	callers := make([]*caller, l.Callers)
	for i := range callers {
		callers[i] = l.caller(i)
		defer callers[i].conn.Close()
	}
	for _, lane := range l.Lanes {
		c, err := l.cycle(ctx, callers, lane)
		if err != nil {
			return err
		}
		l.found.Cycles = append(l.found.Cycles, c)
	}
	return nil
}

// caller asks one thing after the other, over one connection.
type caller struct {
	conn  *Conn
	body  []byte
	slow  []int32 // microseconds that each decision took
	codes map[string]int64
	yes   int64
	rnd   *rand.Rand
}

func (l *load) caller(i int) *caller {
	return &caller{
		conn: Dial(l.Address, answerTimeout), codes: map[string]int64{},
		rnd: rand.New(rand.NewPCG(uint64(i), 1)), // which lane and amount: the same in each measurement
	}
}

// ChargeBody is a charge of an amount in US cents, in all five levels of budgets:
// organization, project, provider, category and run.
func ChargeBody(body []byte, amount int64) []byte {
	body = append(body, `{"provider":"`+Provider+`","category":"`+Category+`","currency":"USD","amount_minor":`...)
	return append(strconv.AppendInt(body, amount, 10), '}')
}

// charge makes one charge under a key of its own.
func (c *caller) charge(lane Lane) (Answer, error) {
	c.body = ChargeBody(c.body[:0], 1+c.rnd.Int64N(9))
	return c.conn.Post("/v1/charges", lane.Token, newKey(), c.body)
}

// newKey is an idempotency key as Purser's own clients make them.
func newKey() string {
	key, err := purser.NewID(purser.PrefixKey, time.Now(), crand.Reader)
	if err != nil {
		panic(err) // crypto/rand always reads
	}
	return key
}

// decided reports whether an answer is a decision of the engine: a yes, or a no
// that a budget, a guard or a stop said.
func decided(a Answer) bool {
	if a.Accepted() {
		return true
	}
	switch a.Code() {
	case "budget_exceeded", "stopped", "currency_not_budgeted", "limit_exceeded", "too_fast":
		return true
	}
	return false
}

func (l *load) measure(ctx context.Context) error {
	var group sync.WaitGroup
	callers := make([]*caller, l.Callers)
	began := time.Now()
	from, until := began.Add(l.Warm), began.Add(l.Warm+l.For)
	for i := range callers {
		c := l.caller(i)
		callers[i] = c
		group.Go(func() {
			defer c.conn.Close()
			lane := i % len(l.Lanes)
			for ctx.Err() == nil {
				sent := time.Now()
				if sent.After(until) {
					return
				}
				a, err := c.charge(l.Lanes[lane])
				lane = (lane + l.Callers) % len(l.Lanes)
				if answered := time.Now(); answered.After(from) && !answered.After(until) {
					c.count(a, err, answered.Sub(sent))
				}
				if err != nil || a.Code() == "overloaded" {
					time.Sleep(time.Millisecond) // a server that is gone or full is not to be hammered
				}
			}
		})
	}
	group.Wait()
	l.sum(callers)
	return ctx.Err()
}

func (c *caller) count(a Answer, err error, took time.Duration) {
	switch {
	case err != nil:
		c.codes["lost"]++
		return
	case a.Accepted():
		c.yes++
	default:
		c.codes[cmp.Or(a.Code(), strconv.Itoa(a.Status))]++
	}
	if decided(a) {
		c.slow = append(c.slow, int32(min(took, time.Hour)/time.Microsecond))
	}
}

func (l *load) sum(callers []*caller) {
	var all []int32
	for _, c := range callers {
		all = append(all, c.slow...)
		l.found.Accepted += c.yes
		for code, n := range c.codes {
			l.found.Codes[code] += n
		}
	}
	slices.Sort(all)
	l.found.Decisions, l.found.Seconds = int64(len(all)), l.For.Seconds()
	l.found.P50, l.found.P99, l.found.Worst = quantile(all, 0.5), quantile(all, 0.99), quantile(all, 1)
}

// quantile is in milliseconds, of sorted microseconds.
func quantile(sorted []int32, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	at := min(int(q*float64(len(sorted))), len(sorted)-1)
	return float64(sorted[at]) / 1000
}

// cycle loads a lane until enough was accepted, stops its run, and asks on until
// enough was sent after the acknowledgement.
func (l *load) cycle(ctx context.Context, callers []*caller, lane Lane) (Cycle, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	cycle, calls := Cycle{Run: lane.Run}, cmp.Or(l.Calls, CycleCalls)
	var before, after, wrong, acknowledged atomic.Int64 // acknowledged is nanoseconds since began, 0 until then
	var mu sync.Mutex
	var numbers []int64 // of all that was accepted
	began := time.Now()
	var group sync.WaitGroup
	for _, c := range callers {
		group.Go(func() {
			var mine []int64
			for ctx.Err() == nil && after.Load() < calls {
				// The clock is read before the request leaves, so that a request that
				// counts as sent after the acknowledgement certainly was.
				sent, ack := int64(time.Since(began)), acknowledged.Load()
				late := ack > 0 && sent > ack
				a, err := c.charge(lane)
				switch {
				case err != nil:
					continue
				case a.Accepted():
					before.Add(1)
					mine = append(mine, a.Number("seq"))
					if late {
						wrong.Add(1)
					}
				}
				if late {
					after.Add(1)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			numbers = append(numbers, mine...)
		})
	}
	stop := Dial(l.Address, answerTimeout)
	defer stop.Close()
	for before.Load() < calls && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	asked := time.Now()
	body := fmt.Appendf(nil, `{"scope":%q,"id":%q,"reason":"stopped under load"}`, cmp.Or(l.Scope, "run"), cmp.Or(l.ID, lane.Run))
	a, err := stop.Post("/v1/stops", l.Person, newKey(), body)
	arrived := time.Now()
	if err == nil && !a.Accepted() {
		err = fmt.Errorf("the stop was answered %d %s", a.Status, a.Code())
	}
	if err != nil {
		cancel()
		group.Wait()
		return cycle, fmt.Errorf("stopping run %s: %w", lane.Run, err)
	}
	cycle.K, cycle.Stop = a.Number("seq"), a.Text("id")
	cycle.StopMS = float64(arrived.Sub(asked)) / 1e6
	acknowledged.Store(int64(arrived.Sub(began)))
	group.Wait()
	if err := ctx.Err(); err != nil {
		return cycle, fmt.Errorf("the cycle of run %s did not come to its end: %w", lane.Run, err)
	}
	cycle.SentAfter, cycle.AcceptedAfter = after.Load(), wrong.Load()
	for _, n := range numbers {
		if n < cycle.K {
			cycle.AcceptedBefore++
		} else {
			cycle.AcceptedAfter++
		}
	}
	return cycle, nil
}
