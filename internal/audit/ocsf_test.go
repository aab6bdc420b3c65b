package audit

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/purser-dev/purser"
)

// ocsfObject is the published list of an object's fields: what must be there, one
// of which, what may, the values of enumerations with their captions, and types.
type ocsfObject struct {
	Required, Allowed []string
	OneOf             []string `json:"one_of"`
	Enums             map[string]map[string]string
	Captions          map[string]string
	Members           map[string]string
	Types             map[string]string
}

type ocsfSchema struct {
	Source       string
	Version      string
	ClassUID     int    `json:"class_uid"`
	ClassName    string `json:"class_name"`
	CategoryUID  int    `json:"category_uid"`
	CategoryName string `json:"category_name"`
	Objects      map[string]ocsfObject
}

// check names what an event has that the schema does not, and the other way round.
func (s ocsfSchema) check(at, object string, v any) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, at+": "+fmt.Sprintf(format, args...)) }
	o, known := s.Objects[object]
	members, is := v.(map[string]any)
	if !known || !is {
		fault("%v is not an object %q of the schema", v, object)
		return faults
	}
	for _, name := range o.Required {
		if members[name] == nil {
			fault("%s is missing", name)
		}
	}
	if len(o.OneOf) > 0 && !slices.ContainsFunc(o.OneOf, func(name string) bool { return members[name] != nil }) {
		fault("none of %v is there", o.OneOf)
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		value := members[name]
		if !slices.Contains(o.Allowed, name) {
			fault("%s is no field of %s", name, object)
		}
		if enum := o.Enums[name]; enum != nil {
			caption, ok := enum[fmt.Sprint(value)]
			if !ok {
				fault("%s is %v", name, value)
			}
			if told := members[o.Captions[name]]; caption != "Other" && told != nil && told != caption {
				fault("%s is %v and %s %v", name, value, o.Captions[name], told)
			}
		}
		// Each field has a type: an enumeration's is a number, an object has its own list.
		want := o.Types[name]
		switch {
		case want == "" && o.Enums[name] != nil:
			want = "number"
		case want == "" && o.Members[name] != "":
			want = typeOf(value)
		}
		if want != typeOf(value) {
			fault("%s is a %s, want %q", name, typeOf(value), want)
		}
		if o.Members[name] == "" {
			continue
		}
		if list, ok := value.([]any); ok {
			for i, one := range list {
				faults = append(faults, s.check(fmt.Sprintf("%s.%s.%d", at, name, i), o.Members[name], one)...)
			}
			continue
		}
		faults = append(faults, s.check(at+"."+name, o.Members[name], value)...)
	}
	return faults
}

func typeOf(v any) string {
	switch v.(type) {
	case float64:
		return "number"
	case string:
		return "string"
	case map[string]any:
		return "object"
	}
	return fmt.Sprintf("%T", v)
}

func readOCSF(t *testing.T) (s ocsfSchema) {
	t.Helper()
	text, err := os.ReadFile("testdata/ocsf-" + OCSFVersion + "-api_activity.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &s); err != nil || s.Source == "" {
		t.Fatalf("of %q: %v", s.Source, err)
	}
	return s
}

// Each kind of record becomes an event that has the published fields and no others.
func TestEachRecordIsAnEventOfThePublishedSchema(t *testing.T) {
	s := readOCSF(t)
	var records []Record
	for _, op := range purser.Operations() {
		for _, kind := range []string{"person", "agent", "provider", "platform", "system", "visitor"} {
			r := hold(1)
			r.Seq, r.Action, r.Actor = 1, op.Name, Actor{Kind: kind, ID: "x_1", Key: "tok_1", DelegatedBy: "per_1"}
			records = append(records, r)
		}
	}
	for _, action := range []string{"order.place", "refused_unauthenticated", "release", "renew", "stop_effect", "setup_code", "something_new"} {
		for _, outcome := range []string{Accepted, Refused, Failed, Unknown} {
			r := Record{
				Seq: 7, TS: start, Org: org, Project: "prj_1", Env: "production", Run: "run_1", Actor: Actor{Kind: "system", ID: "purser"}, Action: action, Outcome: outcome,
				Target: "192.0.2.1", IdempotencyKey: "k", Policy: &Policy{"refused", []string{"budget_exceeded"}}, Money: &Amounts{Actual: &Money{1, "USD"}},
				Detail: map[string]string{"reason": "it is too much"}, Provider: &Provider{ChargeID: "chg_1"}, PlanDigest: digest,
			}
			records = append(records, r, Record{Seq: 8, TS: start, Org: org, Actor: r.Actor, Action: action, Outcome: outcome})
		}
	}
	a := approval(t, start, "nonce-0123456789")
	a.Seq = 9
	for _, r := range append(records, a) {
		leaf, err := r.Leaf()
		if err != nil {
			t.Fatal(err)
		}
		text, err := OCSF(leaf)
		if err != nil {
			t.Fatal(err)
		}
		var e map[string]any
		if err := json.Unmarshal(text, &e); err != nil {
			t.Fatal(err)
		}
		for _, f := range s.check(r.Action, "api_activity", e) {
			t.Error(f)
		}
		if int(e["class_uid"].(float64)) != s.ClassUID || e["class_name"] != s.ClassName || int(e["category_uid"].(float64)) != s.CategoryUID ||
			e["category_name"] != s.CategoryName || e["type_uid"].(float64) != float64(s.ClassUID*100)+e["activity_id"].(float64) ||
			e["type_name"] != fmt.Sprintf("%s: %s", s.ClassName, e["activity_name"]) || e["metadata"].(map[string]any)["version"] != s.Version {
			t.Errorf("%s: class, category, type or version is another: %s", r.Action, text)
		}
		if e["raw_data"] != string(leaf) || int64(e["time"].(float64)) != r.TS/1000 {
			t.Errorf("%s: it does not hold the record, or its time", r.Action)
		}
		if want := map[string]float64{Accepted: 1, Refused: 2, Failed: 2, Unknown: 0}[r.Outcome]; e["status_id"] != want {
			t.Errorf("%s %s has status %v", r.Action, r.Outcome, e["status_id"])
		}
	}
	if _, err := OCSF([]byte("rubbish")); err == nil {
		t.Error("rubbish became an event")
	}
}

// The check itself finds what is wrong.
func TestTheCheckOfEventsCanFail(t *testing.T) {
	s := readOCSF(t)
	r := hold(1)
	r.Seq = 1
	leaf, err := r.Leaf()
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(e map[string]any){
		"a field more":       func(e map[string]any) { e["organization"] = "org_1" },
		"a field less":       func(e map[string]any) { delete(e, "src_endpoint") },
		"an unknown status":  func(e map[string]any) { e["status_id"] = 7.0 },
		"another caption":    func(e map[string]any) { e["severity"] = "High" },
		"an actor of no use": func(e map[string]any) { e["actor"] = map[string]any{} },
		"time as text":       func(e map[string]any) { e["time"] = "now" },
		"a name as number":   func(e map[string]any) { e["class_name"] = 6003.0 },
		"a user's new field": func(e map[string]any) { e["actor"].(map[string]any)["user"].(map[string]any)["kind"] = "agent" },
	} {
		text, err := OCSF(leaf)
		if err != nil {
			t.Fatal(err)
		}
		var e map[string]any
		if err := json.Unmarshal(text, &e); err != nil {
			t.Fatal(err)
		}
		change(e)
		if len(s.check("event", "api_activity", e)) == 0 {
			t.Errorf("%s is not found", name)
		}
	}
}
