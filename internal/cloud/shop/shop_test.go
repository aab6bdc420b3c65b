package shop

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/cloud/state"
	"github.com/purser-dev/purser/provider"
	"github.com/purser-dev/purser/provider/providertest"
)

func openRecords(t *testing.T, dir string, now func() time.Time) *records {
	t.Helper()
	db, err := state.Open(t.Context(), state.Options{Dir: dir, Now: now, Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if err := db.Migrate(t.Context(), "shop", schema); err != nil {
		t.Fatal(err)
	}
	s, err := newRecords(t.Context(), db, now)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func keysUnder(t *testing.T, s *records, prefix, after string, limit int) []string {
	t.Helper()
	keys := []string{}
	err := s.View(t.Context(), func(tx provider.Tx) error {
		found, err := tx.List(prefix, after, limit)
		for _, r := range found {
			keys = append(keys, r.Key)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestTheStoreIsOneForTheSDK(t *testing.T) {
	providertest.TestStore(t, func(t *testing.T) provider.Store { return openRecords(t, t.TempDir(), time.Now) })
}

func TestExpiredRecordsAreDroppedAtStartAndOthersKept(t *testing.T) {
	clock := time.Unix(1_800_000_000, 0)
	dir := t.TempDir()
	first := openRecords(t, dir, func() time.Time { return clock })
	err := first.Update(t.Context(), func(tx provider.Tx) error {
		return errors.Join(tx.Put("short", []byte("1"), clock.Add(time.Minute)), tx.Put("ever", []byte("1"), time.Time{}), tx.Put("long", []byte("1"), clock.Add(time.Hour)))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := first.db.Close(); err != nil {
		t.Fatal(err)
	}
	clock = clock.Add(time.Minute)
	if diff := cmp.Diff([]string{"ever", "long"}, keysUnder(t, openRecords(t, dir, func() time.Time { return clock }), "", "", 10)); diff != "" {
		t.Error(diff)
	}
}

func TestTheCatalogIsReadWithoutAWarning(t *testing.T) {
	for _, s := range services() {
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		normal, warnings := app.Normalize(Name, []json.RawMessage{text})
		if len(normal) != 1 || len(warnings) != 0 {
			t.Errorf("%s: %d entries, warnings %v", s.ID, len(normal), warnings)
		}
	}
}

func TestNumbersOfAConfigurationAreReadInEachForm(t *testing.T) {
	for _, v := range []any{json.Number("3"), float64(3), int64(3), 3} {
		if got := number(map[string]any{"years": v}, "years"); got != 3 {
			t.Errorf("%T: %d", v, got)
		}
	}
	for _, v := range []any{nil, "3", json.Number("x")} {
		if got := number(map[string]any{"years": v}, "years"); got != 0 {
			t.Errorf("%T: %d", v, got)
		}
	}
}
