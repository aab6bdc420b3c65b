package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/purser-dev/purser/internal/act"
)

func TestAGoodExportVerifies(t *testing.T) {
	for _, n := range []int{0, 1, 99, 100, 101, 1200} {
		m := filled(t, n)
		if n == 0 {
			m.add(t)
		}
		var seen int64
		report, fault, err := verify(m, m.export(t), VerifyOptions{AtLeast: int64(n), Books: true, Each: func(r Record) error {
			if seen++; r.Seq != seen {
				return fmt.Errorf("seq %d comes after %d", r.Seq, seen-1)
			}
			return nil
		}})
		if fault != nil || err != nil || !report.Verified || report.TreeSize != int64(n) || report.Records != int64(n) || seen != int64(n) ||
			report.CheckpointTime != start+int64(n) || report.ActsByMethod()["passphrase"] != int64(n/500) {
			t.Errorf("%d records: %v, %v, %+v", n, fault, err, report)
		}
	}
}

func TestTheReportSaysWhatItCannotExclude(t *testing.T) {
	m := filled(t, 600)
	export := m.export(t)
	for _, c := range []struct {
		name      string
		opt       VerifyOptions
		says, not []string
	}{
		{"nothing else given", VerifyOptions{}, []string{"--witness FILE or --at-least", "another history", "last second", "never recorded", "not that person's"}, nil},
		{"a size", VerifyOptions{AtLeast: 500}, []string{"known to reach, 500", "another history", "last second"}, []string{"--at-least"}},
		{"a witness", VerifyOptions{Witness: []byte(m.checkpoints[600])}, []string{"known to reach, 600", "last second"}, []string{"--at-least", "another history"}},
	} {
		report, fault, err := verify(m, export, c.opt)
		if fault != nil || err != nil {
			t.Fatalf("%s: %v, %v", c.name, fault, err)
		}
		text := report.String()
		for _, s := range append(c.says, "verified: purser/ins_1/org_1\n", "tree size 600, 600 records, 6 checkpoints", "checkpoint of 2026-", "1 acts of per_1 by passphrase") {
			if !strings.Contains(text, s) {
				t.Errorf("%s: %q is missing in\n%s", c.name, s, text)
			}
		}
		for _, s := range c.not {
			if strings.Contains(text, s) {
				t.Errorf("%s: %q is in\n%s", c.name, s, text)
			}
		}
	}
}

// at is the index of the line of a record; checkpoints stand after every 100.
func at(seq int) int { return seq + (seq-1)/100 }

