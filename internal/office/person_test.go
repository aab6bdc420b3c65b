package office_test

import (
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/act"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// loosening is every operation that needs a person's fresh act, ready to be sent
// without one, and how to sign it.
type loosening struct {
	operation string
	record    string // of the refusal
	ready     func(*house, *scene) any
	sign      func(in any, sig *purser.Signature) any
}

// scene is what the operations are about.
type scene struct {
	run                    purser.Run
	agent                  purser.Actor
	plan, other            purser.Plan
	stop, otherStop        purser.StopInfo
	resource, retired, ord string
}

func usd(n int64) purser.Money { return purser.Money{Amount: n, Currency: "USD"} }

func looseningOnes() []loosening {
	return []loosening{
		{"approve", "approve", func(_ *house, s *scene) any { return purser.Approve{Plan: s.plan.ID} }, func(in any, sig *purser.Signature) any {
			v := in.(purser.Approve)
			v.Act = sig
			return v
		}},
		{"set_budget", "set_budget", func(*house, *scene) any { return purser.SetBudget{Scope: "organization", Limit: usd(1)} }, func(in any, sig *purser.Signature) any {
			v := in.(purser.SetBudget)
			v.Act = sig
			return v
		}},
		{"extend_run", "extend_run", func(_ *house, s *scene) any { return purser.ExtendRun{Run: s.run.ID, Expires: "4h"} }, func(in any, sig *purser.Signature) any {
			v := in.(purser.ExtendRun)
			v.Act = sig
			return v
		}},
		{"resume", "resume", func(_ *house, s *scene) any { return purser.Resume{Stop: s.stop.ID} }, func(in any, sig *purser.Signature) any {
			v := in.(purser.Resume)
			v.Act = sig
			return v
		}},
		{"create_run", "create_run", func(h *house, _ *scene) any { return purser.CreateRun{Project: h.project.ID, Budget: usd(1)} }, func(in any, sig *purser.Signature) any {
			v := in.(purser.CreateRun)
			v.Act = sig
			return v
		}},
		{"add_provider", "add_provider", func(*house, *scene) any {
			return purser.AddProvider{Manifest: `{"name":"Evil","base_url":"http://127.0.0.1:1/e/","oauth_token_endpoint":"http://127.0.0.1:1/e/t","payment_credential_types":["sandbox"]}`, SigningSecret: "s"}
		}, func(in any, sig *purser.Signature) any {
			v := in.(purser.AddProvider)
			v.Act = sig
			return v
		}},
		{"exec", "exec", func(_ *house, s *scene) any { return purser.Exec{Resource: s.resource} }, func(in any, sig *purser.Signature) any {
			v := in.(purser.Exec)
			v.Act = sig
			return v
		}},
		{"remove", "remove", func(_ *house, s *scene) any {
			return purser.Remove{Resource: s.resource, Mode: "destroy", Confirm: "site"}
		}, func(in any, sig *purser.Signature) any {
			v := in.(purser.Remove)
			v.Act = sig
			return v
		}},
		{"restore", "restore", func(_ *house, s *scene) any { return purser.Restore{Resource: s.retired} }, func(in any, sig *purser.Signature) any {
			v := in.(purser.Restore)
			v.Act = sig
			return v
		}},
		{"resolve", "resolve", func(_ *house, s *scene) any { return purser.Resolve{Order: s.ord, Outcome: "failed"} }, func(in any, sig *purser.Signature) any {
			v := in.(purser.Resolve)
			v.Act = sig
			return v
		}},
	}
}

// set makes the scene: something of each kind that could be loosened.
func (h *house) set() *scene {
	h.t.Helper()
	h.seller.pay = h.rail()
	s := &scene{}
	s.run, s.agent = h.run(2000)
	apply := func(step purser.StepRequest) string {
		done := must[purser.Plan](h, s.agent, "apply", purser.Apply{Plan: h.planned(s.agent, step).ID})
		return done.Orders[len(done.Orders)-1].Resource
	}
	s.resource = apply(purser.StepRequest{Service: "local/hosting:static", Name: "site"})
	s.retired = apply(purser.StepRequest{Service: "local/hosting:pro"})
	must[purser.Removal](h, h.owner, "remove", purser.Remove{Resource: s.retired, Mode: "retire"})
	s.plan = must[purser.Plan](h, s.agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("superseal.club")}})
	s.other = must[purser.Plan](h, s.agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("other.club")}})
	s.ord = must[purser.Plan](h, h.owner, "show_plan", purser.PlanRef{Plan: must[purser.Run](h, h.owner, "show_run", purser.RunRef{Run: s.run.ID}).Orders[0].Plan}).Orders[0].ID
	other, _ := h.run(100, func(in *purser.CreateRun) { in.Agent = "stopped" })
	s.stop = must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "run", ID: other.ID, Reason: "to see"})
	s.otherStop = must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "agent", ID: other.Agent, Reason: "to see"})
	return s
}

