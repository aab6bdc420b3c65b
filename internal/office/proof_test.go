package office_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/store/db"
)

// Drill i: whatever is changed in the log behind the office's back, the verifier
// names the first record that is not what was written.
func TestAChangedLogIsFoundAndNamed(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(h *house, seq int64)
	}{
		{"one byte of a record", func(h *house, seq int64) {
			h.sql("UPDATE audit SET leaf = replace(leaf, '\"outcome\":\"accepted\"', '\"outcome\":\"bccepted\"') WHERE organization = $1 AND seq = $2", h.owner.Organization, seq)
		}},
		{"the sum of a charge", func(h *house, seq int64) {
			h.sql("UPDATE audit SET leaf = replace(leaf, '1200', '1100') WHERE organization = $1 AND seq = $2", h.owner.Organization, seq)
		}},
		{"a hash of the tree", func(h *house, seq int64) {
			n := audit.LeafIndex(seq)
			row, err := h.store.Read().AuditHashes(h.ctx, db.AuditHashesParams{Organization: h.owner.Organization, N: n})
			if err != nil {
				h.t.Fatal(err)
			}
			row.Hashes[(n-row.N)*32] ^= 1
			h.sql("UPDATE audit_hashes SET hashes = $3 WHERE organization = $1 AND n = $2", h.owner.Organization, row.N, row.Hashes)
		}},
	}
	eachDB(t, func(t *testing.T, database string) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				h := open(t, fresh(t, database))
				h.seller.pay = h.rail()
				_, agent := h.run(2000)
				must[purser.Plan](h, agent, "apply", purser.Apply{Plan: h.planned(agent, domain("superseal.club")).ID})
				h.once(1200)
				seq := int64(0)
				for _, r := range h.records() {
					if r.Action == "charge" {
						seq = r.Seq
					}
				}
				h.disarm()
				tt.change(h, seq)
				if report := h.export(); report.Verified || report.Fault == nil || report.Fault.Seq != seq {
					t.Errorf("verified %v, fault %+v, want it at record %d", report.Verified, report.Fault, seq)
				}
			})
		}
		t.Run("a record that is gone", func(t *testing.T) {
			h := open(t, fresh(t, database))
			_, _ = h.run(2000)
			h.verify()
			h.disarm()
			h.sql("DELETE FROM audit WHERE organization = $1 AND seq = 2", h.owner.Organization)
			if report := h.export(); report.Verified || report.Fault == nil || report.Fault.Seq != 2 {
				t.Errorf("verified %v, fault %+v, want it at record 2", report.Verified, report.Fault)
			}
		})
	})
}

// disarm takes away the triggers that keep statements from changing the log, as
// somebody would who may alter the schema.
func (h *house) disarm() {
	for _, table := range []string{"audit", "audit_hashes", "checkpoints", "movements"} {
		if strings.HasPrefix(h.db, "postgres") {
			h.sql("DROP TRIGGER " + table + "_append_only ON " + table)
			continue
		}
		h.sql("DROP TRIGGER " + table + "_no_update")
		h.sql("DROP TRIGGER " + table + "_no_delete")
	}
}

// export verifies what the log says now.
func (h *house) export() audit.Report {
	h.t.Helper()
	var out bytes.Buffer
	if err := h.o.ExportAudit(h.ctx, h.owner, purser.ExportAudit{}, &out); err != nil && purser.CodeOf(err) != purser.BooksBroken {
		h.t.Fatal(err)
	}
	key := must[purser.AuditPage](h, h.owner, "audit_log", purser.AskAudit{Limit: 1}).PublicKey
	report, err := audit.Verify(&out, key, audit.VerifyOptions{Books: true})
	if (err == nil) != report.Verified {
		h.t.Errorf("verified %v, and the error is %v", report.Verified, err)
	}
	return report
}
