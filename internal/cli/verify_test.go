package cli

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/purser-dev/purser/internal/audit"
)

// exportOf writes the export of a log with one record, and tells its key.
func exportOf(t *testing.T, org string) (export, key string) {
	t.Helper()
	k, err := audit.NewKey("purser/ins_1/"+org, bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := audit.Record{Org: org, Seq: 1, TS: 1_790_000_000_000_000, Actor: audit.Actor{Kind: "person", ID: "per_1"}, Action: "set_up", Target: org, Outcome: audit.Accepted}.Leaf()
	if err != nil {
		t.Fatal(err)
	}
	hash := audit.LeafHash(leaf)
	var b bytes.Buffer
	e, err := audit.NewExporter(&b, "ins_1", org, k.Public())
	if err == nil {
		err = e.Record(leaf, hash)
	}
	if err != nil {
		t.Fatal(err)
	}
	note, err := k.Sign(audit.Checkpoint{Origin: "purser/ins_1/" + org, Size: 1, Root: hash, Time: 1_790_000_000_000_001})
	if err == nil {
		err = e.Finish(note)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.String(), k.Public()
}

// Whoever takes the wrong file must not stop an organization; whoever tampered with the
// right one must not pass for that, wherever they began.
func TestAWrongFileIsNoAlarmAndATamperedOneIs(t *testing.T) {
	good, key := exportOf(t, "org_1")
	other, otherKey := exportOf(t, "org_2")
	lines := strings.SplitAfter(good, "\n")
	for _, c := range []struct {
		name, file string
		exit       int
	}{
		{"the log itself", good, 0},
		{"nothing", "", 2},
		{"a text", "the log\n", 2},
		{"a table", "BillingPeriodStart,x_AuditSequence\n2026,org_1\n", 2},
		{"an event of it", `{"class_uid":6003,"raw_data":"{\"org\":\"org_1\"}"}` + "\n", 2},
		{"another log", other, 2},
		{"the proof of another log", `{"purser_audit_proof":1,"public_key":"` + otherKey + `"}`, 2},
		{"a changed header", strings.Replace(good, `"ins_1"`, `"ins_2"`, 1), 1},
		{"a header of another version", strings.Replace(good, `"purser_audit":1`, `"purser_audit":2`, 1), 1},
		{"another key in the header", strings.Replace(good, key, otherKey, 1), 1},
		{"another log's header", strings.SplitAfter(other, "\n")[0] + lines[1] + lines[2], 1},
		{"a text before the header", "hello\n" + good, 1},
		{"no header", lines[1] + lines[2], 1},
		{"a record and no header", lines[1], 1},
		{"a checkpoint and no header", lines[2], 1},
		{"a header alone, changed", strings.Replace(lines[0], `"purser_audit":1`, `"purser_audit":2`, 1), 1},
		{"a changed record", strings.Replace(good, `"per_1"`, `"per_2"`, 1), 1},
		{"the proof of it, with another key", `{"purser_audit_proof":1,"checkpoint":"purser/ins_1/org_1\n1\n","public_key":"` + otherKey + `"}`, 1},
	} {
		path := filepath.Join(t.TempDir(), "audit.jsonl")
		if err := os.WriteFile(path, []byte(c.file), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, from := range []string{path, "-"} {
			name := map[string]string{path: path, "-": "standard input"}[from]
			var out, errs bytes.Buffer
			exit := Run(t.Context(), []string{"audit", "verify", from, "--key", key}, World{In: piped(t, c.file), Out: &out, Err: &errs})
			said := out.String() + errs.String()
			if exit != c.exit || strings.Contains(said, "1970-01-01T00:00:00Z") {
				t.Errorf("%s, %s: exit %d, want %d: %s", c.name, name, exit, c.exit, said)
			}
			if alarm := strings.Contains(said, "NOT VERIFIED") && strings.Contains(said, "purser stop organization"); alarm != (c.exit == 1) {
				t.Errorf("%s, %s: an alarm, %v: %s", c.name, name, alarm, said)
			}
			if wrong := strings.Contains(said, "invalid_request: "+name+" is nothing of the log of this key (purser/ins_1/org_1)"); wrong != (c.exit == 2) {
				t.Errorf("%s, %s: a wrong file, %v: %s", c.name, name, wrong, said)
			}
			if strings.HasPrefix(said, "verified") != (c.exit == 0) {
				t.Errorf("%s, %s: it passes: %s", c.name, name, said)
			}
		}
	}
}

// piped is a text that comes through a pipe.
func piped(t *testing.T, text string) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() }) // ends the writing, if nobody reads
	go func() {
		_, _ = w.WriteString(text)
		_ = w.Close()
	}()
	return r
}

