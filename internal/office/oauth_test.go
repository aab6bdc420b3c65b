package office_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/oauth"
	"github.com/purser-dev/purser/internal/office"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/store"
)

// drawer keeps keys as the database does.
type drawer struct {
	mu  sync.Mutex
	raw []byte
}

func (d *drawer) Load(context.Context) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.raw, nil
}

func (d *drawer) Save(_ context.Context, old, fresh []byte) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !bytes.Equal(old, d.raw) {
		return false, nil
	}
	d.raw = fresh
	return true, nil
}

// shelf holds documents of clients, and counts who asks.
type shelf struct {
	mu    sync.Mutex
	texts map[string]string
	asked int
}

func (s *shelf) Fetch(_ context.Context, address string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	text, ok := s.texts[address]
	if !ok {
		return nil, errors.New("nobody answers")
	}
	return []byte(text), nil
}

const (
	here     = "http://localhost:7627"
	callback = "http://127.0.0.1:51004/cb"
)

var stranger = purser.Actor{Source: "192.0.2.1"}

// connection is a client on its way to its tokens.
type connection struct {
	client   oauth.Client
	verifier string
	asked    string // the authorization request
	code     string
	granted  purser.Granted
}

func (c connection) public() office.Presented {
	return office.Presented{Client: c.client.ID, Method: oauth.MethodNone}
}

func (c connection) redemption() office.Redemption {
	return office.Redemption{Presented: c.public(), Code: c.code, Redirect: callback, Verifier: c.verifier}
}

// asks registers a client and puts its request before the person.
func (h *house) asks(change ...func(*oauth.Request)) connection {
	h.t.Helper()
	out, err := h.o.RegisterClient(h.ctx, stranger, oauth.Metadata{ClientName: "Editor", Redirects: []string{"http://127.0.0.1/cb"}, Method: oauth.MethodNone})
	if err != nil {
		h.t.Fatal(explain(err))
	}
	c := connection{verifier: rand.Text() + rand.Text()}
	if c.client, err = h.o.Client(h.ctx, stranger, out.ClientID); err != nil {
		h.t.Fatal(explain(err))
	}
	sum := sha256.Sum256([]byte(c.verifier))
	r := oauth.Request{
		Client: c.client.ID, Redirect: callback, State: "xyz", Challenge: base64.RawURLEncoding.EncodeToString(sum[:]), Scope: "read spend", Resource: here + "/mcp",
	}
	for _, f := range change {
		f(&r)
	}
	if c.asked, err = h.o.AskAuthorization(h.ctx, stranger, c.client, r); err != nil {
		h.t.Fatal(explain(err))
	}
	return c
}

// form is what the page of consent sends, without a signature.
func (h *house) form(c connection) purser.GrantClient {
	h.t.Helper()
	a := must[purser.Authorization](h, h.owner, "show_authorization", purser.AuthorizationRef{Authorization: c.asked})
	return purser.GrantClient{
		Authorization: a.ID, Client: a.Client, Redirect: a.Redirect, Resource: a.Resource, Scope: a.Scope, Project: h.project.ID, Agent: "editor", Budget: usd(2000), Expires: "3h",
	}
}

// connect lets the owner grant what a client asks for.
func (h *house) connect(change ...func(*purser.GrantClient)) connection {
	h.t.Helper()
	c := h.asks()
	in := h.form(c)
	for _, f := range change {
		f(&in)
	}
	in.Act = h.sign("grant", in)
	c.granted = must[purser.Granted](h, h.owner, "grant", in)
	u, err := url.Parse(c.granted.Redirect)
	if err != nil || u.Query().Get("state") != "xyz" || u.Query().Get("iss") != here || !strings.HasPrefix(c.granted.Redirect, callback+"?") {
		h.t.Fatalf("the answer goes to %s", c.granted.Redirect)
	}
	c.code = u.Query().Get("code")
	return c
}

func (h *house) redeem(c connection) office.Issued {
	h.t.Helper()
	out, err := h.o.RedeemCode(h.ctx, stranger, c.redemption())
	if err != nil {
		h.t.Fatal(explain(err))
	}
	return out
}

