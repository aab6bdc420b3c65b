package providertest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/purser-dev/purser/provider"
)

// TestStore is the suite that every provider.Store must pass. open gives an empty
// store; it is called once per subtest.
func TestStore(t *testing.T, open func(t *testing.T) provider.Store) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, provider.Store){
		"what is put is got, and what is deleted is gone":            storeKeeps,
		"a failed update keeps nothing and gives its error":          storeRollsBack,
		"an update sees its own writes, in get and list":             storeSeesItself,
		"a list is ascending, below its prefix, after and limited":   storeLists,
		"a view cannot write":                                        storeViews,
		"concurrent updates of one key lose none":                    storeSerialises,
		"a value given is a copy, and one kept is a copy":            storeCopies,
		"a record is kept until its time":                            storeExpires,
		"a cancelled context starts no update":                       storeCancels,
		"keys of 200 bytes and values of 100,000 are kept untouched": storeLarge,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func mustUpdate(t *testing.T, s provider.Store, f func(tx provider.Tx) error) {
	t.Helper()
	if err := s.Update(t.Context(), f); err != nil {
		t.Fatalf("updating: %v", err)
	}
}

func mustPut(t *testing.T, s provider.Store, key, value string) {
	t.Helper()
	mustUpdate(t, s, func(tx provider.Tx) error { return tx.Put(key, []byte(value), time.Time{}) })
}

func value(t *testing.T, s provider.Store, key string) string {
	t.Helper()
	var got []byte
	err := s.View(t.Context(), func(tx provider.Tx) (err error) {
		got, err = tx.Get(key)
		return err
	})
	if err != nil {
		t.Fatalf("viewing: %v", err)
	}
	return string(got)
}

func storeKeeps(t *testing.T, s provider.Store) {
	mustPut(t, s, "a", "1")
	mustPut(t, s, "a", "2")
	if got := value(t, s, "a"); got != "2" {
		t.Errorf("a is %q, want 2", got)
	}
	mustUpdate(t, s, func(tx provider.Tx) error { return errors.Join(tx.Delete("a"), tx.Delete("never")) })
	err := s.View(t.Context(), func(tx provider.Tx) error {
		if got, err := tx.Get("a"); got != nil || err != nil {
			t.Errorf("an absent key is %q, %v; want nil, nil", got, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func storeRollsBack(t *testing.T, s provider.Store) {
	mustPut(t, s, "kept", "1")
	broken := errors.New("broken")
	err := s.Update(t.Context(), func(tx provider.Tx) error {
		if err := errors.Join(tx.Put("new", []byte("x"), time.Time{}), tx.Delete("kept")); err != nil {
			return err
		}
		return broken
	})
	if !errors.Is(err, broken) {
		t.Errorf("the error is %v, want the function's", err)
	}
	if value(t, s, "new") != "" || value(t, s, "kept") != "1" {
		t.Error("a failed update left something")
	}
}

func storeSeesItself(t *testing.T, s provider.Store) {
	mustPut(t, s, "p/old", "1")
	mustUpdate(t, s, func(tx provider.Tx) error {
		if err := errors.Join(tx.Put("p/new", []byte("2"), time.Time{}), tx.Delete("p/old")); err != nil {
			return err
		}
		if got, err := tx.Get("p/new"); string(got) != "2" || err != nil {
			t.Errorf("own write reads %q, %v", got, err)
		}
		if got, err := tx.Get("p/old"); got != nil || err != nil {
			t.Errorf("own deletion reads %q, %v", got, err)
		}
		records, err := tx.List("p/", "", 10)
		if len(records) != 1 || records[0].Key != "p/new" {
			t.Errorf("own list is %v", records)
		}
		return err
	})
}

func storeLists(t *testing.T, s provider.Store) {
	for _, key := range []string{"p/b", "p/a", "p/c", "p0", "p", "q/a", "p/B", "p/~", "p/%", "p/_"} {
		mustPut(t, s, key, key)
	}
	for _, test := range []struct {
		prefix, after string
		limit         int
		want          []string
	}{
		{"p/", "", 10, []string{"p/%", "p/B", "p/_", "p/a", "p/b", "p/c", "p/~"}},
		{"p/", "p/a", 10, []string{"p/b", "p/c", "p/~"}},
		{"p/", "p/a", 1, []string{"p/b"}},
		{"p/", "p/~", 10, nil},
		{"none/", "", 10, nil},
	} {
		var got []string
		err := s.View(t.Context(), func(tx provider.Tx) error {
			records, err := tx.List(test.prefix, test.after, test.limit)
			for _, r := range records {
				got = append(got, r.Key)
				if string(r.Value) != r.Key {
					t.Errorf("%s has the value %q", r.Key, r.Value)
				}
			}
			return err
		})
		if err != nil || fmt.Sprint(got) != fmt.Sprint(test.want) {
			t.Errorf("list %q after %q limit %d is %v (%v), want %v", test.prefix, test.after, test.limit, got, err, test.want)
		}
	}
}

func storeViews(t *testing.T, s provider.Store) {
	for name, write := range map[string]func(tx provider.Tx) error{
		"put":    func(tx provider.Tx) error { return tx.Put("v", []byte("1"), time.Time{}) },
		"delete": func(tx provider.Tx) error { return tx.Delete("v") },
	} {
		if err := s.View(t.Context(), write); err == nil {
			t.Errorf("a %s in a view succeeded", name)
		}
	}
	if got := value(t, s, "v"); got != "" {
		t.Errorf("a view wrote %q", got)
	}
}

func storeSerialises(t *testing.T, s provider.Store) {
	const workers, each = 8, 10
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				err := s.Update(t.Context(), func(tx provider.Tx) error {
					got, err := tx.Get("count")
					if err != nil {
						return err
					}
					return tx.Put("count", append(got, '.'), time.Time{})
				})
				if err != nil {
					t.Errorf("updating: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if got := len(value(t, s, "count")); got != workers*each {
		t.Errorf("%d updates counted, want %d", got, workers*each)
	}
}

func storeCopies(t *testing.T, s provider.Store) {
	mine := []byte("abc")
	mustUpdate(t, s, func(tx provider.Tx) error { return tx.Put("c", mine, time.Time{}) })
	mine[0] = 'X'
	err := s.View(t.Context(), func(tx provider.Tx) error {
		got, err := tx.Get("c")
		if len(got) > 0 {
			got[0] = 'Y'
		}
		return err
	})
	if got := value(t, s, "c"); err != nil || got != "abc" {
		t.Errorf("c is %q (%v), want abc", got, err)
	}
}

func storeExpires(t *testing.T, s provider.Store) {
	mustUpdate(t, s, func(tx provider.Tx) error { return tx.Put("e", []byte("1"), time.Now().Add(time.Hour)) })
	mustPut(t, s, "other", "1") // a write is when a store may sweep
	if got := value(t, s, "e"); got != "1" {
		t.Errorf("a record was dropped an hour early")
	}
}

func storeCancels(t *testing.T, s provider.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Update(ctx, func(tx provider.Tx) error { return tx.Put("x", []byte("1"), time.Time{}) }); err == nil {
		t.Error("an update began after its context ended")
	}
	if value(t, s, "x") != "" {
		t.Error("a cancelled update wrote")
	}
}

func storeLarge(t *testing.T, s provider.Store) {
	key, large := make([]byte, 200), make([]byte, 100_000)
	for i := range key {
		key[i] = byte('!' + i%90)
	}
	for i := range large {
		large[i] = byte(i)
	}
	mustPut(t, s, string(key), string(large))
	if value(t, s, string(key)) != string(large) {
		t.Error("the value came back changed")
	}
}
