package audit

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func TestAppendStoresWhatTlogStoresHoweverTheLeavesAreCut(t *testing.T) {
	const n = 300
	want := &memory{}
	for i := range int64(n) {
		hashes, err := tlog.StoredHashes(i, fmt.Appendf(nil, "leaf %d", i), want)
		if err != nil {
			t.Fatal(err)
		}
		want.hashes = append(want.hashes, hashes...)
	}
	for _, step := range []int{1, 2, 7, 64, 299, n} {
		got := &memory{}
		for size := 0; size < n; size += step {
			var leaves [][]byte
			for i := size; i < min(size+step, n); i++ {
				leaves = append(leaves, fmt.Appendf(nil, "leaf %d", i))
			}
			got.reads = 0
			hashes, root, err := Append(int64(size), got, leaves)
			if err != nil {
				t.Fatal(err)
			}
			if got.reads > 1 {
				t.Fatalf("%d reads for one batch", got.reads)
			}
			got.hashes = append(got.hashes, hashes...)
			wantRoot, err := tlog.TreeHash(int64(size+len(leaves)), want)
			if err != nil || root != wantRoot {
				t.Fatalf("the root of %d records in steps of %d is %v, want %v, %v", size+len(leaves), step, root, wantRoot, err)
			}
		}
		if fmt.Sprint(got.hashes) != fmt.Sprint(want.hashes) {
			t.Fatalf("in steps of %d other hashes are stored", step)
		}
	}
}

func TestAppendOfNothingIsTheSameTree(t *testing.T) {
	_, root, err := Append(0, nil, nil)
	if err != nil || root != tlog.Hash(sha256.Sum256(nil)) {
		t.Errorf("the empty tree: %v, %v", root, err)
	}
	m := filled(t, 5)
	hashes, root, err := Append(5, m, nil)
	want, errRoot := Root(5, m)
	if err != nil || errRoot != nil || len(hashes) != 0 || root != want {
		t.Errorf("%v, %v, %v", hashes, root, err)
	}
}

func TestAppendReportsABadReader(t *testing.T) {
	broken := errors.New("broken")
	if _, _, err := Append(3, tlog.HashReaderFunc(func([]int64) ([]tlog.Hash, error) { return nil, broken }), nil); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	if _, _, err := Append(3, tlog.HashReaderFunc(func([]int64) ([]tlog.Hash, error) { return nil, nil }), nil); err == nil {
		t.Error("too few hashes were taken")
	}
	if _, _, err := Append(-1, nil, nil); err == nil {
		t.Error("a negative size was taken")
	}
}

func TestProofsHoldForTheirRecordAndTreeOnly(t *testing.T) {
	m := filled(t, 137)
	root, err := Root(137, m)
	if err != nil {
		t.Fatal(err)
	}
	for _, seq := range []int64{1, 2, 64, 65, 136, 137} {
		proof, err := ProveInclusion(137, seq, m)
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckInclusion(proof, 137, root, seq, m.leaves[seq-1]); err != nil {
			t.Errorf("record %d: %v", seq, err)
		}
		if err := CheckInclusion(proof, 137, root, seq, append(m.leaves[seq-1], ' ')); err == nil {
			t.Errorf("record %d: another leaf was proved", seq)
		}
	}
	if _, err := ProveInclusion(137, 138, m); err == nil {
		t.Error("a record after the end was proved")
	}
	older, err := Root(100, m)
	if err != nil {
		t.Fatal(err)
	}
	proof, err := ProveConsistency(137, 100, m)
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckConsistency(proof, 137, root, 100, older); err != nil {
		t.Error(err)
	}
	older[0] ^= 1
	if err := CheckConsistency(proof, 137, root, 100, older); err == nil {
		t.Error("another older tree was proved")
	}
}