// connected is a client that was granted a run, with the agent that it is.
func (h *house) connected() (connection, office.Issued, purser.Actor) {
	h.t.Helper()
	c := h.connect()
	issued := h.redeem(c)
	agent, err := h.agentOf(issued.Access)
	if err != nil {
		h.t.Fatal(explain(err))
	}
	return c, issued, agent
}

func (h *house) agentOf(token seal.Secret) (purser.Actor, error) {
	return h.o.Authenticate(h.ctx, token.Reveal(), "192.0.2.1")
}

// inOAuth fails the test unless an error says this to a client.
func inOAuth(t *testing.T, err error, want string) {
	t.Helper()
	var no *oauth.Error
	if !errors.As(err, &no) || no.Code != want {
		t.Fatalf("got %v, want %s", explainOrNil(err), want)
	}
}

func TestAConnectedClientIsAnAgentWithinTheBudgetThatWasSigned(t *testing.T) {
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		c := h.connect()
		out := h.redeem(c)
		by, err := h.agentOf(out.Access)
		if err != nil {
			t.Fatal(explain(err))
		}
		run := must[purser.Run](h, by, "show_run", purser.RunRef{})
		if by.Kind != purser.Agent || by.Run != c.granted.Run.ID || by.DelegatedBy != h.owner.ID || run.Budget.Limit != usd(2000) || by.Scope != "read spend" || by.Audience != here+"/mcp" {
			t.Errorf("the client is %+v in %+v", by, run)
		}
		if out.ExpiresIn <= 0 || out.ExpiresIn > time.Hour {
			t.Errorf("the access token lives for %v", out.ExpiresIn)
		}
		_, err = do[purser.Plan](h, by, "approve", purser.Approve{Plan: "pln_x"})
		refused(t, err, purser.SelfApproval)
		_, err = do[purser.Granted](h, by, "grant", purser.GrantClient{Authorization: c.asked})
		refused(t, err, purser.SelfApproval)
		_, err = do[purser.Authorization](h, by, "show_authorization", purser.AuthorizationRef{Authorization: c.asked})
		refused(t, err, purser.Forbidden)
		if h.counted("show_authorization", "refused") != 1 || h.counted("grant", "refused") != 1 || h.counted("grant", "accepted") != 1 {
			t.Error("an agent at the page of consent is not on the record")
		}
		plan := h.planned(by, domain("superseal.club"))
		if done := must[purser.Plan](h, by, "apply", purser.Apply{Plan: plan.ID}); done.State != purser.PlanDone {
			t.Errorf("the plan ended %s", done.State)
		}
		for _, secret := range []string{c.code, out.Access.Reveal(), out.Refresh.Reveal()} {
			if n := h.ask("SELECT (SELECT COUNT(*) FROM tokens WHERE hash = $1) + (SELECT COUNT(*) FROM oauth_codes WHERE hash = $1) + (SELECT COUNT(*) FROM oauth_refreshes WHERE hash = $1)", secret); n != 0 {
				t.Error("a code or token is stored as it is")
			}
		}
		h.books()
		h.verify()
	})
}

func TestAGrantNeedsTheSignatureOfExactlyThis(t *testing.T) {
	h := open(t, aDB(t))
	c := h.asks()
	in := h.form(c)
	_, err := do[purser.Granted](h, h.owner, "grant", in)
	refused(t, err, purser.NeedsPerson)
	signed := in
	signed.Act = h.sign("grant", in)
	more := signed
	more.Budget = usd(200000)
	_, err = do[purser.Granted](h, h.owner, "grant", more)
	refused(t, err, purser.WrongSignature)
	for name, change := range map[string]func(*purser.GrantClient){
		"another client":   func(g *purser.GrantClient) { g.Client = "cli_other" },
		"another redirect": func(g *purser.GrantClient) { g.Redirect = "http://127.0.0.1:1/cb" },
		"another resource": func(g *purser.GrantClient) { g.Resource = here },
	} {
		other := in
		change(&other)
		other.Act = h.sign("grant", other)
		_, err = do[purser.Granted](h, h.owner, "grant", other)
		if purser.CodeOf(err) != purser.PlanChanged {
			t.Errorf("%s: %v", name, explainOrNil(err))
		}
	}
	wide := in
	wide.Scope = "read spend approve"
	wide.Act = h.sign("grant", wide)
	_, err = do[purser.Granted](h, h.owner, "grant", wide)
	refused(t, err, purser.InvalidRequest)
	must[purser.Granted](h, h.owner, "grant", signed)
	again := in
	again.Act = h.sign("grant", again)
	_, err = do[purser.Granted](h, h.owner, "grant", again)
	refused(t, err, purser.InvalidState)
	h.verify()
}