func TestVerifyNamesWhatIsWrong(t *testing.T) {
	m := filled(t, 600)
	good := lines(m.export(t))
	other := newKey(t, org, 8)
	rehash := func(line string, change func(string) string) string {
		_, leaf, ok := splitRecord([]byte(strings.TrimSuffix(line, "\n")))
		if !ok {
			t.Fatal("not a record: " + line)
		}
		changed := change(string(leaf))
		return recordHead + LeafHash([]byte(changed)).String() + recordMiddle + changed + "}\n"
	}
	for _, c := range []struct {
		name         string
		change       func(l []string) []string
		at           string
		seq, through int64
	}{
		{"a digit in a record", func(l []string) []string {
			l[at(57)] = strings.Replace(l[at(57)], `"limit":100000`, `"limit":900000`, 1)
			return l
		}, "record", 57, 57},
		{"a name, and the hash computed again", func(l []string) []string {
			l[at(257)] = rehash(l[at(257)], func(s string) string { return strings.Replace(s, `agt_1`, `agt_2`, 1) })
			return l
		}, "range", 201, 300},
		{"a limit, and the hash computed again", func(l []string) []string {
			l[at(257)] = rehash(l[at(257)], func(s string) string { return strings.Replace(s, `"limit":100000`, `"limit":900000`, 1) })
			return l
		}, "limit", 257, 257},
		{"the same in the first range", func(l []string) []string {
			l[at(2)] = rehash(l[at(2)], func(s string) string { return strings.Replace(s, `agt_1`, `agt_2`, 1) })
			return l
		}, "range", 1, 100},
		{"a hash only", func(l []string) []string { l[at(58)] = l[at(58)][:9] + "AAAA" + l[at(58)][13:]; return l }, "record", 58, 58},
		{"space in a record, hash computed again", func(l []string) []string {
			l[at(59)] = rehash(l[at(59)], func(s string) string { return strings.Replace(s, `,`, `, `, 1) })
			return l
		}, "record", 59, 59},
		{"a record is gone", func(l []string) []string { return append(l[:at(60)], l[at(60)+1:]...) }, "record", 60, 60},
		{"the last before a checkpoint is gone", func(l []string) []string { return append(l[:at(200)], l[at(200)+1:]...) }, "record", 200, 200},
		{"a record is there twice", func(l []string) []string { return append(l[:at(61)+1:at(61)+1], l[at(61):]...) }, "record", 61, 61},
		{"an old record comes again", func(l []string) []string {
			return append(l[:at(300)+1:at(300)+1], append([]string{l[at(20)]}, l[at(300)+1:]...)...)
		}, "record", 20, 20},
		{"two records change places", func(l []string) []string { l[at(62)], l[at(462)] = l[at(462)], l[at(62)]; return l }, "record", 62, 62},
		{"cut in a record", func(l []string) []string { l[at(63)] = l[at(63)][:40]; return l[:at(63)+1] }, "record", 63, 63},
		{"cut after a record", func(l []string) []string { return l[:at(64)+1] }, "record", 65, 65},
		{"cut after a checkpoint", func(l []string) []string { return l[:at(301)] }, "record", 301, 301},
		{"cut at the last newline", func(l []string) []string {
			l[len(l)-1] = strings.TrimSuffix(l[len(l)-1], "\n")
			return l
		}, "record", 601, 601},
		{"a checkpoint is gone", func(l []string) []string { return append(l[:at(301)-1], l[at(301):]...) }, "checkpoint", 401, 401},
		{"a checkpoint is there twice", func(l []string) []string { return append(l[:at(301):at(301)], l[at(301)-1:]...) }, "checkpoint", 301, 301},
		{"a checkpoint is there twice, with the next number", func(l []string) []string {
			l[at(301)-1] += strings.Replace(l[at(301)-1], `"n":3}`, `"n":4}`, 1)
			return l
		}, "checkpoint", 301, 301},
		{"a checkpoint signed by another key", func(l []string) []string {
			root, err := Root(300, m)
			if err != nil {
				t.Fatal(err)
			}
			forged, err := other.Sign(Checkpoint{"purser/ins_1/org_1", 300, root, start + 300})
			if err != nil {
				t.Fatal(err)
			}
			l[at(301)-1] = fmt.Sprintf(`{"checkpoint":%q,"n":3}`+"\n", forged)
			return l
		}, "checkpoint", 301, 301},
		{"a line after the end", func(l []string) []string { return append(l, l[1]) }, "end", 601, 601},
		{"an empty line", func(l []string) []string { l[at(66)] = "\n" + l[at(66)]; return l }, "record", 66, 66},
		{"a line without end", func(l []string) []string { l[at(67)] = strings.Repeat("x", 2*maxLine); return l }, "record", 67, 67},
		{"another organization in the header", func(l []string) []string { l[0] = strings.Replace(l[0], `"org_1"`, `"org_2"`, 1); return l }, "header", 0, 0},
		{"another installation in the header", func(l []string) []string { l[0] = strings.Replace(l[0], `"ins_1"`, `"ins_2"`, 1); return l }, "header", 0, 0},
		{"another log in the header", func(l []string) []string {
			l[0] = strings.Replace(strings.Replace(l[0], `"org_1"`, `"org_2"`, 1), `"purser/ins_1/org_1"`, `"purser/ins_1/org_2"`, 1)
			return l
		}, "header", 0, 0},
		{"another version", func(l []string) []string {
			l[0] = strings.Replace(l[0], `"purser_audit":1`, `"purser_audit":2`, 1)
			return l
		}, "header", 0, 0},
		{"another key in the header", func(l []string) []string {
			l[0] = strings.Replace(l[0], m.key.Public(), other.Public(), 1)
			return l
		}, "header", 0, 0},
		{"a member more in the header", func(l []string) []string { l[0] = strings.Replace(l[0], `{`, `{"a":1,`, 1); return l }, "header", 0, 0},
		{"no header", func(l []string) []string { return l[1:] }, "header", 0, 0},
		{"nothing", func([]string) []string { return nil }, "header", 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			changed := strings.Join(c.change(append([]string(nil), good...)), "")
			report, fault, err := verify(m, []byte(changed), VerifyOptions{})
			if err != nil || fault == nil || fault.At != c.at || fault.Seq != c.seq || fault.Through != c.through {
				t.Errorf("got %+v, %v; want %s %d to %d", fault, err, c.at, c.seq, c.through)
			}
			if report.Verified || !strings.HasPrefix(report.String(), "NOT VERIFIED") {
				t.Error("the report calls it verified")
			}
		})
	}
}

