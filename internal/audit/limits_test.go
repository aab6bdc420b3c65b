package audit

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/purser-dev/purser/internal/act"
)

// sets is a record that sets a limit, signed by nobody: of a budget by its scope, or of
// a run by its id.
func sets(action, target, limit string, period ...string) Record {
	r := Record{TS: start, Org: org, Actor: Actor{Kind: "person", ID: "per_1"}, Action: action, Target: target, Outcome: Accepted, Detail: map[string]string{}}
	switch action {
	case "set_budget", "default_budget":
		r.Detail["limit"] = limit
	default:
		r.Detail["budget"] = limit
	}
	for _, p := range period {
		r.Detail["period"] = p
	}
	return r
}

// signed is a record with the person's act of it.
func signed(t testing.TB, r Record) Record {
	t.Helper()
	r.Attach = signedAct(t, act.Document{
		Organization: org, Operation: r.Action, RequestDigest: digest, Approver: "per_1",
		Nonce: fmt.Sprintf("nonce-%s-%s-%v-%d", r.Action, r.Target, r.Detail, r.TS), NotAfter: start + 600_000_000, Origin: "http://localhost:7777",
	})
	return r
}

// spends is an accepted charge of one cent against one budget.
func spends(scope, window string, limit int64) Record {
	return Record{
		TS: start, Org: org, Actor: Actor{Kind: "agent", ID: "agt_1"}, Action: "charge_usage", Outcome: Accepted,
		Budgets: []BudgetLine{{Scope: scope, Window: window, Currency: "USD", Limit: limit, Captured: 1, Change: 1}},
	}
}