func TestARequestIsAnsweredOnceAndInTime(t *testing.T) {
	h := open(t, aDB(t))
	c := h.asks()
	out := must[purser.Declined](h, h.owner, "decline", purser.AuthorizationRef{Authorization: c.asked})
	if u, err := url.Parse(out.Redirect); err != nil || u.Query().Get("error") != "access_denied" || u.Query().Get("state") != "xyz" || u.Query().Get("iss") != here || u.Query().Has("code") {
		t.Errorf("the no goes to %s", out.Redirect)
	}
	in := h.form(c)
	in.Act = h.sign("grant", in)
	_, err := do[purser.Granted](h, h.owner, "grant", in)
	refused(t, err, purser.InvalidState)
	late := h.asks()
	in = h.form(late)
	in.Act = h.sign("grant", in)
	h.later(9 * time.Minute) // the signature is still good for a minute
	if a := must[purser.Authorization](h, h.owner, "show_authorization", purser.AuthorizationRef{Authorization: late.asked}); a.State != "waiting" {
		t.Errorf("after nine minutes: %s", a.State)
	}
	h.later(61 * time.Second)
	if a := must[purser.Authorization](h, h.owner, "show_authorization", purser.AuthorizationRef{Authorization: late.asked}); a.State != "expired" {
		t.Errorf("after ten minutes: %s", a.State)
	}
	_, err = do[purser.Granted](h, h.owner, "decline", purser.AuthorizationRef{Authorization: late.asked})
	refused(t, err, purser.InvalidState)
}

func TestThirtyRedemptionsAtOnceGiveOneToken(t *testing.T) {
	eachDB(t, func(t *testing.T, database string) {
		h := open(t, database)
		c := h.connect()
		var wg sync.WaitGroup
		var mu sync.Mutex
		var given []office.Issued
		for range 30 {
			wg.Go(func() {
				out, err := h.o.RedeemCode(h.ctx, stranger, c.redemption())
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					given = append(given, out)
				} else {
					inOAuth(t, err, oauth.InvalidGrant)
				}
			})
		}
		wg.Wait()
		if len(given) != 1 || h.counted("redeem_code", "accepted") != 1 || h.counted("redeem_code", "refused") != 29 {
			t.Fatalf("%d tokens, %d accepted, %d refused", len(given), h.counted("redeem_code", "accepted"), h.counted("redeem_code", "refused"))
		}
		// The others were replays: whoever was first may be the thief.
		if _, err := h.agentOf(given[0].Access); purser.CodeOf(err) != purser.NotSignedIn {
			t.Errorf("after a replay the token answers %v", explainOrNil(err))
		}
		_, err := h.o.RefreshGrant(h.ctx, stranger, office.Refreshment{Presented: c.public(), Refresh: given[0].Refresh.Reveal()})
		inOAuth(t, err, oauth.InvalidGrant)
		if g := must[purser.List[purser.Grant]](h, h.owner, "list_grants", purser.Page{}); g.Items[0].State != "revoked" {
			t.Errorf("the grant is %s", g.Items[0].State)
		}
		h.verify()
	})
}