// A wrong log that its own key signed: the server was false, or has a bug.
// firstLimit finds an amount used, half of it captured, where nothing was told before.
func firstLimit(t testing.TB, cents, used int64) Record {
	t.Helper()
	r := sets("set_budget", "organization:org_1", fmt.Sprintf("%d.%02d USD", cents/100, cents%100), "month")
	r.Budgets = []BudgetLine{{
		Scope: "organization:org_1", Window: "2026-11", Currency: "USD", Limit: cents, Held: used / 2, Captured: used/2 + 1, Refunded: 1, Change: used,
	}}
	return signed(t, r)
}

func TestVerifyDoesNotBelieveTheKeyOnly(t *testing.T) {
	change := func(r Record, f func(*Record)) Record { f(&r); return r }
	doc := act.Document{
		Organization: org, Operation: "stop.resume", RequestDigest: digest, Approver: "per_1",
		Nonce: "nonce-of-the-resume", NotAfter: start + 10, Origin: "http://localhost:7777",
	}
	resume := Record{TS: start, Org: org, Actor: Actor{Kind: "person", ID: "per_1"}, Action: "stop.resume", Outcome: Accepted, Attach: signedAct(t, doc)}
	good := approval(t, start, "nonce-0123456789")
	for _, c := range []struct {
		name    string
		records []Record
		at      string // "" when it is right
		seq     int64
	}{
		{"an approval", []Record{good}, "", 0},
		{"another operation", []Record{resume}, "", 0},
		{"time goes back", []Record{change(hold(1), func(r *Record) { r.TS = start + 3 }), hold(2)}, "record", 2},
		{"time stands", []Record{hold(1), change(hold(2), func(r *Record) { r.TS = start + 1 })}, "", 0},
		{"another organization's record", []Record{change(hold(1), func(r *Record) { r.Org = "org_2" })}, "record", 1},
		{"an approval without a signature", []Record{hold(1), change(good, func(r *Record) { r.TS, r.Attach = start+1, nil })}, "approval", 2},
		{"a refused approval without a signature", []Record{change(good, func(r *Record) { r.Outcome, r.Attach = Refused, nil })}, "", 0},
		{"an approval of another plan", []Record{change(good, func(r *Record) { r.PlanDigest = "sha256:" + strings.Repeat("0", 64) })}, "approval", 1},
		{"an approval by an agent", []Record{change(good, func(r *Record) { r.Actor.Kind = "agent" })}, "approval", 1},
		{"an approval by another person", []Record{change(good, func(r *Record) { r.Actor.ID = "per_2" })}, "approval", 1},
		{"an approval too late", []Record{change(good, func(r *Record) { r.TS += 600_000_001 })}, "approval", 1},
		{"an approval recorded as another action", []Record{change(good, func(r *Record) { r.Action = "budget.raise" })}, "approval", 1},
		{"an approval used twice", []Record{good, good}, "approval", 2},
		{"an act for another organization", []Record{change(good, func(r *Record) {
			other := doc
			other.Organization, other.Operation, other.RequestDigest = "org_2", "", ""
			other.Decision, other.PlanDigest = act.Approve, digest
			r.Attach = signedAct(t, other)
		})}, "approval", 1},
		{"an operation recorded as an approval", []Record{change(resume, func(r *Record) { r.Action, r.PlanDigest = ActionApprove, digest })}, "approval", 1},
		{"a signature for another document", []Record{change(good, func(r *Record) {
			r.Attach = &Attachment{r.Attach.Document, resume.Attach.Signature}
		})}, "approval", 1},
		{"an unknown method", []Record{change(good, func(r *Record) {
			r.Attach = &Attachment{r.Attach.Document, r.Attach.Signature}
			r.Attach.Signature.Method = act.MethodPasskey
		})}, "approval", 1},
		{"use up to the limit", []Record{change(hold(1), func(r *Record) { r.Budgets[0].Limit = 1 })}, "", 0},
		{"use above the limit", []Record{hold(1), change(hold(2), func(r *Record) { r.Budgets[0].Limit = 1 })}, "books", 2},
		{"a refusal above a lowered limit", []Record{hold(1), hold(2), change(hold(2), func(r *Record) {
			r.Outcome, r.Budgets[0].Limit, r.Budgets[0].Change = Refused, 1, 0
		})}, "", 0},
		{"a release above a lowered limit", []Record{hold(1), hold(2), hold(3), change(hold(2), func(r *Record) {
			r.TS, r.Budgets[0].Limit, r.Budgets[0].Change = start+3, 1, -1
		})}, "", 0},
		{"a use that the records do not make", []Record{hold(1), hold(3)}, "books", 2},
		{"a change that is not told", []Record{hold(1), change(hold(2), func(r *Record) { r.Budgets[0].Change = 0 })}, "books", 2},
		{"a refusal that raises", []Record{change(hold(1), func(r *Record) { r.Outcome = Refused })}, "books", 1},
		{"a negative hold", []Record{change(hold(1), func(r *Record) { r.Budgets[0].Held, r.Budgets[0].Captured = -1, 2 })}, "books", 1},
		{"an overrun and its stop", []Record{overrun("platform", 5), stopOf("run:run_1")}, "", 0},
		{"an overrun under its stop", []Record{overrun("platform", 5), stopOf("run:run_1"), overrun("platform", 1)}, "", 0},
		{"an overrun that stops nothing", []Record{overrun("platform", 5), hold(1)}, "books", 2},
		{"an overrun at the end that stops nothing", []Record{hold(1), change(overrun("platform", 5), func(r *Record) { r.TS++ })}, "books", 3},
		{"an overrun that stops another run", []Record{overrun("platform", 5), stopOf("run:run_2")}, "books", 2},
		{"an overrun after the resume", []Record{
			overrun("platform", 5), stopOf("run:run_1"), resumeOf(t, "run:run_1"), overrun("platform", 5), hold(1),
		}, "books", 5},
		{"an agent's overrun", []Record{overrun("agent", 5), stopOf("run:run_1")}, "books", 1},
		{"an overrun above what was captured", []Record{overrun("platform", 51), stopOf("run:run_1")}, "books", 1},
		{"an overrun comes back", []Record{overrun("platform", 5), stopOf("run:run_1"), change(overrun("platform", 5), func(r *Record) { r.Action = "refund_hold" })}, "", 0},
		{"more comes back", []Record{overrun("platform", 5), stopOf("run:run_1"), change(overrun("platform", 6), func(r *Record) { r.Action = "refund_hold" })}, "books", 3},
		{"a hold under a stop of the organization", []Record{stopOf("organization:org_1"), hold(1)}, "stop", 2},
		{"a hold under a stop of its project", []Record{stopOf("project:prj_1"), change(hold(1), func(r *Record) { r.Project = "prj_1" })}, "stop", 2},
		{"a hold under a stop of its run", []Record{stopOf("run:run_1"), change(hold(1), func(r *Record) { r.Run = "run_1" })}, "stop", 2},
		{"a cost that nobody signed", []Record{hold(1), change(hold(1), func(r *Record) {
			r.TS, r.Action, r.Budgets, r.Money = start+2, "resolve_hold", nil, &Amounts{Captured: &Money{1, "USD"}}
		})}, "approval", 2},
		{"a hold that is given back without a signature", []Record{hold(1), change(hold(1), func(r *Record) { r.TS, r.Action, r.Budgets = start+2, "resolve_hold", nil })}, "", 0},
		{"a hold under a stop of its agent", []Record{stopOf("agent:agt_1"), change(hold(1), func(r *Record) { r.Actor = Actor{Kind: "agent", ID: "agt_1", DelegatedBy: "per_1"} })}, "stop", 2},
		{"a hold beside the stop of another agent", []Record{stopOf("agent:agt_2"), change(hold(1), func(r *Record) { r.Actor = Actor{Kind: "agent", ID: "agt_1"} })}, "", 0},
		{"a hold of a person with an agent's name", []Record{stopOf("agent:agt_1"), change(hold(1), func(r *Record) { r.Actor = Actor{Kind: "person", ID: "agt_1"} })}, "", 0},
		{"a hold under a stop of who is paid", []Record{stopOf("provider:local"), change(hold(1), func(r *Record) { r.Budgets[0].Scope = "provider:local" })}, "stop", 2},
		{"a hold beside the stop of another provider", []Record{stopOf("provider:local"), change(hold(1), func(r *Record) { r.Budgets[0].Scope = "provider:local2" })}, "", 0},
		{"a release under a stop of who is paid", []Record{
			change(hold(1), func(r *Record) { r.Budgets[0].Scope = "provider:local" }), change(stopOf("provider:local"), func(r *Record) { r.TS = start + 1 }),
			change(hold(0), func(r *Record) { r.TS, r.Budgets[0].Scope, r.Budgets[0].Change = start+2, "provider:local", -1 }),
		}, "", 0},
		{"an effect that begins under a stop", []Record{stopOf("run:run_1"), change(hold(1), func(r *Record) { r.Action, r.Run, r.Budgets = "begin_hold", "run_1", nil })}, "stop", 2},
		{"a hold under one of two stops", []Record{
			stopOf("organization:org_1"), change(stopOf("organization:org_1"), func(r *Record) { r.Detail = map[string]string{"stop": "stp_2"} }),
			resumeOf(t, "organization:org_1"), hold(1),
		}, "stop", 4},
		{"a hold beside the stop of another run", []Record{stopOf("run:run_1"), change(hold(1), func(r *Record) { r.Run = "run_2" })}, "", 0},
		{"a hold after the resume", []Record{stopOf("organization:org_1"), resumeOf(t, "organization:org_1"), hold(1)}, "", 0},
		{"a hold that a stop refuses", []Record{stopOf("organization:org_1"), change(hold(1), func(r *Record) { r.Outcome, r.Budgets = Refused, nil })}, "", 0},
		{"a first limit under a stop", []Record{stopOf("organization:org_1"), firstLimit(t, 1, 60)}, "", 0},
		{"an agent lifts a stop", []Record{stopOf("run:run_1"), change(resumeOf(t, "run:run_1"), func(r *Record) { r.Actor, r.Attach = Actor{Kind: "agent", ID: "agt_1"}, nil })}, "approval", 2},
		{"a run that nobody signed", []Record{change(hold(1), func(r *Record) { r.Action, r.Budgets = "create_run", nil })}, "approval", 1},
		{"more time that nobody signed", []Record{change(hold(1), func(r *Record) { r.Action, r.Budgets = "extend_run", nil })}, "approval", 1},
		{"a repeat that nobody signed", []Record{change(hold(1), func(r *Record) { r.Action, r.Budgets = "allow_repeat", nil })}, "approval", 1},
		{"a refused run", []Record{change(hold(1), func(r *Record) { r.Action, r.Outcome, r.Budgets = "create_run", Refused, nil })}, "", 0},
		{"an agent's refund of its hold", []Record{change(hold(1), func(r *Record) { r.Action, r.Budgets = "refund_hold", nil })}, "refund", 1},
		{"an agent's refund of a charge", []Record{change(hold(1), func(r *Record) { r.Action, r.Budgets = "refund", nil })}, "refund", 1},
		{"a provider's refund of a charge", []Record{change(hold(1), func(r *Record) { r.Action, r.Actor.Kind, r.Budgets = "refund", "provider", nil })}, "", 0},
		{"a first limit and what was spent before it", []Record{firstLimit(t, 1, 60)}, "", 0},
		{"the window of a first limit is there already", []Record{hold(1), change(firstLimit(t, 1, 60), func(r *Record) { r.TS = start + 1 })}, "books", 2},
		{"a first limit tells another change", []Record{change(firstLimit(t, 1, 60), func(r *Record) { r.Budgets[0].Change = 59 })}, "books", 1},
		{"another action opens a window", []Record{change(firstLimit(t, 100, 60), func(r *Record) { r.Action = "place_hold" })}, "books", 1},
		{"windows are apart", []Record{hold(1), change(hold(1), func(r *Record) { r.Budgets[0].Window = "2026-12" })}, "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMemory(t)
			m.add(t, c.records...)
			_, fault, err := verify(m, m.export(t), VerifyOptions{Books: true})
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

func TestAWitnessFindsWhatTheKeyItselfHides(t *testing.T) {
	m := filled(t, 600)
	fork := filled(t, 199) // the same records, and then others
	fork.add(t, hold(199), hold(200))
	seen := func(n ...int64) []byte {
		var b bytes.Buffer
		for i, size := range n {
			b.WriteString(m.checkpoints[size])
			b.WriteString(strings.Repeat("\n", i%2)) // with and without an empty line
		}
		return b.Bytes()
	}
	short := filled(t, 500)
	for _, c := range []struct {
		name         string
		log          *memory
		opt          VerifyOptions
		at           string
		seq, through int64
	}{
		{"witnesses of this history, unordered", m, VerifyOptions{Witness: seen(600, 100, 300), AtLeast: 600}, "", 0, 0},
		{"rolled back", short, VerifyOptions{Witness: seen(100, 600)}, "witness", 501, 501},
		{"rolled back, by size", short, VerifyOptions{AtLeast: 501}, "at_least", 501, 501},
		{"not rolled back, by size", short, VerifyOptions{AtLeast: 500}, "", 0, 0},
		{"another history", fork, VerifyOptions{Witness: seen(100, 200)}, "witness", 200, 200},
	} {
		_, fault, err := verify(c.log, c.log.export(t), c.opt)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if (fault == nil) != (c.at == "") || fault != nil && (fault.At != c.at || fault.Seq != c.seq || fault.Through != c.through) {
			t.Errorf("%s: %+v", c.name, fault)
		}
	}
	empty := newMemory(t)
	empty.add(t)
	if _, fault, err := verify(m, m.export(t), VerifyOptions{Witness: []byte(empty.checkpoints[0])}); fault != nil || err != nil {
		t.Errorf("a witness of the empty log: %v, %v", fault, err)
	}
	for name, file := range map[string]string{"empty": "", "rubbish": "rubbish", "cut": m.checkpoints[600][:50], "no newline at the end": strings.TrimSuffix(m.checkpoints[600], "\n")} {
		if _, fault, err := verify(m, m.export(t), VerifyOptions{Witness: []byte(file)}); err == nil {
			t.Errorf("a witness file that is %s: %v", name, fault)
		}
	}
}

func TestAnotherKeyOrABrokenReaderIsNotAFaultOfARecord(t *testing.T) {
	m := filled(t, 10)
	export := m.export(t)
	for _, key := range []string{newKey(t, org, 8).Public(), newKey(t, "org_2", 7).Public()} {
		_, err := Verify(bytes.NewReader(export), key, VerifyOptions{})
		if fault, ok := err.(*Fault); !ok || fault.At != "header" {
			t.Errorf("another key: %v", err)
		}
	}
	if _, err := Verify(bytes.NewReader(export), "rubbish", VerifyOptions{}); err == nil || errors.As(err, new(*Fault)) {
		t.Errorf("rubbish for a key: %v", err)
	}
	broken := errors.New("broken")
	report, err := Verify(io.MultiReader(bytes.NewReader(export[:2000]), iotest.ErrReader(broken)), m.key.Public(), VerifyOptions{})
	if !errors.Is(err, broken) || errors.As(err, new(*Fault)) || report.Verified {
		t.Errorf("a broken reader: %v", err)
	}
	if _, err := Verify(iotest.OneByteReader(bytes.NewReader(export)), m.key.Public(), VerifyOptions{}); err != nil {
		t.Errorf("a slow reader: %v", err)
	}
}

// A mutation returns the export with one random change; nil if it changed nothing.
var mutations = []struct {
	name   string
	mutate func(rng *rand.Rand, good []byte, offsets []int) [][]byte
}{
	{"bit", func(rng *rand.Rand, good []byte, _ []int) [][]byte {
		i := rng.IntN(len(good))
		return [][]byte{good[:i], {good[i] ^ 1<<rng.IntN(8)}, good[i+1:]}
	}},
	{"swap", func(rng *rand.Rand, good []byte, at []int) [][]byte {
		a, b := rng.IntN(len(at)-1), rng.IntN(len(at)-1)
		if a > b {
			a, b = b, a
		}
		if a == b {
			return nil
		}
		return [][]byte{good[:at[a]], good[at[b]:at[b+1]], good[at[a+1]:at[b]], good[at[a]:at[a+1]], good[at[b+1]:]}
	}},
	{"drop", func(rng *rand.Rand, good []byte, at []int) [][]byte {
		a := rng.IntN(len(at) - 1)
		return [][]byte{good[:at[a]], good[at[a+1]:]}
	}},
	{"duplicate", func(rng *rand.Rand, good []byte, at []int) [][]byte {
		a, to := rng.IntN(len(at)-1), rng.IntN(len(at))
		return [][]byte{good[:at[to]], good[at[a]:at[a+1]], good[at[to]:]}
	}},
	{"truncate", func(rng *rand.Rand, good []byte, _ []int) [][]byte {
		return [][]byte{good[:rng.IntN(len(good))]}
	}},
	{"truncate at a line", func(rng *rand.Rand, good []byte, at []int) [][]byte {
		return [][]byte{good[:at[rng.IntN(len(at)-1)]]}
	}},
}

// small is a log of n short records, a checkpoint after every 250, an approval
// and a hold among each 500: ten thousand verifications of it take seconds.
func small(t testing.TB, n int) *memory {
	t.Helper()
	m := newMemory(t)
	var batch []Record
	for i := 1; i <= n; i++ {
		r := Record{TS: start + int64(i), Org: org, Actor: Actor{Kind: "agent", ID: "agt_1"}, Action: "plan.show", Outcome: Accepted}
		switch i % 500 {
		case 0:
			r = approval(t, r.TS, fmt.Sprintf("nonce-%012d", i))
		case 100:
			r = hold(int64(i))
		}
		if batch = append(batch, r); len(batch) == 250 || i == n {
			m.add(t, batch...)
			batch = nil
		}
	}
	return m
}

// stand is a verifier in the middle of an export that is good so far.
type stand struct {
	offset int // of the next line
	v      *verifier
}

// clone is a verifier that goes on from here by itself. The books are not asked for.
func (v *verifier) clone() *verifier {
	c := *v
	c.tree.nodes, c.scratch, c.acts = slices.Clone(v.tree.nodes), nil, maps.Clone(v.acts)
	c.overruns.above = maps.Clone(v.overruns.above)
	c.limits.of, c.limits.key = maps.Clone(v.limits.of), nil
	c.stops.inForce, c.stops.covers, c.stops.key = maps.Clone(v.stops.inForce), maps.Clone(v.stops.covers), nil
	c.report.Approvers = slices.Clone(v.report.Approvers)
	c.briefMember, c.budgetMember = c.brief.member, c.budget.member
	return &c
}

// stands verifies a good export and keeps a stand after each checkpoint: what a
// mutation behind one does cannot be seen before it.
func stands(t *testing.T, m *memory, good []byte) []stand {
	t.Helper()
	v, err := newVerifier(m.key.Public(), VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	at := []stand{{0, v.clone()}}
	r, offset := bufio.NewReader(bytes.NewReader(good)), 0
	for {
		line, err := nextLine(r, nil)
		if err == io.EOF {
			return at
		}
		offset += len(line) + 1
		if v.line++; v.one(line) != nil {
			t.Fatal("the export is not good")
		}
		if bytes.HasPrefix(line, []byte(`{"checkpoint":`)) {
			at = append(at, stand{offset, v.clone()})
		}
	}
}

// T13: bits, order, cuts and copies, at random in a log of 100,000 records. Each is
// verified from the last checkpoint before it, and one of a hundred from the start.
func TestEachOfTenThousandRandomMutationsIsFound(t *testing.T) {
	each, leaves := 10_000, 100_000
	if testing.Short() || raceDetector { // ten times slower, and no more is found
		each, leaves = 500, 2000
	}
	m := small(t, leaves)
	good := m.export(t)
	from := stands(t, m, good)
	offsets := []int{0}
	for i, c := range good {
		if c == '\n' {
			offsets = append(offsets, i+1)
		}
	}
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(22, uint64(w))) // a failure comes again
			for i := w; i < each; i += workers {
				mutation := mutations[i%len(mutations)]
				parts := mutation.mutate(rng, good, offsets)
				if parts == nil {
					continue
				}
				first := sort.Search(len(from), func(n int) bool { return from[n].offset > len(parts[0]) }) - 1
				if i%100 < workers {
					first = 0
				}
				parts[0] = parts[0][from[first].offset:]
				var readers []io.Reader
				for _, p := range parts {
					readers = append(readers, bytes.NewReader(p))
				}
				err := from[first].v.clone().run(bufio.NewReader(io.MultiReader(readers...)))
				if fault, ok := err.(*Fault); !ok || (fault.Seq < 1 && fault.At != "header") {
					t.Errorf("%s, number %d: %v", mutation.name, i, err)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzVerifyTakesTheGoodExportOnly(f *testing.F) {
	m := filled(f, 3)
	good := m.export(f)
	f.Add(good)
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, export []byte) {
		_, err := Verify(bytes.NewReader(export), m.key.Public(), VerifyOptions{Books: true})
		if err == nil && !bytes.Equal(export, good) {
			t.Errorf("this verifies: %q", export)
		}
	})
}

// writeMany streams n records of a usual size with a checkpoint after every 1,000.
func writeMany(b *testing.B, w io.Writer, n int64) Key {
	key := newKey(b, org, 7)
	e, err := NewExporter(w, inst, org, key.Public())
	if err != nil {
		b.Fatal(err)
	}
	r := hold(1)
	r.Project, r.Env, r.Run, r.IdempotencyKey = "prj_01hzx3v9q8", "production", "run_01hzx3v9q8", "01hzx3v9q8-order-1"
	r.PlanDigest, r.PromptHash = digest, digest
	r.Policy = &Policy{Verdict: "allow", Reasons: []string{"within_budget"}}
	r.Money = &Amounts{Expected: &Money{500, "USD"}, Ceiling: &Money{500, "USD"}}
	const number = 987_654_321 // stands for the number of the record, and for what is held then
	r.Budgets[0].Limit, r.Budgets[0].Held = 1e12, number
	for _, scope := range []string{"project:prj_01hzx3v9q8", "provider:prv_01hzx3v9q8", "run:run_01hzx3v9q8", "category:domains"} {
		r.Budgets = append(r.Budgets, r.Budgets[0])
		r.Budgets[len(r.Budgets)-1].Scope = scope
	}
	r.Seq = number
	template, err := r.Leaf()
	if err != nil {
		b.Fatal(err)
	}
	var tree Edge
	var scratch []tlog.Hash
	for i := int64(1); i <= n; i++ {
		leaf := bytes.ReplaceAll(template, fmt.Appendf(nil, "%d", number), fmt.Appendf(nil, "%d", i))
		h := LeafHash(leaf)
		scratch = tree.push(h, scratch[:0])
		if err := e.Record(leaf, h); err != nil {
			b.Fatal(err)
		}
		if i%1000 != 0 && i != n {
			continue
		}
		signed, err := key.Sign(Checkpoint{"purser/ins_1/org_1", i, tree.root(), start + i})
		if err == nil && i == n {
			err = e.Finish(signed)
		} else if err == nil {
			err = e.Checkpoint(signed)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	return key
}

// BenchmarkVerifyAMillion must stay below 10 s for each run (SPEND section 5), in constant memory.
func BenchmarkVerifyAMillion(b *testing.B) {
	path := filepath.Join(b.TempDir(), "export.jsonl")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	const n = 1_000_000
	key := writeMany(b, f, n)
	if size, err := f.Seek(0, io.SeekCurrent); err == nil {
		b.SetBytes(size)
	}
	b.ReportAllocs()
	b.ResetTimer()
	began := processorTime(b)
	defer func() { b.ReportMetric((processorTime(b)-began).Seconds()/float64(b.N), "cpu-s/op") }()
	for b.Loop() {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			b.Fatal(err)
		}
		report, err := Verify(f, key.Public(), VerifyOptions{Books: true})
		if err != nil || report.Records != n {
			b.Fatal(err)
		}
	}
}

// processorTime is what this process has used; on a busy machine it says more than
// the clock does.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// BenchmarkProve proves one record of a log of 100,000, and checks it.
func BenchmarkProve(b *testing.B) {
	m := newMemory(b)
	batch := make([]Record, 100_000)
	for i := range batch {
		batch[i] = hold(int64(i + 1))
	}
	m.add(b, batch...)
	for n := int64(0); b.Loop(); n++ {
		p := m.proof(b, n%100_000+1, 0)
		if _, err := VerifyProof(text(b, p), m.key.Public(), VerifyOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}