// A limit is what a record says that set it: who changes it in the database leaves none.
func TestVerifyFollowsLimits(t *testing.T) {
	run := func(limit int64) Record { return spends("run:run_1", "run_1", limit) }
	month := func(limit int64) Record { return spends("project:prj_1", "2026-11", limit) }
	change := func(r Record, f func(*Record)) Record { f(&r); return r }
	in := func(r Record, currency string) Record { r.Budgets[0].Currency = currency; return r }
	yes := func(r Record) Record { return signed(t, r) }
	created := yes(sets("create_run", "run_1", "50.00 USD"))
	project := yes(sets("set_budget", "project:prj_1", "50.00 USD", "month"))
	organization := yes(sets("set_budget", "organization:org_1", "50.00 USD", "month"))
	everywhere := change(month(5000), func(r *Record) {
		r.Project, r.Run, r.Budgets = "prj_1", "run_1", []BudgetLine{
			spends("organization:org_1", "2026-11", 5000).Budgets[0], r.Budgets[0], spends("project:prj_1", "2026-11-30", 900).Budgets[0], run(5000).Budgets[0],
		}
	})
	without := func(scope string) Record {
		r := everywhere
		r.Budgets = slices.DeleteFunc(slices.Clone(r.Budgets), func(b BudgetLine) bool { return strings.HasPrefix(b.Scope, scope) })
		return r
	}
	for _, c := range []struct {
		name    string
		records []Record
		at      string // "" when it is right
		seq     int64
	}{
		{"a spend in a run", []Record{created, run(5000)}, "", 0},
		{"a run's limit that no record raised", []Record{created, run(20000)}, "limit", 2},
		{"a run's limit that no record lowered", []Record{created, run(4000)}, "limit", 2},
		{"a refusal under a limit that no record set", []Record{created, change(run(20000), func(r *Record) { r.Outcome, r.Budgets[0].Captured, r.Budgets[0].Change = Refused, 0, 0 })}, "", 0},
		{"a release in a month that is over", []Record{project, month(5000), change(month(0), func(r *Record) { r.Budgets[0].Refunded, r.Budgets[0].Change = 1, -1 })}, "", 0},
		{"a run that was extended", []Record{created, yes(sets("extend_run", "run_1", "200.00 USD")), run(20000)}, "", 0},
		{"a run that was extended in time only", []Record{
			created, yes(change(sets("extend_run", "run_1", ""), func(r *Record) { delete(r.Detail, "budget") })), run(20000),
		}, "limit", 3},
		{"the limit before a run was extended", []Record{created, yes(sets("extend_run", "run_1", "200.00 USD")), run(5000)}, "limit", 3},
		{"a run that another one's extension raised", []Record{created, yes(sets("extend_run", "run_2", "200.00 USD")), run(20000)}, "limit", 3},
		{"a client's run", []Record{yes(change(sets("grant", "gra_1", "50.00 USD"), func(r *Record) { r.Run = "run_1" })), run(5000)}, "", 0},
		{"a client's run, raised", []Record{yes(change(sets("grant", "gra_1", "50.00 USD"), func(r *Record) { r.Run = "run_1" })), run(5001)}, "limit", 2},
		{"a person's own run", []Record{sets("open_run", "run_1", "50.00 USD"), run(5000)}, "", 0},
		{"a person's own run, raised", []Record{sets("open_run", "run_1", "50.00 USD"), run(5001)}, "limit", 2},
		{"a person's own run that is opened again", []Record{sets("open_run", "run_1", "50.00 USD"), sets("open_run", "run_1", "60.00 USD")}, "limit", 2},
		{"a run whose record does not say its limit", []Record{sets("open_run", "run_1", ""), run(700)}, "", 0},
		{"the same, raised after its first spend", []Record{sets("open_run", "run_1", ""), run(700), change(run(800), func(r *Record) { r.Budgets[0].Captured = 2 })}, "limit", 3},
		{"the same, with a day's limit beside it", []Record{
			sets("open_run", "run_1", ""), sets("set_budget", "run:run_1", "9.00 USD", "day"), run(700), spends("run:run_1", "2026-11-30", 900),
		}, "", 0},
		{"a budget that no record set", []Record{month(700), spends("project:prj_2", "2026-11", 800)}, "", 0},
		{"the same, raised after its first spend", []Record{month(700), spends("project:prj_1", "2026-12", 800)}, "limit", 2},
		{"a budget in each period", []Record{
			yes(sets("set_budget", "run:run_1", "1.00 USD", "hour")), sets("set_budget", "run:run_1", "2.00 USD", "day"), sets("set_budget", "run:run_1", "3.00 USD", "week"),
			sets("set_budget", "run:run_1", "4.00 USD", "month"), sets("set_budget", "run:run_1", "5.00 USD", "total"), sets("set_budget", "run:run_1", "6.00 USD", "run"),
			spends("run:run_1", "2026-11-30T16", 100), spends("run:run_1", "2026-11-30", 200), spends("run:run_1", "2026-W49", 300),
			spends("run:run_1", "2026-11", 400), spends("run:run_1", "total", 500), run(600),
		}, "", 0},
		{"a limit of another period", []Record{project, sets("set_budget", "project:prj_1", "5.00 USD", "day"), spends("project:prj_1", "2026-11-30", 5000)}, "limit", 3},
		{"a period that no record set", []Record{created, spends("run:run_1", "total", 20000)}, "limit", 2},
		{"the next month", []Record{project, month(5000), spends("project:prj_1", "2026-12", 5001)}, "limit", 3},
		{"another project", []Record{project, spends("project:prj_2", "2026-11", 20000)}, "", 0},
		{"another currency", []Record{project, in(month(20000), "EUR")}, "", 0},
		{"a currency without parts", []Record{yes(sets("set_budget", "project:prj_1", "50 JPY", "month")), in(month(50), "JPY")}, "", 0},
		{"a name that JSON escapes", []Record{yes(sets("set_budget", `label:team=a"b\c`, "50.00 USD", "month")), spends(`label:team=a"b\c`, "2026-11", 20000)}, "limit", 2},
		{"a limit of before there were periods", []Record{yes(sets("set_budget", "project:prj_1", "50.00 USD")), month(20000)}, "limit", 2},
		{"a run's limit of before there were periods", []Record{yes(sets("set_budget", "run:run_1", "50.00 USD")), run(20000)}, "limit", 2},
		{"a default", []Record{sets("default_budget", "provider:local", "100.00 USD", "month"), spends("provider:local", "2026-11", 10000)}, "", 0},
		{"a default, raised", []Record{sets("default_budget", "provider:local", "100.00 USD", "month"), spends("provider:local", "2026-11", 10001)}, "limit", 2},
		{"a default where there is a limit", []Record{
			yes(sets("set_budget", "provider:local", "5.00 USD", "day")), sets("default_budget", "provider:local", "100.00 USD", "month"),
		}, "limit", 2},
		{"a default for a project", []Record{sets("default_budget", "project:prj_1", "100.00 USD", "month")}, "approval", 1},
		{"a raise that nobody signed", []Record{project, sets("set_budget", "project:prj_1", "50.01 USD", "month")}, "approval", 2},
		{"a signed raise", []Record{project, yes(sets("set_budget", "project:prj_1", "50.01 USD", "month")), month(5001)}, "", 0},
		{"a raise that was refused", []Record{project, change(sets("set_budget", "project:prj_1", "90.00 USD", "month"), func(r *Record) { r.Outcome = Refused }), month(5000)}, "", 0},
		{"a lower limit", []Record{project, sets("set_budget", "project:prj_1", "40.00 USD", "month"), month(4000)}, "", 0},
		{"a raise to what it was before", []Record{
			project, sets("set_budget", "project:prj_1", "40.00 USD", "month"), sets("set_budget", "project:prj_1", "50.00 USD", "month"),
		}, "approval", 3},
		{"a limit that is lower than what the database had been changed to", []Record{created, sets("set_budget", "run:run_1", "100.00 USD", "run")}, "approval", 2},
		{"a first limit that nobody signed", []Record{sets("set_budget", "project:prj_1", "50.00 USD", "month")}, "approval", 1},
		{"a first limit of nothing", []Record{sets("set_budget", "project:prj_1", "0.00 USD", "month"), sets("set_budget", "project:prj_1", "9.00 USD", "day")}, "", 0},
		{"a first limit in another currency", []Record{project, sets("set_budget", "project:prj_1", "9.00 EUR", "month")}, "approval", 2},
		{"a spend under all limits of its place", []Record{organization, project, sets("set_budget", "project:prj_1", "9.00 USD", "day"), created, everywhere}, "", 0},
		{"a spend that the limit of its run does not see", []Record{created, without("run:")}, "limit", 2},
		{"a spend that the limit of its project does not see", []Record{project, without("project:prj_1")}, "limit", 2},
		{"a spend that the limit of its organization does not see", []Record{organization, without("organization:")}, "limit", 2},
		{"a spend that one of two limits does not see", []Record{
			project, sets("set_budget", "project:prj_1", "9.00 USD", "day"), change(everywhere, func(r *Record) { r.Budgets = r.Budgets[:2] }),
		}, "limit", 3},
		{"a spend in a currency that its run has no limit in", []Record{created, change(in(month(700), "EUR"), func(r *Record) { r.Run = "run_1" })}, "", 0},
		{"a spend of no run", []Record{created, change(without("run:"), func(r *Record) { r.Run = "" })}, "", 0},
		{"a spend of another run", []Record{created, change(without("run:"), func(r *Record) { r.Run = "run_2" })}, "", 0},
		{"a refusal that names one limit", []Record{created, change(without("run:"), func(r *Record) { r.Outcome, r.Budgets = Refused, r.Budgets[:1] })}, "", 0},
		{"a first limit that tells another in its window", []Record{
			yes(change(firstLimit(t, 100, 60), func(r *Record) { r.Detail["limit"] = "2.00 USD" })),
		}, "limit", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMemory(t)
			m.add(t, c.records...)
			_, fault, err := verify(m, m.export(t), VerifyOptions{})
			switch {
			case err != nil:
				t.Fatal(err)
			case c.at == "" && fault != nil:
				t.Error(fault)
			case c.at != "" && (fault == nil || fault.At != c.at || fault.Seq != c.seq):
				t.Errorf("got %v, want %s at record %d", fault, c.at, c.seq)
			}
		})
	}
}

