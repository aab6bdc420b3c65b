package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/purser-dev/purser/internal/audit"
)

// engine is a stand-in that counts decisions in one line, as the real one does,
// and may have one fault.
type engine struct {
	fault   string
	mu      sync.Mutex
	seq     int64
	stopped bool
	keys    map[string]int
	asked   []string
}

func (e *engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seq++
	e.keys[r.Header.Get("Idempotency-Key")]++
	if len(e.asked) < 3 {
		e.asked = append(e.asked, fmt.Sprintf("%s %s %s %s", r.Method, r.URL.Path, r.Header.Get("Authorization"), body))
	}
	w.Header().Set("Content-Type", "application/json")
	switch {
	case r.URL.Path == "/v1/stops":
		e.stopped = true
		seq := e.seq
		if e.fault == "numbers" {
			seq -= 10 // what was decided in between is above K
		}
		fmt.Fprintf(w, `{"id":"stp_1","scope":"run","seq":%d}`, seq)
	case e.stopped && (e.fault != "accepts" || e.seq%100 != 0):
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, `{"type":"x","code":"stopped","seq":%d}`, e.seq)
	default:
		fmt.Fprintf(w, `{"id": "hld_%d", "seq": %d, "state": "captured"}`, e.seq, e.seq)
	}
}

func serve(t *testing.T, e *engine, o Order) Load {
	t.Helper()
	e.keys = map[string]int{}
	s := httptest.NewServer(e)
	defer s.Close()
	o.Address = strings.TrimPrefix(s.URL, "http://")
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Serve(t.Context(), bytes.NewReader(text), &out); err != nil {
		t.Fatal(err)
	}
	var found Load
	if err := json.Unmarshal(out.Bytes(), &found); err != nil {
		t.Fatal(err)
	}
	return found
}

func TestALoadCountsWhatWasDecided(t *testing.T) {
	e := &engine{}
	var found Load
	for found.Decisions == 0 { // a machine that stands still meanwhile decides nothing
		found = serve(t, e, Order{Callers: 4, For: 300 * time.Millisecond, Lanes: []Lane{{"run_1", "token"}}})
	}
	if found.Decisions > e.seq || found.Accepted != found.Decisions || len(found.Codes) > 0 {
		t.Errorf("%d of %d were decided, %d accepted, codes %v", found.Decisions, e.seq, found.Accepted, found.Codes)
	}
	if found.P50 <= 0 || found.P99 < found.P50 || found.Worst < found.P99 {
		t.Errorf("p50 %v, p99 %v, worst %v", found.P50, found.P99, found.Worst)
	}
	for key, n := range e.keys {
		if n > 1 {
			t.Errorf("key %s was used %d times", key, n)
		}
	}
	const form = `POST /v1/charges Bearer token {"provider":"metered","category":"tokens","currency":"USD","amount_minor":`
	if !strings.HasPrefix(e.asked[0], form) {
		t.Errorf("asked %s", e.asked[0])
	}
}

func TestACycleSeesWhatIsAcceptedAfterAStop(t *testing.T) {
	for _, c := range []struct {
		fault string
		wrong bool
	}{{"", false}, {"accepts", true}, {"numbers", true}} {
		t.Run("fault "+c.fault, func(t *testing.T) {
			found := serve(t, &engine{fault: c.fault}, Order{Callers: 8, Stops: true, Lanes: []Lane{{"run_1", "token"}}})
			if len(found.Cycles) != 1 {
				t.Fatalf("%d cycles", len(found.Cycles))
			}
			cycle := found.Cycles[0]
			if cycle.AcceptedBefore < CycleCalls-50 || cycle.SentAfter < CycleCalls || cycle.K == 0 || cycle.StopMS <= 0 || cycle.Stop != "stp_1" {
				t.Errorf("the cycle was %+v", cycle)
			}
			if (cycle.AcceptedAfter > 0) != c.wrong {
				t.Errorf("%d were accepted after the stop, want some: %v", cycle.AcceptedAfter, c.wrong)
			}
		})
	}
}

// A server that dies in mid-answer is a lost answer, and the next call connects anew.
func TestALostAnswerIsNoDecision(t *testing.T) {
	n := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n++
		if n == 2 {
			panic(http.ErrAbortHandler)
		}
		fmt.Fprint(w, `{"seq":7,"code":"a code","id":"hld_1"}`)
	}))
	defer s.Close()
	c := Dial(strings.TrimPrefix(s.URL, "http://"), time.Minute)
	defer c.Close()
	for i, lost := range []bool{false, true, false} {
		a, err := c.Post("/v1/charges", "token", "key", []byte("{}"))
		if (err != nil) != lost {
			t.Fatalf("call %d: %v", i, err)
		}
		if !lost && (!a.Accepted() || a.Number("seq") != 7 || a.Text("id") != "hld_1" || a.Code() != "a code" || a.Number("id") != 0 || a.Text("seq") != "") {
			t.Errorf("call %d was answered %d %s", i, a.Status, a.Body)
		}
	}
}