// A pipe gives what was read of it to nobody again, and may go on for long.
func TestATamperedLogIsAnAlarmHoweverLateItShows(t *testing.T) {
	good, key := exportOf(t, "org_1")
	for _, c := range []struct {
		name, text string
		alarm      bool
	}{
		{"short lines", strings.Repeat("hello\n", 1<<20) + good, true},
		{"a long first line", strings.Repeat("x", 3<<20) + "\n" + good, true},
		{"nothing of it", strings.Repeat("hello\n", 1<<20), false},
	} {
		var out, errs bytes.Buffer
		exit := Run(t.Context(), []string{"audit", "verify", "-", "--key", key}, World{In: piped(t, c.text), Out: &out, Err: &errs})
		if want := map[bool]int{true: 1, false: 2}[c.alarm]; exit != want {
			t.Errorf("%s: exit %d, want %d: %s%s", c.name, exit, want, &out, &errs)
		}
	}
}

// Nobody types an export: an interruption ends the wait for standard input.
func TestAnInterruptionEndsTheWaitForAnExport(t *testing.T) {
	_, key := exportOf(t, "org_1")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if exit := Run(ended(t), []string{"audit", "verify", "-", "--key", key}, World{In: r, Out: io.Discard, Err: io.Discard}); exit != 130 {
		t.Errorf("exit %d, want 130", exit)
	}
}

// That the log only grew needs what somebody kept; whoever verifies without it is told so.
func TestGrowthThatWasNotCheckedIsSaid(t *testing.T) {
	key, err := audit.NewKey("purser/ins_1/org_1", bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	var leaves [][]byte
	var hashes []tlog.Hash
	read := tlog.HashReaderFunc(func(at []int64) (out []tlog.Hash, _ error) {
		for _, i := range at {
			out = append(out, hashes[i])
		}
		return out, nil
	})
	notes := map[int64]string{}
	for seq := int64(1); seq <= 10; seq++ {
		leaf, err := audit.Record{
			Org: "org_1", Seq: seq, TS: 1_790_000_000_000_000 + seq, Actor: audit.Actor{Kind: "person", ID: "per_1"}, Action: "set_up", Target: "org_1", Outcome: audit.Accepted,
		}.Leaf()
		if err != nil {
			t.Fatal(err)
		}
		more, root, err := audit.Append(seq-1, read, [][]byte{leaf})
		if err != nil {
			t.Fatal(err)
		}
		leaves, hashes = append(leaves, leaf), append(hashes, more...)
		if notes[seq], err = key.Sign(audit.Checkpoint{Origin: "purser/ins_1/org_1", Size: seq, Root: root, Time: 1_790_000_000_000_000 + seq}); err != nil {
			t.Fatal(err)
		}
	}
	proved := func(from int64) audit.Proof {
		proof, err := audit.Prove(10, string(leaves[9]), notes[10], key.Public(), 10, from, read)
		if err != nil {
			t.Fatal(err)
		}
		return proof
	}
	proof := proved(5)
	forged := proved(8) // of a power of two even the form rests on the older root
	forged.Growth = []string{audit.LeafHash([]byte("another")).String()}
	impossible := proof
	impossible.From, impossible.Growth = 1000000, []string{}
	for _, c := range []struct {
		name    string
		proof   audit.Proof
		witness string
		exit    int
		said    string // "" for nothing of growth
	}{
		{"no witness", proof, "", 0, "cannot exclude: that records were changed since the log had 5 of them, which was NOT checked: give --witness FILE"},
		{"a witness of now", proof, notes[10], 0, "which was NOT checked"},
		{"a witness of then", proof, notes[5], 0, ""},
		{"a power of two, as it is", proved(8), "", 0, "since the log had 8 of them, which was NOT checked: give --witness FILE"},
		{"a power of two, forged", forged, "", 0, "since the log had 8 of them, which was NOT checked: give --witness FILE"},
		{"a power of two, as it is, and a witness", proved(8), notes[8], 0, ""},
		{"a power of two, forged, and a witness", forged, notes[8], 1, "is not the beginning of this one"},
		{"a size that the log has not reached", impossible, "", 1, "growth from 1000000 records, and the checkpoint has 10"},
	} {
		dir := t.TempDir()
		text, err := json.Marshal(c.proof)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "r.json"), text, 0o600)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "seen"), []byte(c.witness), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		args := []string{"audit", "verify", filepath.Join(dir, "r.json"), "--key", key.Public()}
		if c.witness != "" {
			args = append(args, "--witness", filepath.Join(dir, "seen"))
		}
		var out, errs bytes.Buffer
		exit := Run(t.Context(), args, World{Out: &out, Err: &errs})
		said := out.String() + errs.String()
		if exit != c.exit || !strings.Contains(said, c.said) || c.said == "" && strings.Contains(said, "NOT checked") {
			t.Errorf("%s: exit %d, want %d: %s", c.name, exit, c.exit, said)
		}
	}
}