// person adds somebody with a token and a passphrase of their own.
func (h *house) person(id string, role purser.Role) (purser.Actor, act.Signer) {
	h.t.Helper()
	kdf := act.KDF{Name: "argon2id", Salt: []byte("0123456789abcdef"), Time: 2, MemoryKiB: 19 << 10, Threads: 1}
	signer, err := act.Derive([]byte("another long passphrase"), kdf)
	if err != nil {
		h.t.Fatal(err)
	}
	err = h.store.Write(h.ctx, func(q *db.Queries) error {
		return q.InsertPerson(h.ctx, db.InsertPersonParams{
			Organization: h.owner.Organization, ID: id, Name: id, Email: id + "@example.org", Role: string(role),
			Kdf: "{}", PublicKey: base64.RawURLEncoding.EncodeToString(signer.PublicKey()), CreatedAt: store.Micro(h.now()),
		})
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return purser.Actor{Kind: purser.Person, ID: id, Name: id, Organization: h.owner.Organization, Role: role}, signer
}

// as runs f as somebody else who signs.
func (h *house) as(who purser.Actor, signer act.Signer, f func() *purser.Signature) *purser.Signature {
	owner, own := h.owner, h.signer
	h.owner, h.signer = who, signer
	defer func() { h.owner, h.signer = owner, own }()
	return f()
}

// Drill d: neither an agent, nor a stolen token, nor a signature for anything
// else loosens a control, and each try is on record.
func TestNothingButAFreshSignatureOnTheVeryRequestLoosens(t *testing.T) {
	manyHouses(t)
	t.Parallel()
	h := open(t, aDB(t))
	s := h.set()
	viewer, viewerSigner := h.person("per_viewer", purser.Viewer)
	approver, approverSigner := h.person("per_approver", purser.Approver)
	before := h.standing()

	for _, l := range looseningOnes() {
		in := l.ready(h, s)
		sign := func() *purser.Signature { return h.sign(l.operation, in) }
		tests := []struct {
			name string
			by   purser.Actor
			sig  func() *purser.Signature
			want []purser.Code
		}{
			{"an agent", s.agent, nil, []purser.Code{purser.SelfApproval, purser.Forbidden, purser.NeedsPerson}},
			{"an agent with a person's signature", s.agent, sign, []purser.Code{purser.SelfApproval, purser.Forbidden, purser.NeedsPerson}},
			{"a stolen token", h.owner, nil, []purser.Code{purser.NeedsPerson}},
			{"a viewer", viewer, nil, []purser.Code{purser.Forbidden, purser.NeedsPerson}},
			{"a viewer who signs", viewer, func() *purser.Signature { return h.as(viewer, viewerSigner, sign) }, []purser.Code{purser.Forbidden}},
			{"another person's signature", approver, sign, []purser.Code{purser.WrongSignature}},
			{"a forged nonce", h.owner, func() *purser.Signature { sig := sign(); sig.Nonce = "AAAA"; return sig }, []purser.Code{purser.WrongSignature}},
			{"a wrong passphrase", h.owner, func() *purser.Signature {
				own := h.signer
				h.signer = approverSigner
				defer func() { h.signer = own }()
				return sign()
			}, []purser.Code{purser.WrongSignature}},
			{"a signature for another operation", h.owner, func() *purser.Signature {
				if l.operation == "set_budget" {
					return h.sign("resume", purser.Resume{Stop: s.stop.ID})
				}
				return h.sign("set_budget", purser.SetBudget{Scope: "organization", Limit: usd(2)})
			}, []purser.Code{purser.WrongSignature}},
			{"a signature for another request", h.owner, func() *purser.Signature { return h.sign(l.operation, h.otherThan(s, l.operation, in)) }, []purser.Code{purser.WrongSignature}},
			{"an expired signature", h.owner, func() *purser.Signature {
				// Made eleven minutes ago, when the log's clock stood there too.
				set := func(d time.Duration) {
					h.later(d)
					h.sql(fmt.Sprintf("UPDATE organizations SET clock = clock + %d", d.Microseconds()))
				}
				set(-11 * time.Minute)
				defer set(11 * time.Minute)
				return sign()
			}, []purser.Code{purser.WrongSignature}},
		}
		for _, tt := range tests {
			if l.operation == "exec" && tt.by.Kind == purser.Agent && tt.sig != nil {
				continue // an agent's exec has no act: its run says what it may see
			}
			request := in
			if tt.sig != nil {
				request = l.sign(in, tt.sig())
			}
			refusals := h.counted(l.record, "refused")
			by := tt.by
			by.Key = ""
			_, err := do[any](h, by, l.operation, request)
			ok := false
			for _, code := range tt.want {
				ok = ok || purser.CodeOf(err) == code
			}
			if !ok {
				t.Errorf("%s, %s: got %v, want one of %v", l.operation, tt.name, explainOrNil(err), tt.want)
			}
			if n := h.counted(l.record, "refused"); n != refusals+1 {
				t.Errorf("%s, %s: %d refusals on record, want one more than %d", l.operation, tt.name, n, refusals)
			}
		}
	}
	if after := h.standing(); after != before {
		t.Errorf("something changed: %s, before %s", after, before)
	}

	// A used signature is used up.
	in := purser.SetBudget{Scope: "organization", Limit: usd(5000)}
	in.Act = h.sign("set_budget", in)
	must[purser.BudgetLine](h, h.owner, "set_budget", in)
	_, err := do[purser.BudgetLine](h, h.owner, "set_budget", in)
	refused(t, err, purser.WrongSignature)

	// The approver's own signature approves; lowering and denying need none.
	approve := purser.Approve{Plan: s.plan.ID}
	approve.Act = h.as(approver, approverSigner, func() *purser.Signature { return h.sign("approve", approve) })
	must[purser.Plan](h, approver, "approve", approve)
	must[purser.BudgetLine](h, h.owner, "set_budget", purser.SetBudget{Scope: "organization", Limit: usd(4000)})
	must[purser.Plan](h, approver, "deny", purser.Deny{Plan: s.other.ID, Reason: "no"})
	h.books()
	h.verify()
}

// otherThan is a request of the same operation about something else.
func (h *house) otherThan(s *scene, operation string, in any) any {
	switch v := in.(type) {
	case purser.Approve:
		v.Plan = s.other.ID
		return v
	case purser.SetBudget:
		v.Limit.Amount++
		return v
	case purser.ExtendRun:
		v.Expires = "5h"
		return v
	case purser.Resume:
		v.Stop = s.otherStop.ID
		return v
	case purser.CreateRun:
		v.Budget.Amount++
		return v
	case purser.AddProvider:
		v.SigningSecret = "other"
		return v
	case purser.Exec:
		v.Resource = s.retired
		return v
	case purser.Remove:
		v.Resource = s.retired
		return v
	case purser.Restore:
		v.Resource = s.resource
		return v
	case purser.Resolve:
		v.Order = "ord_other"
		return v
	}
	h.t.Fatalf("no other request of %s", operation)
	return nil
}

// standing is all that a loosening would change, in one text.
func (h *house) standing() string {
	h.t.Helper()
	status := must[purser.Status](h, h.owner, "status", purser.AskStatus{})
	providers := must[purser.List[purser.ProviderInfo]](h, h.owner, "list_providers", purser.None{})
	text := ""
	for _, b := range status.Budgets {
		text += b.Scope + b.ID + b.Limit.String() + " "
	}
	for _, r := range status.Resources {
		text += r.ID + r.State + " "
	}
	for _, r := range status.Runs {
		text += r.ID + r.State + r.ExpiresAt.String() + " "
	}
	for _, p := range status.Waiting {
		text += p.ID + string(p.State) + " "
	}
	for _, p := range providers.Items {
		text += p.Name + " "
	}
	for _, s := range status.Stops {
		text += s.ID + " "
	}
	return text
}

// RULES 4: exec under an agent's token is a reveal, per class, recorded, and
// withheld by default.
func TestAnAgentSeesOnlyTheCredentialsThatItsRunAllows(t *testing.T) {
	manyHouses(t)
	t.Parallel()
	h := open(t, aDB(t))
	h.seller.pay = h.rail()
	_, none := h.run(2000)
	plan := h.planned(none, purser.StepRequest{Service: "local/hosting:static", Name: "site"}, purser.StepRequest{Service: "local/hosting:pro", Name: "account"})
	done := must[purser.Plan](h, none, "apply", purser.Apply{Plan: plan.ID})
	site, account := done.Orders[1].Resource, done.Orders[2].Resource
	for _, tt := range []struct {
		reveal         []string
		operator, user bool // what is seen of the site, which can be changed, and of the account
	}{
		{nil, false, false}, {[]string{"runtime"}, false, true}, {[]string{"operator"}, true, false}, {[]string{"runtime", "operator"}, true, true},
	} {
		_, agent := h.run(100, func(in *purser.CreateRun) { in.Reveal = tt.reveal })
		for resource, may := range map[string]bool{site: tt.operator, account: tt.user} {
			before, no := h.counted("exec", "accepted"), h.counted("exec", "refused")
			out, err := do[purser.Variables](h, agent, "exec", purser.Exec{Resource: resource})
			if may != (err == nil && len(out.Env) > 0) {
				t.Errorf("reveal %v of %s: %v, %v", tt.reveal, resource, out, explainOrNil(err))
			}
			if got := h.counted("exec", "accepted") - before + h.counted("exec", "refused") - no; got != 1 {
				t.Errorf("reveal %v of %s left %d records, want 1", tt.reveal, resource, got)
			}
		}
	}
	_, agent := h.run(100, func(in *purser.CreateRun) { in.Reveal = []string{"runtime", "operator"} })
	must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "agent", ID: agent.ID, Reason: "enough"})
	_, err := do[purser.Variables](h, agent, "exec", purser.Exec{Resource: site})
	refused(t, err, purser.Stopped)
	h.books()
	h.verify()
}