func TestACodeIsSpentByAnyWrongTry(t *testing.T) {
	h := open(t, aDB(t))
	for name, tt := range map[string]struct {
		change func(h *house, r *office.Redemption)
		want   string
	}{
		"another verifier": {func(_ *house, r *office.Redemption) { r.Verifier = rand.Text() + rand.Text() }, oauth.InvalidGrant},
		"no verifier":      {func(_ *house, r *office.Redemption) { r.Verifier = "" }, oauth.InvalidGrant},
		"another redirect": {func(_ *house, r *office.Redemption) { r.Redirect = "http://127.0.0.1:51005/cb" }, oauth.InvalidGrant},
		"no redirect":      {func(_ *house, r *office.Redemption) { r.Redirect = "" }, oauth.InvalidGrant},
		"another client":   {func(h *house, r *office.Redemption) { r.Presented = h.asks().public() }, oauth.InvalidGrant},
		"another resource": {func(_ *house, r *office.Redemption) { r.Resource = here + "/v1" }, oauth.InvalidTarget},
	} {
		t.Run(name, func(t *testing.T) {
			c := h.connect()
			before := h.counted("redeem_code", "refused")
			wrong := c.redemption()
			tt.change(h, &wrong)
			_, err := h.o.RedeemCode(h.ctx, stranger, wrong)
			inOAuth(t, err, tt.want)
			_, err = h.o.RedeemCode(h.ctx, stranger, c.redemption())
			inOAuth(t, err, oauth.InvalidGrant)
			if n := h.counted("redeem_code", "refused") - before; n != 2 {
				t.Errorf("%d refusals on the record", n)
			}
			h.later(time.Minute) // the pace of one address
		})
	}
	late := h.connect()
	h.later(121 * time.Second)
	_, err := h.o.RedeemCode(h.ctx, stranger, late.redemption())
	inOAuth(t, err, oauth.InvalidGrant)
	_, err = h.o.RedeemCode(h.ctx, stranger, office.Redemption{Presented: late.public(), Code: "pur_cod_" + strings.Repeat("a", 52)})
	inOAuth(t, err, oauth.InvalidGrant)
	unknown := late.redemption()
	unknown.Client = "cli_unknown"
	_, err = h.o.RedeemCode(h.ctx, stranger, unknown)
	inOAuth(t, err, oauth.InvalidClient)
	h.verify()
}

func TestARefreshTokenThatComesTwiceEndsItsFamily(t *testing.T) {
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		c := h.connect()
		first := h.redeem(c)
		refresh := func(token seal.Secret, change ...func(*office.Refreshment)) (office.Issued, error) {
			in := office.Refreshment{Presented: c.public(), Refresh: token.Reveal()}
			for _, f := range change {
				f(&in)
			}
			return h.o.RefreshGrant(h.ctx, stranger, in)
		}
		second, err := refresh(first.Refresh, func(r *office.Refreshment) { r.Scope, r.Resource = "read", here+"/mcp" })
		if err != nil || second.Scope != "read" {
			t.Fatal(explainOrNil(err), second.Scope)
		}
		reader, err := h.agentOf(second.Access)
		if err != nil {
			t.Fatal(explain(err))
		}
		must[purser.Run](h, reader, "show_run", purser.RunRef{})
		_, err = do[purser.Plan](h, reader, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("superseal.club")}})
		refused(t, err, purser.Forbidden)
		if _, err := h.agentOf(first.Access); err != nil {
			t.Errorf("a refresh ended the older access token: %v", explain(err))
		}
		_, err = refresh(first.Refresh) // a copy
		inOAuth(t, err, oauth.InvalidGrant)
		for _, access := range []seal.Secret{first.Access, second.Access} {
			if _, err := h.agentOf(access); purser.CodeOf(err) != purser.NotSignedIn {
				t.Errorf("after the reuse: %v", explainOrNil(err))
			}
		}
		_, err = refresh(second.Refresh)
		inOAuth(t, err, oauth.InvalidGrant)
		if h.counted("refresh_grant", "refused") != 2 || h.counted("refresh_grant", "accepted") != 1 {
			t.Error("the reuse is not on the record")
		}
		h.verify()
	})
}

func TestARefreshTokenIsForItsClientScopeAndResource(t *testing.T) {
	h := open(t, aDB(t))
	for name, tt := range map[string]struct {
		change func(*house, *office.Refreshment)
		want   string
	}{
		"more scope":       {func(_ *house, r *office.Refreshment) { r.Scope = "read spend" }, oauth.InvalidScope},
		"another resource": {func(_ *house, r *office.Refreshment) { r.Resource = here + "/v1" }, oauth.InvalidTarget},
		"another client":   {func(h *house, r *office.Refreshment) { r.Presented = h.asks().public() }, oauth.InvalidGrant},
	} {
		c := h.connect(func(g *purser.GrantClient) { g.Scope = "read" })
		in := office.Refreshment{Presented: c.public(), Refresh: h.redeem(c).Refresh.Reveal()}
		tt.change(h, &in)
		if _, err := h.o.RefreshGrant(h.ctx, stranger, in); err == nil {
			t.Errorf("%s is given", name)
		} else {
			inOAuth(t, err, tt.want)
		}
	}
}