func TestACheckpointIsThisNote(t *testing.T) {
	key := newKey(t, org, 7)
	c := Checkpoint{"purser/ins_1/org_1", 3, tlog.Hash(sha256.Sum256(nil)), 1_790_000_000_000_003}
	signed, err := key.Sign(c)
	if err != nil {
		t.Fatal(err)
	}
	want := "purser/ins_1/org_1\n3\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\ntime 1790000000000003\n\n— purser/ins_1/org_1 "
	if !strings.HasPrefix(signed, want) || strings.Count(signed, "\n") != 6 {
		t.Errorf("%q", signed)
	}
	got, err := OpenCheckpoint(signed, key.Public())
	if err != nil || got != c {
		t.Errorf("%+v, %v", got, err)
	}
	cosigned := signed + "— witness.example abcdefghabcdefghabcd\n"
	if got, err := OpenCheckpoint(cosigned, key.Public()); err != nil || got != c {
		t.Errorf("with a witness: %+v, %v", got, err)
	}
	for i := range signed {
		for bit := range 8 {
			changed := []byte(signed)
			changed[i] ^= 1 << bit
			if _, err := OpenCheckpoint(string(changed), key.Public()); !errors.Is(err, ErrCheckpoint) {
				t.Fatalf("bit %d of byte %d: %v", bit, i, err)
			}
		}
	}
	for name, public := range map[string]string{"another key": newKey(t, org, 8).Public(), "another log's": newKey(t, "org_2", 7).Public()} {
		if _, err := OpenCheckpoint(signed, public); !errors.Is(err, ErrCheckpoint) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c.Origin = "purser/ins_1/org_2"
	if _, err := key.Sign(c); err == nil {
		t.Error("the key signed for another log")
	}
}

func TestTheKeysSignatureOverAnotherSpellingIsNoCheckpoint(t *testing.T) {
	key := newKey(t, org, 7)
	good := Checkpoint{"purser/ins_1/org_1", 3, tlog.Hash{}, 1_790_000_000_000_003}.text()
	for name, text := range map[string]string{
		"another origin":    strings.Replace(good, "org_1", "org_2", 1),
		"a leading zero":    strings.Replace(good, "\n3\n", "\n03\n", 1),
		"a negative size":   strings.Replace(good, "\n3\n", "\n-3\n", 1),
		"a plus":            strings.Replace(good, "time 1", "time +1", 1),
		"no time":           strings.Replace(good, "time 1790000000000003\n", "", 1),
		"one more line":     good + "more\n",
		"not the word time": strings.Replace(good, "time ", "", 1),
		"a short root":      strings.Replace(good, "AAAA", "", 1),
	} {
		signed, err := note.Sign(&note.Note{Text: text}, *key.signer)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := OpenCheckpoint(string(signed), key.Public()); !errors.Is(err, ErrCheckpoint) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

func TestAKeyDoesNotPrintItsSeed(t *testing.T) {
	key := newKey(t, org, 7)
	hidden := struct{ k Key }{key}
	for _, out := range []string{fmt.Sprintf("%v %+v %#v %s", key, key, key, key), fmt.Sprintf("%v %+v %#v", hidden, hidden, hidden)} {
		if strings.Contains(out, strings.Repeat("\a", 4)) || strings.Contains(out, "7 7 7 7") || strings.Contains(out, "0x7, 0x7") || strings.Contains(out, "PRIVATE") {
			t.Errorf("%s", out)
		}
	}
}

func TestOriginRefusesNamesThatRunTogether(t *testing.T) {
	for _, id := range []string{"", "a/b", "a+b", "a b", "a\n", "a\u00a0"} {
		if got, err := Origin(inst, id); err == nil {
			t.Errorf("%q became %q", id, got)
		}
	}
}

func TestALeafThatCannotBeRecordedIsRefused(t *testing.T) {
	for name, change := range map[string]func(*Record){
		"no seq":              func(r *Record) { r.Seq = 0 },
		"no time":             func(r *Record) { r.TS = 0 },
		"no organization":     func(r *Record) { r.Org = "" },
		"no action":           func(r *Record) { r.Action = "" },
		"no outcome":          func(r *Record) { r.Outcome = "" },
		"no actor":            func(r *Record) { r.Actor = Actor{} },
		"text that is broken": func(r *Record) { r.Target = "\xff" },
		"a number too large":  func(r *Record) { r.Budgets[0].Limit = 1 << 60 },
		"a book of detail":    func(r *Record) { r.Detail = map[string]string{"x": strings.Repeat("x", MaxLeaf)} },
	} {
		r := hold(1)
		r.Seq = 1
		if _, err := r.Leaf(); err != nil {
			t.Fatal(err)
		}
		change(&r)
		if leaf, err := r.Leaf(); !errors.Is(err, ErrRecord) {
			t.Errorf("%s: %s, %v", name, leaf, err)
		}
	}
}
