package audit

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/purser-dev/purser/internal/act"
)

// proof proves a record of m against its last checkpoint.
func (m *memory) proof(t testing.TB, seq, from int64) Proof {
	t.Helper()
	size := int64(len(m.leaves))
	p, err := Prove(seq, string(m.leaves[seq-1]), m.checkpoints[size], m.key.Public(), size, from, m)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func text(t testing.TB, p Proof) []byte {
	t.Helper()
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAProofShowsItsRecordToWhoeverHasTheKeyOnly(t *testing.T) {
	m := filled(t, 600)
	key := m.key.Public()
	for _, seq := range []int64{1, 2, 499, 500, 600} { // 500 is an approval, with its signature
		got, err := VerifyProof(text(t, m.proof(t, seq, 0)), key, VerifyOptions{})
		if err != nil || got.Record.Seq != seq || got.Checkpoint.Size != 600 || got.Witnessed != 0 {
			t.Errorf("record %d: %+v, %v", seq, got, err)
		}
	}
	seen := func(sizes ...int64) []byte {
		var b strings.Builder
		for _, s := range sizes {
			b.WriteString(m.checkpoints[s])
		}
		return []byte(b.String())
	}
	fork := filled(t, 199)
	fork.add(t, hold(199), hold(200))
	for _, c := range []struct {
		name string
		p    Proof
		opt  VerifyOptions
		at   string
	}{
		{"a witness of this size", m.proof(t, 7, 0), VerifyOptions{Witness: seen(600)}, ""},
		{"a witness of an older size, proved from there", m.proof(t, 7, 100), VerifyOptions{Witness: seen(100)}, ""},
		{"an older size that was not asked about", m.proof(t, 7, 0), VerifyOptions{Witness: seen(100)}, "witness"},
		{"a witness of more", fork.proof(t, 7, 0), VerifyOptions{Witness: seen(600)}, "witness"},
		{"a witness of another history, of this size", fork.proof(t, 7, 0), VerifyOptions{Witness: seen(200)}, "witness"},
		{"fewer records than are known", m.proof(t, 7, 0), VerifyOptions{AtLeast: 601}, "at_least"},
		{"as many as are known", m.proof(t, 7, 0), VerifyOptions{AtLeast: 600}, ""},
	} {
		_, err := VerifyProof(text(t, c.p), key, c.opt)
		fault, _ := err.(*Fault)
		if (err == nil) != (c.at == "") || err != nil && (fault == nil || fault.At != c.at || fault.Seq != 7) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	// The growth proof holds for what the witness has seen, and for nothing else.
	other := filled(t, 99)
	for n := int64(100); n < 300; n++ {
		other.add(t, hold(n))
	}
	lied := m.checkpoints[100]
	if _, err := VerifyProof(text(t, other.proof(t, 7, 100)), key, VerifyOptions{Witness: []byte(lied)}); err != nil {
		t.Errorf("the same first hundred records: %v", err)
	}
	short := newMemory(t)
	for n := int64(1); n <= 120; n++ {
		r := hold(n)
		r.Actor.ID = "agt_2"
		short.add(t, r)
	}
	if _, err := VerifyProof(text(t, short.proof(t, 7, 100)), key, VerifyOptions{Witness: []byte(lied)}); err == nil {
		t.Error("another first hundred records passed for those that the witness has seen")
	}
}

// Whoever has no older root still finds a growth proof that can be of no log: of a size that
// the log has not reached, of another form, or (where it does not rest on the older root)
// one that leads elsewhere.
func TestAGrowthProofIsCheckedWithoutAWitness(t *testing.T) {
	m := filled(t, 600)
	key := m.key.Public()
	for from := int64(1); from < 600; from++ {
		p := m.proof(t, 7, from)
		got, err := VerifyProof(text(t, p), key, VerifyOptions{})
		if err != nil || got.From != from || got.Grown {
			t.Fatalf("from %d, as it was made: %+v, %v", from, got, err)
		}
		if from&(from-1) == 0 {
			continue // it rests on the older root
		}
		for i := range p.Growth {
			spoiled := p
			spoiled.Growth = slices.Clone(p.Growth)
			spoiled.Growth[i] = LeafHash([]byte("spoiled")).String()
			if _, err := VerifyProof(text(t, spoiled), key, VerifyOptions{}); faultAt(err) != "growth" {
				t.Fatalf("from %d, hash %d is another one: %v", from, i, err)
			}
		}
	}
	for name, change := range map[string]func(*Proof){
		"more records than the log has": func(p *Proof) { p.From, p.Growth = 1000000, nil },
		"fewer than none":               func(p *Proof) { p.From = -5 },
		"hashes, and from no size":      func(p *Proof) { p.From = 0 },
		"no hashes":                     func(p *Proof) { p.Growth = nil },
		"a hash less":                   func(p *Proof) { p.Growth = p.Growth[1:] },
		"a hash more":                   func(p *Proof) { p.Growth = append(p.Growth, p.Growth[0]) },
		"a hash that is none":           func(p *Proof) { p.Growth[0] = "AAAA" },
		"the whole log, with hashes":    func(p *Proof) { p.From = 600 },
	} {
		for _, from := range []int64{5, 64} {
			p := m.proof(t, 7, from)
			change(&p)
			if _, err := VerifyProof(text(t, p), key, VerifyOptions{}); faultAt(err) != "growth" {
				t.Errorf("from %d, %s: %v", from, name, err)
			}
		}
	}
	got, err := VerifyProof(text(t, m.proof(t, 7, 100)), key, VerifyOptions{Witness: []byte(m.checkpoints[100])})
	if err != nil || !got.Grown {
		t.Errorf("a witness of the older size: %+v, %v", got, err)
	}
	// A witness of the present size tells nothing of the older one.
	got, err = VerifyProof(text(t, m.proof(t, 7, 100)), key, VerifyOptions{Witness: []byte(m.checkpoints[600])})
	if err != nil || got.Grown {
		t.Errorf("a witness of this size: %+v, %v", got, err)
	}
}

func faultAt(err error) string {
	if fault, ok := err.(*Fault); ok {
		return fault.At
	}
	return ""
}

func TestAChangedProofIsFound(t *testing.T) {
	m := filled(t, 600)
	other := newKey(t, org, 8)
	flip := func(s string) string {
		if s[0] == 'A' {
			return "B" + s[1:]
		}
		return "A" + s[1:]
	}
	for name, change := range map[string]func(*Proof){
		"a digit of the record":      func(p *Proof) { p.Leaf = strings.Replace(p.Leaf, "100000", "900000", 1) },
		"space in the record":        func(p *Proof) { p.Leaf += " " },
		"another record":             func(p *Proof) { p.Leaf = string(m.leaves[7]) },
		"another number":             func(p *Proof) { p.Seq = 8 },
		"no number":                  func(p *Proof) { p.Seq = 0 },
		"a hash of the path":         func(p *Proof) { p.Path[3] = flip(p.Path[3]) },
		"a hash less":                func(p *Proof) { p.Path = p.Path[1:] },
		"a hash that is none":        func(p *Proof) { p.Path[0] = "AAAA" },
		"the path of another record": func(p *Proof) { p.Path = m.proof(t, 8, 0).Path },
		"an older checkpoint":        func(p *Proof) { p.Checkpoint = m.checkpoints[500] },
		"a cut checkpoint":           func(p *Proof) { p.Checkpoint = p.Checkpoint[:60] },
		"another key":                func(p *Proof) { p.PublicKey = other.Public() },
		"another version":            func(p *Proof) { p.Version = 2 },
	} {
		p := m.proof(t, 7, 0)
		change(&p)
		if _, err := VerifyProof(text(t, p), m.key.Public(), VerifyOptions{}); err == nil {
			t.Errorf("%s: it verifies", name)
		} else if _, ok := err.(*Fault); !ok {
			t.Errorf("%s: %v is no fault", name, err)
		}
	}
	if _, err := VerifyProof(text(t, m.proof(t, 7, 0)), newKey(t, "org_2", 7).Public(), VerifyOptions{}); err == nil {
		t.Error("it verifies for the log of another organization")
	}
	for _, rubbish := range []string{"", "{}", "[]", `{"purser_audit":1}`, "x"} {
		if _, err := VerifyProof([]byte(rubbish), m.key.Public(), VerifyOptions{}); err == nil {
			t.Errorf("%q verifies", rubbish)
		}
	}
	// A record that the key's own holder should never have written.
	m.add(t, func() Record { r := approval(t, start+600, "nonce-xxxxxxxxxxxx"); r.Attach = nil; return r }())
	if _, err := VerifyProof(text(t, m.proof(t, 601, 0)), m.key.Public(), VerifyOptions{}); err == nil {
		t.Error("an approval without a signature verifies")
	}
	doc := act.Document{
		Organization: org, PlanDigest: digest, Decision: act.Approve, Approver: "per_2",
		Nonce: "nonce-0123456789", NotAfter: start + 1e9, Origin: "http://localhost:7777",
	}
	m.add(t, func() Record {
		r := approval(t, start+600, "nonce-xxxxxxxxxxxx")
		r.Attach = signedAct(t, doc)
		return r
	}())
	if _, err := VerifyProof(text(t, m.proof(t, 602, 0)), m.key.Public(), VerifyOptions{}); err == nil {
		t.Error("an approval with the act of another person verifies")
	}
}

// The books of the verifier against a model that moves money in all ways there
// are; and with each amount of it changed by one.
func TestTheVerifierDerivesEveryMovementOfABudget(t *testing.T) {
	change := func(r Record, f func(*Record)) Record { f(&r); return r }
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(4, seed))
		records := movements(t, rng, 60)
		m := newMemory(t)
		m.add(t, records...)
		if _, fault, err := verify(m, m.export(t), VerifyOptions{Books: true}); fault != nil || err != nil {
			t.Fatalf("seed %d: %v, %v", seed, fault, err)
		}
		at := rng.IntN(len(records))
		for len(records[at].Budgets) == 0 {
			at = rng.IntN(len(records))
		}
		line := rng.IntN(len(records[at].Budgets))
		for name, f := range map[string]func(*BudgetLine){
			"held":             func(b *BudgetLine) { b.Held++ },
			"captured":         func(b *BudgetLine) { b.Captured++ },
			"refunded":         func(b *BudgetLine) { b.Refunded++ },
			"change":           func(b *BudgetLine) { b.Change-- },
			"held to captured": func(b *BudgetLine) { b.Held--; b.Captured++ },
			"both refunded":    func(b *BudgetLine) { b.Captured++; b.Refunded++ },
		} {
			bad := append([]Record(nil), records...)
			bad[at] = change(bad[at], func(r *Record) {
				r.Budgets = append([]BudgetLine(nil), r.Budgets...)
				f(&r.Budgets[line])
			})
			m := newMemory(t)
			m.add(t, bad...)
			_, fault, err := verify(m, m.export(t), VerifyOptions{Books: true})
			// What changed only on the inside of the last record of its windows is seen
			// there when another budget tells otherwise; all else at once or at the next.
			if err != nil || fault == nil || fault.At != "books" || fault.Seq < int64(at+1) {
				t.Errorf("seed %d, %s of record %d: %v, %v", seed, name, at+1, fault, err)
			}
		}
	}
}

// movements are n decisions on three budgets: holds, captures in parts, releases,
// refunds, expiries, charges at once, refusals, lowered limits.
func movements(t testing.TB, rng *rand.Rand, n int) []Record {
	t.Helper()
	type held struct{ left, captured, refunded int64 }
	var use BudgetLine
	var open []held
	scopes := []string{"organization:org_1", "project:prj_1", "run:run_1"}
	limit := int64(10_000)
	var out []Record
	for i := range n {
		r := Record{TS: start + int64(i), Org: org, Actor: Actor{Kind: "agent", ID: "agt_1"}, Outcome: Accepted}
		h := &held{}
		if len(open) > 0 {
			h = &open[rng.IntN(len(open))]
		}
		part := func(all int64) int64 { return 1 + rng.Int64N(all) }
		add := int64(0)
		switch kind := rng.IntN(7); {
		case kind == 0 && use.Use()+100 <= limit:
			amount := part(100)
			open = append(open, held{left: amount})
			r.Action, use.Held, add = "hold", use.Held+amount, amount
		case kind == 1 && h.left > 0:
			amount := part(h.left)
			h.left, h.captured = h.left-amount, h.captured+amount
			r.Action, use.Held, use.Captured = "capture", use.Held-amount, use.Captured+amount
		case kind == 2 && h.left > 0:
			r.Action, use.Held, add, h.left = "release", use.Held-h.left, -h.left, 0
		case kind == 3 && h.captured > h.refunded:
			amount := part(h.captured - h.refunded)
			h.refunded += amount
			r.Action, r.Actor.Kind, use.Refunded, add = "refund", "provider", use.Refunded+amount, -amount
		case kind == 4 && use.Use()+100 <= limit:
			amount := part(100)
			open = append(open, held{captured: amount})
			r.Action, use.Captured, add = "charge", use.Captured+amount, amount
		case kind == 5:
			limit = max(0, use.Use()-5+rng.Int64N(10_000))
			for _, scope := range scopes {
				set := sets("set_budget", scope, fmt.Sprintf("%d.%02d USD", limit/100, limit%100), "month")
				set.TS = r.TS
				out = append(out, signed(t, set))
			}
			continue
		default:
			r.Action, r.Outcome = "hold", Refused
		}
		for _, scope := range scopes {
			r.Budgets = append(r.Budgets, BudgetLine{
				Scope: scope, Window: "2026-11", Currency: "USD", Limit: limit, Held: use.Held, Captured: use.Captured, Refunded: use.Refunded, Change: add,
			})
		}
		out = append(out, r)
	}
	return out
}