func TestTheReaderFindsASpendAfterAStop(t *testing.T) {
	spend := func(seq int64, key, run string, change int64) audit.Record {
		return audit.Record{
			Seq: seq, Org: "org_1", Run: run, Action: "charge", Outcome: audit.Accepted, IdempotencyKey: key,
			Budgets: []audit.BudgetLine{{Scope: "provider:metered", Change: change}},
		}
	}
	act := func(seq int64, action, target string) audit.Record {
		return audit.Record{Seq: seq, Org: "org_1", Action: action, Target: target, Outcome: audit.Accepted, Detail: map[string]string{"stop": "stp_1"}}
	}
	refused := spend(3, "k3", "run_1", 5)
	refused.Outcome = audit.Refused
	for _, c := range []struct {
		name  string
		log   []audit.Record
		after int64
		twice int
	}{
		{"a spend before", []audit.Record{spend(1, "k1", "run_1", 5), act(2, "stop", "run:run_1"), refused}, 0, 0},
		{"a spend after", []audit.Record{act(2, "stop", "run:run_1"), spend(3, "k3", "run_1", 5)}, 1, 0},
		{"a spend of another run", []audit.Record{act(2, "stop", "run:run_1"), spend(3, "k3", "run_2", 5)}, 0, 0},
		{"a capture, which raises nothing", []audit.Record{act(2, "stop", "run:run_1"), spend(3, "k3", "run_1", 0)}, 0, 0},
		{"a spend in the whole organization", []audit.Record{act(2, "stop", "organization:org_1"), spend(3, "k3", "run_1", 5)}, 1, 0},
		{"a spend at a stopped provider", []audit.Record{act(2, "stop", "provider:metered"), spend(3, "k3", "run_1", 5)}, 1, 0},
		{"a spend after the resume", []audit.Record{act(2, "stop", "run:run_1"), act(3, "resume", "stp_1"), spend(4, "k3", "run_1", 5)}, 0, 0},
		{"one key twice", []audit.Record{spend(1, "k1", "run_1", 5), spend(2, "k1", "run_1", 5)}, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := Proof{Accepted: map[string]int64{}, Stops: map[string]int64{}}
			r := reader{proof: &p, stops: map[string]string{}}
			for _, rec := range c.log {
				if err := r.read(rec); err != nil {
					t.Fatal(err)
				}
			}
			if p.AcceptedAfter != c.after || len(p.Twice) != c.twice {
				t.Errorf("%d after the stop and %d twice, want %d and %d", p.AcceptedAfter, len(p.Twice), c.after, c.twice)
			}
		})
	}
}

func TestNoRatioIsPrintedWhenItIsVoid(t *testing.T) {
	r := Report{Database: "postgres", Each: []Pair{{PerSecond: 3000, Pgbench: 1000, Fdatasync: 500}, {PerSecond: 1000, Pgbench: 1000, Fdatasync: 500}, {PerSecond: 2000, Pgbench: 1000, Fdatasync: 500}}}
	r.sum()
	if r.PerSecond != 2000 || *r.RatioPgbench != 2 || *r.RatioFdatasync != 4 {
		t.Errorf("%v per second, ratios %v %v", r.PerSecond, *r.RatioPgbench, *r.RatioFdatasync)
	}
	v := Report{Database: "postgres", Each: r.Each}
	v.void("PostgreSQL runs with fsync = off")
	v.sum()
	text, err := json.Marshal(v)
	if err != nil || !strings.Contains(string(text), `"ratio_pgbench_n":null`) || !strings.Contains(string(text), `"ratio_fdatasync":null`) {
		t.Errorf("%s %v", text, err)
	}
}

func TestTheTableSaysWhatIsMissed(t *testing.T) {
	ratio, fresh := 1.4, 0.9
	reports := []Report{{RatioPgbench: &ratio, P99: 12}, {P99: 12, StopP99: 12}}
	missed := strings.Join(Misses(reports), "\n")
	if !strings.Contains(missed, "1.40x, must 1.50x") || !strings.Contains(missed, "void, must 2.50x") || strings.Count(missed, "\n") != 1 {
		t.Errorf("missed: %s", missed)
	}
	text := Markdown(append(reports, Report{RatioPgbench: &fresh}))
	for _, want := range []string{"| 1.40x (missed) |", "| 12.0 ms |", "| **0** |", "| void |", "| **12.0 ms** |"} {
		if !strings.Contains(text, want) {
			t.Errorf("the table lacks %s:\n%s", want, text)
		}
	}
}
