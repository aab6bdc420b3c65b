package audit

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/purser-dev/purser/internal/act"
)

// memory is a log as a store keeps it: leaves, hashes by index, checkpoints.
type memory struct {
	key         Key
	leaves      [][]byte
	hashes      []tlog.Hash
	reads       int
	checkpoints map[int64]string
}

func (m *memory) ReadHashes(indices []int64) ([]tlog.Hash, error) {
	m.reads++
	out := make([]tlog.Hash, len(indices))
	for i, at := range indices {
		if at >= int64(len(m.hashes)) {
			return nil, fmt.Errorf("no hash %d", at)
		}
		out[i] = m.hashes[at]
	}
	return out, nil
}

const (
	inst   = "ins_1"
	org    = "org_1"
	start  = 1_790_000_000_000_000
	digest = "sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
)

func newKey(t testing.TB, organization string, seed byte) Key {
	t.Helper()
	origin, err := Origin(inst, organization)
	if err != nil {
		t.Fatal(err)
	}
	key, err := NewKey(origin, bytes.Repeat([]byte{seed}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newMemory(t testing.TB) *memory {
	return &memory{key: newKey(t, org, 7), checkpoints: map[int64]string{}}
}

// add appends records, whose seq it sets, and one checkpoint over them.
func (m *memory) add(t testing.TB, records ...Record) {
	t.Helper()
	size := int64(len(m.leaves))
	var leaves [][]byte
	for i, r := range records {
		r.Seq = size + int64(i) + 1
		leaf, err := r.Leaf()
		if err != nil {
			t.Fatal(err)
		}
		leaves = append(leaves, leaf)
	}
	hashes, root, err := Append(size, m, leaves)
	if err != nil {
		t.Fatal(err)
	}
	if at := FirstHash(size); at != int64(len(m.hashes)) {
		t.Fatalf("the hashes of record %d begin at %d, not %d", size+1, at, len(m.hashes))
	}
	m.leaves, m.hashes = append(m.leaves, leaves...), append(m.hashes, hashes...)
	m.sign(t, root)
}

func (m *memory) sign(t testing.TB, root tlog.Hash) {
	t.Helper()
	size := int64(len(m.leaves))
	signed, err := m.key.Sign(Checkpoint{"purser/ins_1/org_1", size, root, start + size})
	if err != nil {
		t.Fatal(err)
	}
	m.checkpoints[size] = signed
}

func (m *memory) export(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	e, err := NewExporter(&b, inst, org, m.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	for i, leaf := range m.leaves {
		seq := int64(i + 1)
		if err := e.Record(leaf, m.hashes[LeafIndex(seq)]); err != nil {
			t.Fatal(err)
		}
		if signed := m.checkpoints[seq]; signed != "" && seq < int64(len(m.leaves)) {
			if err := e.Checkpoint(signed); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := e.Finish(m.checkpoints[int64(len(m.leaves))]); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// hold is an accepted order of one cent against one budget of 1000.00; the n-th such.
func hold(n int64) Record {
	return Record{
		TS: start + n, Org: org, Actor: Actor{Kind: "agent", ID: "agt_1"}, Action: "order.place", Outcome: Accepted,
		Budgets: []BudgetLine{{Scope: "organization:org_1", Window: "2026-11", Currency: "USD", Limit: 100_000, Held: n, Change: 1}},
	}
}

// overrun is a capture of 50 cents, of which so much was above its hold; stopOf a stop.
func overrun(kind string, above int64) Record {
	return Record{
		TS: start, Org: org, Actor: Actor{Kind: kind, ID: "x_1"}, Run: "run_1", Action: "capture_hold", Target: "hld_1", Outcome: Accepted,
		Money: &Amounts{Actual: &Money{50, "USD"}, Overrun: &Money{above, "USD"}},
	}
}

func stopOf(target string) Record {
	return Record{
		TS: start, Org: org, Actor: Actor{Kind: "system", ID: "purser"}, Action: "stop", Target: target, Outcome: Accepted, Detail: map[string]string{"stop": "stp_" + target},
	}
}

// resumeOf lifts the stop of stopOf.
func resumeOf(t testing.TB, target string) Record {
	t.Helper()
	doc := act.Document{
		Organization: org, Operation: "resume", RequestDigest: digest, Approver: "per_1",
		Nonce: "nonce-of-a-resume", NotAfter: start + 10, Origin: "http://localhost:7777",
	}
	return Record{TS: start, Org: org, Actor: Actor{Kind: "person", ID: "per_1"}, Action: "resume", Target: "stp_" + target, Outcome: Accepted, Attach: signedAct(t, doc)}
}

var person = sync.OnceValue(func() act.Signer {
	s, err := act.Derive([]byte("correct horse battery staple"), act.KDF{Name: "argon2id", Salt: []byte("0123456789abcdef"), Time: 2, MemoryKiB: 19 << 10, Threads: 1})
	if err != nil {
		panic(err)
	}
	return s
})

// approval is a person's approval of a plan, signed.
func approval(t testing.TB, ts int64, nonce string) Record {
	t.Helper()
	doc := act.Document{
		Organization: org, PlanDigest: digest, Decision: act.Approve, Approver: "per_1",
		Nonce: nonce, NotAfter: ts + 600_000_000, Origin: "http://localhost:7777",
	}
	return Record{
		TS: ts, Org: org, Actor: Actor{Kind: "person", ID: "per_1"}, Action: ActionApprove, PlanDigest: digest, Outcome: Accepted,
		Attach: signedAct(t, doc),
	}
}

func signedAct(t testing.TB, doc act.Document) *Attachment {
	t.Helper()
	sig, err := person().Sign(doc)
	if err != nil {
		t.Fatal(err)
	}
	a, err := Attach(doc, sig)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// filled is a log of n records, a checkpoint after every 100, an approval after every 500.
func filled(t testing.TB, n int) *memory {
	t.Helper()
	m := newMemory(t)
	var batch []Record
	holds := int64(0)
	for i := 1; i <= n; i++ {
		if i%500 == 0 {
			batch = append(batch, approval(t, start+holds, fmt.Sprintf("nonce-%012d", i)))
		} else {
			holds++
			batch = append(batch, hold(holds))
		}
		if len(batch) == 100 || i == n {
			m.add(t, batch...)
			batch = nil
		}
	}
	return m
}

func verify(m *memory, export []byte, opt VerifyOptions) (Report, *Fault, error) {
	report, err := Verify(bytes.NewReader(export), m.key.Public(), opt)
	fault, _ := err.(*Fault)
	if fault != nil {
		err = nil
	}
	return report, fault, err
}

func lines(export []byte) []string {
	all := strings.SplitAfter(string(export), "\n")
	return all[:len(all)-1] // after the last newline there is nothing
}