func TestATokenDiesWithItsRunAndAStopSaysSo(t *testing.T) {
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		again := func(c connection, out office.Issued) error {
			_, err := h.o.RefreshGrant(h.ctx, stranger, office.Refreshment{Presented: c.public(), Refresh: out.Refresh.Reveal()})
			return err
		}
		c := h.connect()
		out := h.redeem(c)
		stop := must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "run", ID: c.granted.Run.ID, Reason: "enough"})
		_, err := h.agentOf(out.Access)
		refused(t, err, purser.Stopped)
		err = again(c, out)
		refused(t, err, purser.Stopped)
		inOAuth(t, err, oauth.InvalidGrant)
		if in, err := h.o.Introspect(h.ctx, h.owner, out.Access.Reveal()); err != nil || in.Active || in.Code != "stopped" {
			t.Errorf("introspection after a stop: %+v %v", in, err)
		}
		must[purser.StopInfo](h, h.owner, "resume", purser.Resume{Stop: stop.ID, Act: h.sign("resume", purser.Resume{Stop: stop.ID})})
		h.eventually("the token is revoked", func() bool {
			_, err := h.agentOf(out.Access)
			return purser.CodeOf(err) == purser.NotSignedIn
		})
		// A resume revives nothing, and no refresh token may.
		third := h.connect()
		thirdOut := h.redeem(third)
		stop = must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "organization", Reason: "all"})
		must[purser.StopInfo](h, h.owner, "resume", purser.Resume{Stop: stop.ID, Act: h.sign("resume", purser.Resume{Stop: stop.ID})})
		inOAuth(t, again(third, thirdOut), oauth.InvalidGrant)

		// A code that was granted before a stop is worth nothing after it.
		fourth := h.connect()
		must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "agent", ID: fourth.granted.Run.Agent, Reason: "enough"})
		_, err = h.o.RedeemCode(h.ctx, stranger, fourth.redemption())
		refused(t, err, purser.Stopped)

		fifth := h.connect(func(g *purser.GrantClient) { g.Agent = "other" })
		fifthOut := h.redeem(fifth)
		must[purser.Run](h, h.owner, "end_run", purser.RunRef{Run: fifth.granted.Run.ID})
		_, err = h.agentOf(fifthOut.Access)
		refused(t, err, purser.RunEnded)
		refused(t, again(fifth, fifthOut), purser.RunEnded)
		h.verify()
	})
}

func TestAnAccessTokenLivesAtMostAnHourAndAtMostItsRun(t *testing.T) {
	h := open(t, aDB(t))
	short := h.connect(func(g *purser.GrantClient) { g.Expires = "10m" })
	if out := h.redeem(short); out.ExpiresIn > 10*time.Minute {
		t.Errorf("longer than its run: %v", out.ExpiresIn)
	}
	c := h.connect()
	out := h.redeem(c)
	in := purser.ExtendRun{Run: c.granted.Run.ID, Expires: "20h"}
	in.Act = h.sign("extend_run", in)
	must[purser.Run](h, h.owner, "extend_run", in)
	h.later(time.Hour + time.Second)
	_, err := h.agentOf(out.Access)
	refused(t, err, purser.NotSignedIn)
	if _, err := h.o.RefreshGrant(h.ctx, stranger, office.Refreshment{Presented: c.public(), Refresh: out.Refresh.Reveal()}); err != nil {
		t.Errorf("a refresh within the run: %v", explain(err))
	}
}

func TestATokenIsShownAtTheDoorItWasMadeFor(t *testing.T) {
	h := open(t, aDB(t))
	by, err := h.agentOf(h.redeem(h.connect()).Access)
	if err != nil {
		t.Fatal(explain(err))
	}
	if err := h.o.MeantFor(h.ctx, by, "/mcp"); err != nil {
		t.Error(explain(err))
	}
	refused(t, h.o.MeantFor(h.ctx, by, "/v1/plans"), purser.NotSignedIn)
	if h.counted("authenticate", "refused") != 1 {
		t.Error("a token for another resource is not on the record")
	}
}

