package store

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What ended a token, and what cancelled a charge, versions before did not write down. The
// migrations find it out as far as it can be told.
func TestWhatEndedBeforeAnUpgradeIsFoundOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.db")
	s := &Store{dialect: SQLite, now: time.Now}
	if err := s.openSQLite(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	oldSchema(t, s)
	insert := func(table string, given map[string]any) {
		t.Helper()
		rows, err := s.writer.QueryContext(t.Context(), "SELECT name, type, dflt_value IS NULL FROM pragma_table_info($1)", table)
		if err != nil {
			t.Fatal(err)
		}
		var names, places []string
		var values []any
		for rows.Next() {
			var name, kind string
			var needed bool
			if err := rows.Scan(&name, &kind, &needed); err != nil {
				t.Fatal(err)
			}
			value, ok := given[name]
			if !ok && !needed {
				continue
			}
			if !ok {
				value = map[bool]any{true: "", false: 0}[kind == "TEXT"]
			}
			names, values = append(names, name), append(values, value)
			places = append(places, fmt.Sprintf("$%d", len(values)))
		}
		_ = rows.Close()
		statement := "INSERT INTO " + table + " (" + strings.Join(names, ", ") + ") VALUES (" + strings.Join(places, ", ") + ")"
		if _, err := s.writer.ExecContext(t.Context(), statement, values...); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	type row = map[string]any
	const org = "org_1"
	insert("organizations", row{"id": org, "name": "one", "timezone": "UTC"})
	for id, revoked := range map[string]int{"agt_1": 0, "agt_gone": 50} {
		insert("agents", row{"organization": org, "id": id, "name": id, "revoked_at": revoked})
	}
	for id, ended := range map[string]int{"run_ended": 50, "run_open": 0} {
		insert("runs", row{"organization": org, "id": id, "agent": "agt_1", "ended_at": ended, "expires_at": 100})
	}
	insert("oauth_grants", row{"organization": org, "id": "gra_gone", "revoked_at": 60})
	want := map[string]string{"tok_stopped": "stop", "tok_ended": "run", "tok_itself": "", "tok_of_gone": "", "tok_disconnected": "", "tok_good": ""}
	insert("tokens", row{"organization": org, "id": "tok_stopped", "hash": "1", "kind": "agent", "principal": "agt_1", "run": "run_open", "revoked_at": 40})
	insert("tokens", row{"organization": org, "id": "tok_ended", "hash": "2", "kind": "agent", "principal": "agt_1", "run": "run_ended", "revoked_at": 50})
	insert("tokens", row{"organization": org, "id": "tok_itself", "hash": "3", "kind": "agent", "principal": "agt_1", "run": "run_open", "revoked_at": 45})
	insert("tokens", row{"organization": org, "id": "tok_of_gone", "hash": "4", "kind": "agent", "principal": "agt_gone", "run": "run_ended", "revoked_at": 50})
	insert("tokens", row{"organization": org, "id": "tok_disconnected", "hash": "5", "kind": "agent", "principal": "agt_1", "run": "run_ended", "revoked_at": 50, "grant_id": "gra_gone"})
	insert("tokens", row{"organization": org, "id": "tok_good", "hash": "6", "kind": "agent", "principal": "agt_1", "run": "run_open"})
	insert("stop_effects", row{"organization": org, "stop": "stp_1", "n": 1, "kind": "token", "target": "tok_stopped", "state": "done"})
	for id, state := range map[string]string{"res_retired": "retiring", "res_live": "live"} {
		insert("resources", row{"organization": org, "id": id, "name": id, "state": state})
	}
	charges := map[string]string{"sub_1": "", "sub_2": "active", "sub_3": ""}
	insert("subscriptions", row{"organization": org, "id": "sub_1", "resource": "res_retired", "state": "cancelled"}) // of an earlier service
	insert("subscriptions", row{"organization": org, "id": "sub_2", "resource": "res_retired", "state": "cancelled"})
	insert("subscriptions", row{"organization": org, "id": "sub_3", "resource": "res_live", "state": "cancelled"})
	insert("approvals", row{"organization": org, "id": "apr_1", "plan": "pln_1", "decision": "approve", "epoch": 7})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	now, err := Open(t.Context(), Config{Database: path, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer now.Close()
	for table, column := range map[string]string{"tokens": "revoked_by", "subscriptions": "retired_from", "resources": "retired_from"} {
		expected := map[string]map[string]string{"tokens": want, "subscriptions": charges, "resources": {"res_retired": "live", "res_live": ""}}[table]
		for id, value := range expected {
			var got string
			if err := now.writer.QueryRowContext(t.Context(), "SELECT "+column+" FROM "+table+" WHERE id = $1", id).Scan(&got); err != nil || got != value {
				t.Errorf("%s of %s is %q, want %q: %v", column, id, got, value, err)
			}
		}
	}
	// What nothing reads goes, and nothing beside it.
	var decision string
	var epochs int
	if err := now.writer.QueryRowContext(t.Context(), "SELECT decision, (SELECT COUNT(*) FROM pragma_table_info('approvals') WHERE name = 'epoch') FROM approvals WHERE id = 'apr_1'").
		Scan(&decision, &epochs); err != nil || decision != "approve" || epochs != 0 {
		t.Errorf("the approval says %q, with %d epochs: %v", decision, epochs, err)
	}
}
