package office_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/office"
)

// members calls f with each text and each number of a request, and makes what there is
// none of.
func members(v reflect.Value, path string, f func(path string, v reflect.Value)) {
	switch v.Kind() {
	case reflect.String, reflect.Int, reflect.Int64:
		f(path, v)
	case reflect.Struct:
		for i := range v.NumField() {
			if name := v.Type().Field(i).Name; name != "Act" {
				members(v.Field(i), path+"."+name, f)
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		members(v.Elem(), path, f)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		members(v.Index(0), path+"[]", f)
	}
}

// What no record and no database takes is an invalid request, in whatever member of
// whatever operation it stands, and never a fault of the program.
func TestNoMemberOfARequestIsTooOddToRefuse(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		run, agent := h.run(5000)
		meter := h.platform()
		plain := map[string]string{"Run": run.ID, "Scope": "category", "Provider": "local", "Currency": "USD", "IdempotencyKey": "k", "Reason": "why", "Env": "production"}
		odd := []string{"a\x00b", "a\nb", "\xff", strings.Repeat("x", 300<<10)}
		for name, op := range h.ops {
			by := h.owner
			switch {
			case op.Spends():
				by = meter
			case op.Who == purser.Agents, op.Who == purser.Bearers:
				by = agent
			case op.Who == purser.Providers:
				by = atLocal
			}
			var paths []string
			members(reflect.New(op.In).Elem(), "", func(p string, _ reflect.Value) { paths = append(paths, p) })
			for _, path := range paths {
				for i, text := range odd {
					in := reflect.New(op.In).Elem()
					members(in, "", func(p string, v reflect.Value) {
						switch {
						case v.CanInt() && p == path:
							v.SetInt([]int64{1 << 53, 1 << 62, -1 << 53, -1 << 62}[i])
						case v.CanInt():
							v.SetInt(1)
						case p == path:
							v.SetString(text)
						default:
							v.SetString(plain[p[strings.LastIndex(p, ".")+1:]])
						}
					})
					_, err := h.ops[name].Do(h.ctx, by, in.Interface())
					if err != nil && purser.CodeOf(err) == purser.Internal {
						t.Errorf("%s, %s %.9q: %.200s", name, path, text, explain(err))
					}
				}
			}
		}
		for _, id := range odd {
			_, err := do[purser.BudgetLine](h, h.owner, "set_budget", purser.SetBudget{Scope: "category", ID: id, Limit: usd(0)})
			refused(t, err, purser.InvalidRequest)
		}
		// Nor a limit that would hold nothing, since no spend can be of its category.
		for _, id := range []string{"ünï cødé", "llm ", " llm", "a b", "web hosting", "compute "} {
			_, err := do[purser.BudgetLine](h, h.owner, "set_budget", purser.SetBudget{Scope: "category", ID: id, Limit: usd(0)})
			refused(t, err, purser.InvalidRequest)
			_, err = do[purser.Hold](h, meter, "charge_usage", purser.ChargeUsage{Run: run.ID, Provider: "local", Category: id, AmountMinor: 1, Currency: "USD"})
			refused(t, err, purser.InvalidRequest)
		}
		must[purser.BudgetLine](h, h.owner, "set_budget", purser.SetBudget{Scope: "category", ID: "Web hosting", Limit: usd(0)}) // a catalog's
		h.verify()
	})
}

// What takes a cursor or a limit refuses what is no place in its list and no number of it:
// an empty answer would say that there is nothing. What cannot come in parts takes neither.
// Who tries a command that is an agent's hears how to get to be one.
func TestAPersonWhoSpendsHearsWhoDoes(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	for _, name := range []string{"place_hold", "charge_usage", "capture_hold"} {
		_, err := h.ops[name].Do(h.ctx, h.owner, reflect.New(h.ops[name].In).Elem().Interface())
		var no *purser.Error
		if !errors.As(err, &no) || no.Code != purser.Forbidden || !strings.Contains(no.Hint, "purser run create --budget") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNoListTakesWhatIsNoPageOfIt(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	lists := 0
	for name, op := range h.ops {
		_, counts := op.In.FieldByName("Limit")
		_, goesOn := op.In.FieldByName("Cursor")
		if op.Method != "GET" || !counts {
			continue
		}
		lists++
		for _, page := range []purser.Page{
			{Limit: -1}, {Limit: 201}, {Cursor: "rubbish"}, {Cursor: "hld_"}, {Cursor: h.owner.ID}, {Cursor: "-1"}, {Cursor: "99999999999999999999"},
		} {
			in := reflect.New(op.In).Elem()
			in.FieldByName("Limit").SetInt(int64(page.Limit))
			if goesOn {
				in.FieldByName("Cursor").SetString(page.Cursor)
			} else if page.Cursor != "" {
				continue
			}
			if _, err := op.Do(h.ctx, h.owner, in.Interface()); purser.CodeOf(err) != purser.InvalidRequest {
				t.Errorf("%s takes %+v: %v", name, page, err)
			}
		}
	}
	if lists < 10 {
		t.Errorf("%d lists come in parts", lists)
	}
}

// Who may not call an operation is told what to do instead, where its description says so;
// a person who tries what agents do, how to let one.
func TestAnOperationSaysWhatToDoInstead(t *testing.T) {
	t.Parallel()
	do := func(context.Context, purser.Actor, purser.HoldRef) (purser.Hold, error) { return purser.Hold{}, nil }
	for _, c := range []struct {
		op   office.Operation
		by   purser.ActorKind
		want string
	}{
		{office.On("release_hold", do, "ask its platform"), purser.Person, "ask its platform"},
		{office.On("release_hold", do), purser.Person, "an agent does it, with its run's token in PURSER_TOKEN: purser run create --budget AMOUNT"},
		{office.On("release_hold", do), purser.Provider, ""},
	} {
		_, err := c.op.Do(t.Context(), purser.Actor{Kind: c.by, Role: purser.Owner}, purser.HoldRef{})
		if no := refused(t, err, purser.Forbidden); no.Hint != c.want {
			t.Errorf("a %s is told %q, want %q", c.by, no.Hint, c.want)
		}
	}
}