// What the walk of the books compares the database with.
func TestBalancesTellTheLimitsThatRecordsSet(t *testing.T) {
	b := NewBalances()
	refused := sets("set_budget", "project:prj_1", "90.00 USD", "month")
	refused.Outcome = Refused
	for i, r := range []Record{
		sets("set_budget", `label:team="a"`, "50.00 USD", "month"), sets("set_budget", `label:team="a"`, "9.00 USD", "day"), sets("set_budget", `label:team="a"`, "40.00 USD", "month"),
		refused, sets("open_run", "run_1", ""), sets("set_budget", "run:run_1", "7.00 USD", "day"), spends("organization:org_1", "2026-11", 700),
	} {
		r.Seq = int64(i + 1)
		leaf, err := r.Leaf()
		if err == nil {
			err = b.Read(leaf)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	got, err := b.Limits()
	want := map[Budget]int64{{`label:team="a"`, "USD", "month"}: 4000, {`label:team="a"`, "USD", "day"}: 900, {"run:run_1", "USD", "day"}: 700}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	for _, c := range []struct {
		scope string
		all   bool
	}{{`label:team="a"`, true}, {"run:run_1", false}, {"organization:org_1", false}} {
		if all := b.AllLimits(c.scope, "USD"); all != c.all {
			t.Errorf("all limits of %s are told: %v", c.scope, all)
		}
	}
}

func TestALimitThatNoRecordSetIsReadAsMoney(t *testing.T) {
	l := limits{of: map[string]limit{}}
	at := line{BudgetLine: BudgetLine{Limit: 10000000}, scope: []byte(`"run:run_1"`), window: []byte(`"run_1"`), currency: []byte(`"USD"`)}
	if err := l.hold(&at); err != nil {
		t.Fatal(err)
	}
	at.Limit = 10100000
	if err := l.hold(&at); err == nil || !strings.Contains(err.Error(), "a limit of 101000.00 USD, and the one in force is 100000.00 USD") {
		t.Errorf("%v", err)
	}
}