func TestAClientGivesItsTokensBackAndNobodyElses(t *testing.T) {
	h := open(t, aDB(t))
	c, other := h.connect(), h.asks()
	out := h.redeem(c)
	inOAuth(t, h.o.RevokeToken(h.ctx, stranger, other.public(), out.Refresh.Reveal()), oauth.InvalidClient)
	if _, err := h.agentOf(out.Access); err != nil {
		t.Fatalf("another client revoked it: %v", explain(err))
	}
	if err := h.o.RevokeToken(h.ctx, stranger, c.public(), "rubbish"); err != nil {
		t.Errorf("a token that is not known: %v", explain(err))
	}
	for range 2 {
		if err := h.o.RevokeToken(h.ctx, stranger, c.public(), out.Refresh.Reveal()); err != nil {
			t.Fatal(explain(err))
		}
	}
	_, err := h.agentOf(out.Access)
	refused(t, err, purser.NotSignedIn)
	agent := h.connect()
	by := h.redeem(agent)
	must[purser.Grant](h, h.owner, "revoke_grant", purser.GrantRef{Grant: agent.granted.Grant.ID})
	_, err = h.agentOf(by.Access)
	refused(t, err, purser.NotSignedIn)
}

func TestIntrospectionTellsOnesOwnOnly(t *testing.T) {
	h := open(t, aDB(t))
	c := h.connect()
	out := h.redeem(c)
	in, err := h.o.Introspect(h.ctx, h.owner, out.Access.Reveal())
	if err != nil || !in.Active || in.Run != c.granted.Run.ID || in.Audience != here+"/mcp" || in.Client != c.client.ID {
		t.Errorf("a person asks: %+v %v", in, err)
	}
	_, otherAgent := h.run(100)
	for name, by := range map[string]purser.Actor{
		"another agent":        otherAgent,
		"another organization": {Kind: purser.Person, ID: "per_x", Organization: "org_x", Role: purser.Owner},
	} {
		if in, err := h.o.Introspect(h.ctx, by, out.Access.Reveal()); err != nil || in != (office.Introspected{}) {
			t.Errorf("%s learns %+v %v", name, in, err)
		}
	}
	for _, text := range []string{"", "rubbish", out.Refresh.Reveal(), out.Access.Reveal() + "x"} {
		if in, err := h.o.Introspect(h.ctx, h.owner, text); err != nil || in != (office.Introspected{}) {
			t.Errorf("%.20q: %+v %v", text, in, err)
		}
	}
	_, err = h.o.Introspect(h.ctx, purser.Actor{Kind: purser.Provider, ID: "local"}, out.Access.Reveal())
	refused(t, err, purser.Forbidden)
}

func TestAFloodOfRegistrationsIsRefusedAndCounted(t *testing.T) {
	h := open(t, aDB(t), standing)
	meta := func() oauth.Metadata {
		return oauth.Metadata{ClientName: "x", Redirects: []string{"https://client.example/cb"}}
	}
	secrets := map[string]bool{}
	for range 10 {
		out, err := h.o.RegisterClient(h.ctx, stranger, meta())
		if err != nil || out.Secret == "" || secrets[out.Secret] || out.Method != oauth.MethodBasic {
			t.Fatalf("%+v %v", out, err)
		}
		secrets[out.Secret] = true
	}
	_, err := h.o.RegisterClient(h.ctx, stranger, meta())
	if e := refused(t, err, purser.TooManyTries); e.RetryAfter <= 0 {
		t.Error("it does not say when to come again")
	}
	if _, err := h.o.RegisterClient(h.ctx, purser.Actor{Source: "192.0.2.2"}, meta()); err != nil {
		t.Errorf("another address: %v", explain(err))
	}
	// Nobody of that address is kept from signing in by it.
	if _, err := do[purser.Challenge](h, stranger, "ask_sign_in", purser.AskSignIn{Email: "ada@example.org"}); err != nil {
		t.Errorf("a flood locks people out: %v", explain(err))
	}
	h.later(time.Minute)
	if err := h.o.Due(h.ctx); err != nil {
		t.Fatal(err)
	}
	if n := h.recorded(store.Installation, "register_client_flood"); n != 1 {
		t.Errorf("%d records of the flood", n)
	}
	h.later(25 * time.Hour) // whom nobody connected is forgotten
	if _, err := h.o.RegisterClient(h.ctx, stranger, meta()); err != nil {
		t.Fatal(explain(err))
	}
	if n := h.ask("SELECT COUNT(*) FROM oauth_clients"); n != 1 {
		t.Errorf("%d clients are remembered", n)
	}
}