// A stop of a provider withholds what its resources would reveal: what is gone, and what the
// run may not see, withholds nothing.
func TestAStoppedProviderWithholdsOnlyItsOwn(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	h.seller.pay = h.rail()
	_, none := h.run(2000)
	plan := h.planned(none, purser.StepRequest{Service: "local/hosting:static", Name: "site"}, purser.StepRequest{Service: "local/hosting:pro", Name: "account"})
	done := must[purser.Plan](h, none, "apply", purser.Apply{Plan: plan.ID})
	_, agent := h.run(100, func(in *purser.CreateRun) { in.Reveal = []string{"runtime"} })
	h.sql("UPDATE resources SET provider = 'other', state = 'removed' WHERE id = $1", done.Orders[1].Resource)
	must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "provider", ID: "other", Reason: "enough"})
	if v := must[purser.Variables](h, agent, "exec", purser.Exec{}); len(v.Env) == 0 {
		t.Error("the account is withheld too")
	}
	must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "provider", ID: "local", Reason: "enough"})
	_, err := do[purser.Variables](h, agent, "exec", purser.Exec{})
	refused(t, err, purser.Stopped)
	_, err = do[purser.Variables](h, none, "exec", purser.Exec{})
	refused(t, err, purser.NeedsPerson)
}

// A slip of the pen costs no signature: what nobody can do is refused before it is signed,
// in the words of the operation itself.
func TestNobodyIsAskedToSignWhatCannotBe(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	run, _ := h.run(1500)
	ended, _ := h.run(1500, func(in *purser.CreateRun) { in.Agent = "another" })
	must[purser.Run](h, h.owner, "end_run", purser.RunRef{Run: ended.ID})
	stop := must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "run", ID: run.ID})
	lifted := must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "provider", ID: "local"})
	h.resume(lifted)
	budget := purser.Money{Amount: 100, Currency: "USD"}
	for name, c := range map[string]struct {
		op   string
		in   any
		want purser.Code // of both: asking what to sign, and doing it unsigned
	}{
		"a stop that nobody made":    {"resume", purser.Resume{Stop: stop.ID + "x"}, purser.NotFound},
		"a stop that was lifted":     {"resume", purser.Resume{Stop: lifted.ID}, purser.NotFound},
		"a project that nobody made": {"create_run", purser.CreateRun{Project: "harbuor", Budget: budget}, purser.NotFound},
		"a time that is none":        {"create_run", purser.CreateRun{Project: h.project.ID, Budget: budget, Expires: "2x"}, purser.InvalidRequest},
		"a run that nobody made":     {"extend_run", purser.ExtendRun{Run: "run_1", Expires: "2h"}, purser.NotFound},
		"a run that has ended":       {"extend_run", purser.ExtendRun{Run: ended.ID, Expires: "2h"}, purser.InvalidState},
		"a role that is none":        {"set_role", purser.SetRole{Person: h.owner.ID, Role: "king"}, purser.InvalidRequest},
		"a new role of nobody":       {"set_role", purser.SetRole{Person: "per_1", Role: purser.Viewer}, purser.NotFound},
		"the removal of nobody":      {"remove_person", purser.RemovePerson{Person: "per_1"}, purser.NotFound},
		"a first passkey for nobody": {"first_passkey", purser.FirstPasskey{Person: "per_1"}, purser.NotFound},
		"a stop in force":            {"resume", purser.Resume{Stop: stop.ID}, ""},
		"a run in a project by name": {"create_run", purser.CreateRun{Project: h.project.Name, Budget: budget}, ""},
		"more time for a run":        {"extend_run", purser.ExtendRun{Run: run.ID, Expires: "9h"}, ""},
		"a new role of somebody":     {"set_role", purser.SetRole{Person: h.owner.ID, Role: purser.Owner}, ""},
	} {
		_, asked := do[purser.Challenge](h, h.owner, "ask_act", purser.AskAct{Operation: c.op, Request: requestBody(t, c.in)})
		_, done := h.ops[c.op].Do(h.ctx, h.owner, c.in)
		if c.want == "" {
			if asked != nil || purser.CodeOf(done) != purser.NeedsPerson {
				t.Errorf("%s: asked, %v; unsigned, %v", name, explainOrNil(asked), explainOrNil(done))
			}
			continue
		}
		refused(t, asked, c.want)
		if explainOrNil(asked) != explainOrNil(done) {
			t.Errorf("%s: asked, %v; unsigned, %v", name, explainOrNil(asked), explainOrNil(done))
		}
	}
}