func TestAClientWithASecretShowsIt(t *testing.T) {
	h := open(t, aDB(t))
	out, err := h.o.RegisterClient(h.ctx, stranger, oauth.Metadata{ClientName: "Web", Redirects: []string{"http://127.0.0.1/cb"}})
	if err != nil {
		t.Fatal(explain(err))
	}
	c := connection{verifier: rand.Text() + rand.Text()}
	if c.client, err = h.o.Client(h.ctx, stranger, out.ClientID); err != nil {
		t.Fatal(explain(err))
	}
	for name, who := range map[string]office.Presented{
		"no secret":      {Client: out.ClientID, Method: oauth.MethodNone},
		"a wrong secret": {Client: out.ClientID, Method: oauth.MethodBasic, Secret: seal.NewSecret("pur_cli_" + strings.Repeat("a", 52))},
		"the other way":  {Client: out.ClientID, Method: oauth.MethodPost, Secret: seal.NewSecret(out.Secret)},
	} {
		_, err := h.o.RedeemCode(h.ctx, stranger, office.Redemption{Presented: who, Code: "pur_cod_" + strings.Repeat("a", 52)})
		if purser.CodeOf(err) != purser.NotSignedIn {
			t.Errorf("%s: %v", name, explainOrNil(err))
		}
	}
	_, err = h.o.RedeemCode(h.ctx, stranger, office.Redemption{
		Presented: office.Presented{Client: out.ClientID, Method: oauth.MethodBasic, Secret: seal.NewSecret(out.Secret)}, Code: "pur_cod_" + strings.Repeat("a", 52),
	})
	inOAuth(t, err, oauth.InvalidGrant) // it is who it says, and the code is none
}

func TestAClientsDocumentIsReadOnceInFiveMinutes(t *testing.T) {
	h := open(t, aDB(t))
	const address = "https://client.example/id.json"
	h.documents.texts = map[string]string{
		address: fmt.Sprintf(`{"client_id":%q,"client_name":"Editor","redirect_uris":["http://127.0.0.1/cb"]}`, address), "https://client.example/other": `{"client_id":"` + address + `"}`,
	}
	for range 3 {
		c, err := h.o.Client(h.ctx, stranger, address)
		if err != nil || c.ID != address || !c.Document || c.Name != "Editor" {
			t.Fatalf("%+v %v", c, err)
		}
	}
	if h.documents.asked != 1 {
		t.Errorf("asked %d times", h.documents.asked)
	}
	h.later(6 * time.Minute)
	h.documents.texts[address] = fmt.Sprintf(`{"client_id":%q,"redirect_uris":["http://127.0.0.1/new"]}`, address)
	if c, err := h.o.Client(h.ctx, stranger, address); err != nil || c.Redirects[0] != "http://127.0.0.1/new" {
		t.Errorf("after a change: %+v %v", c, err)
	}
	for _, wrong := range []string{"https://client.example/other", "https://client.example/none", "http://client.example/id", "https://169.254.169.254", "cli_unknown", ""} {
		_, err := h.o.Client(h.ctx, stranger, wrong)
		inOAuth(t, err, oauth.InvalidClient)
	}
}

func TestADeviceIsConfirmedByAPersonInABrowserOnce(t *testing.T) {
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database, standing)
		browser := h.owner
		browser.Session = true
		asked, err := h.o.AskDevice(h.ctx, stranger, "laptop of ada")
		if err != nil {
			t.Fatal(explain(err))
		}
		poll := func() (purser.SignedIn, error) {
			h.later(6 * time.Second)
			return h.o.RedeemDevice(h.ctx, stranger, asked.DeviceCode)
		}
		_, err = poll()
		inOAuth(t, err, oauth.AuthorizationPending)
		_, err = h.o.RedeemDevice(h.ctx, stranger, asked.DeviceCode) // at once again
		inOAuth(t, err, oauth.SlowDown)
		_, err = poll() // in six seconds, and it is ten now
		inOAuth(t, err, oauth.SlowDown)
		h.later(20 * time.Second)
		shown := must[purser.Device](h, browser, "show_device", purser.DeviceRef{Code: strings.ToLower(strings.ReplaceAll(asked.UserCode, "-", " "))})
		if shown.Name != "laptop of ada" || shown.Source != stranger.Source || shown.State != "waiting" || shown.Code != asked.UserCode {
			t.Errorf("shown: %+v", shown)
		}
		_, err = do[purser.Device](h, h.owner, "confirm_device", purser.DeviceRef{Code: asked.UserCode}) // a token on a disk
		refused(t, err, purser.NeedsPerson)
		_, agent := h.run(100)
		_, err = do[purser.Device](h, agent, "confirm_device", purser.DeviceRef{Code: asked.UserCode})
		refused(t, err, purser.Forbidden)
		must[purser.Device](h, browser, "confirm_device", purser.DeviceRef{Code: asked.UserCode})
		_, err = do[purser.Device](h, browser, "deny_device", purser.DeviceRef{Code: asked.UserCode})
		refused(t, err, purser.InvalidState)
		h.later(30 * time.Second)
		in, err := poll()
		if err != nil || in.Person != h.owner.ID {
			t.Fatalf("%+v %v", in, explainOrNil(err))
		}
		if by, err := h.o.Authenticate(h.ctx, in.Token, "test"); err != nil || by.Kind != purser.Person || by.Session || by.ID != h.owner.ID {
			t.Errorf("the device holds %+v %v", by, err)
		}
		h.later(30 * time.Second)
		_, err = poll()
		inOAuth(t, err, oauth.InvalidGrant)
		if h.counted("confirm_device", "accepted") != 1 || h.counted("confirm_device", "refused") != 2 || h.counted("device_sign_in", "accepted") != 1 || h.counted("device_sign_in", "refused") != 1 {
			t.Error("the sign-in of a device is not on the record as it was")
		}
		h.verify()
	})
}

func TestADeviceThatIsDeniedOrLateGetsNothing(t *testing.T) {
	h := open(t, aDB(t), standing)
	browser := h.owner
	browser.Session = true
	asked, err := h.o.AskDevice(h.ctx, stranger, "x")
	if err != nil {
		t.Fatal(explain(err))
	}
	must[purser.Device](h, h.owner, "deny_device", purser.DeviceRef{Code: asked.UserCode}) // to reduce needs no browser
	_, err = h.o.RedeemDevice(h.ctx, stranger, asked.DeviceCode)
	inOAuth(t, err, oauth.AccessDenied)
	late, err := h.o.AskDevice(h.ctx, stranger, "x")
	if err != nil {
		t.Fatal(explain(err))
	}
	h.later(15*time.Minute + time.Second)
	_, err = h.o.RedeemDevice(h.ctx, stranger, late.DeviceCode)
	inOAuth(t, err, oauth.ExpiredToken)
	_, err = do[purser.Device](h, browser, "confirm_device", purser.DeviceRef{Code: late.UserCode})
	refused(t, err, purser.InvalidState)
	_, err = h.o.RedeemDevice(h.ctx, stranger, "pur_dev_"+strings.Repeat("a", 52))
	inOAuth(t, err, oauth.InvalidGrant)
	for i := range 12 { // guessing
		_, err = do[purser.Device](h, browser, "show_device", purser.DeviceRef{Code: fmt.Sprintf("BBBB-%04d", i)})
	}
	refused(t, err, purser.TooManyTries)
	for range 12 {
		_, err = h.o.AskDevice(h.ctx, purser.Actor{Source: "192.0.2.9"}, "x")
	}
	refused(t, err, purser.TooManyTries)
}

func TestThirtyQuestionsOfADeviceAtOnceGiveOneToken(t *testing.T) {
	eachDB(t, func(t *testing.T, database string) {
		h := open(t, database)
		browser := h.owner
		browser.Session = true
		asked, err := h.o.AskDevice(h.ctx, stranger, "x")
		if err != nil {
			t.Fatal(explain(err))
		}
		must[purser.Device](h, browser, "confirm_device", purser.DeviceRef{Code: asked.UserCode})
		var wg sync.WaitGroup
		var mu sync.Mutex
		n := 0
		for range 30 {
			wg.Go(func() {
				if _, err := h.o.RedeemDevice(h.ctx, stranger, asked.DeviceCode); err == nil {
					mu.Lock()
					n++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if n != 1 {
			t.Errorf("%d tokens", n)
		}
	})
}
