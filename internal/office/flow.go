package office

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"net/url"
	"strings"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/catalog"
	"github.com/purser-dev/purser/internal/notice"
	"github.com/purser-dev/purser/internal/rail"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// Linked is what came of an account request: a token, or a page where a person
// must agree first.
type Linked struct {
	Token   app.Token
	Consent *Consent // nil: the token is there
	BaseURL string   // the host that answered; the account lives there (APP 17.2)
}

// Consent is a page of a provider where a person must sign in and agree (APP 9.6,
// 9.7). Everything in it is a secret.
type Consent struct {
	URL       string
	State     string // comes back with the code
	Secret    string // the request's confirmation secret
	ExpiresAt time.Time
}

// States of a flow (APP 9.7).
const (
	FlowPending  = "pending"
	FlowApproved = "approved"
	FlowDenied   = "denied"
	FlowExpired  = "expired"
	FlowComplete = "complete"
)

const (
	ticketTTL = 5 * time.Minute
	maxAnswer = 2048 // characters of a code, and of a state
)

// At is the provider at another of its hosts: below base instead of its base URL,
// the token endpoint included.
func (p Provider) At(base string) Provider {
	if base == "" || base == p.Manifest.BaseURL {
		return p
	}
	old := p.Manifest.BaseURL
	p.Manifest.BaseURL = strings.TrimRight(base, "/") + "/"
	if rest, below := strings.CutPrefix(p.Manifest.OAuthTokenEndpoint, old); below {
		p.Manifest.OAuthTokenEndpoint = p.Manifest.BaseURL + rest
	} else if to, err := url.Parse(base); err == nil {
		if token, err := url.Parse(p.Manifest.OAuthTokenEndpoint); err == nil {
			token.Scheme, token.Host = to.Scheme, to.Host
			p.Manifest.OAuthTokenEndpoint = token.String()
		}
	}
	p.Manifest.PublicBaseURL = ""
	return p
}

// flowID is the account request of an order, under which its provider knows it.
func flowID(order string) string { return "acctreq_" + order }

// linked asks for the account of a link step, or goes on with a request that a
// person has answered.
func (o *Office) linked(ctx context.Context, p Provider, order db.Order, req app.AccountRequest) (Linked, error) {
	flow, err := o.Store.Read().Flow(ctx, db.FlowParams{Organization: order.Organization, ID: req.ID})
	switch {
	case missing(err):
		return o.Seller.Link(ctx, p, req)
	case err != nil:
		return Linked{}, err
	case flow.Status == FlowDenied:
		out := purser.Errorf(purser.ProviderFailure, "the account at %s was not agreed to", p.Name)
		out.Provider = &purser.ProviderSaid{Code: flow.Reason}
		return Linked{}, out.WithHint("make a new plan, and agree at %s", p.Name)
	case flow.Status == FlowPending:
		return o.Seller.Link(ctx, p, req)
	}
	code, err := o.takeCode(ctx, flow)
	if err != nil {
		return Linked{}, err
	}
	var out Linked
	if code.Empty() { // agreed to without a code, or its answer was lost: asking again gives one (APP 9.3, 9.7)
		out, err = o.Seller.Link(ctx, p, req)
	} else {
		out, err = o.Seller.Redeem(ctx, p, req, code.Reveal())
	}
	if err == nil && out.Consent != nil {
		return Linked{}, purser.Errorf(purser.ProviderFailure, "%s was agreed with and asks again", p.Name)
	}
	return out, err
}

// takeCode takes the code out of a flow before it is exchanged: it works once.
func (o *Office) takeCode(ctx context.Context, flow db.Flow) (seal.Secret, error) {
	if flow.Code == "" {
		return seal.Secret{}, nil
	}
	raw, err := base64.StdEncoding.DecodeString(flow.Code)
	if err != nil {
		return seal.Secret{}, err
	}
	code, err := o.openText(raw, flow.Organization, "flows", flow.ID, "code")
	if err != nil {
		return code, err
	}
	err = o.turn(ctx, flow.Organization, func(t *store.Turn) error {
		n, err := t.TakeFlowCode(ctx, db.TakeFlowCodeParams{Organization: t.Org, ID: flow.ID})
		if n == 0 {
			code = seal.Secret{}
		}
		return err
	})
	return code, err
}

// needsConsent is what an agent and a person are told while a page waits.
func (o *Office) needsConsent(p Provider, order, email string) *purser.Error {
	return purser.Errorf(purser.NeedsPerson, "%s wants %s to sign in there and agree", p.Name, email).
		WithHint("purser consent %s prints a page for your browser (of %s/v1/flows/%s/start)", order, strings.TrimSuffix(o.PublicURL(), "/"), flowID(order))
}

// waitsForPerson reports that an order goes on by itself once a person has acted.
func waitsForPerson(e *purser.Error) bool {
	if e == nil {
		return false
	}
	told := e.Code == purser.NeedsInformation && e.Provider != nil && e.Provider.Code == app.AnswerNeedsInformation
	return e.Code == purser.NeedsPerson || told
}

// waiting gives the reason why a placed order cannot go on before a person has
// acted; nil when it can. A stop and the plan's end are begin's to decide.
func (o *Office) waiting(ctx context.Context, plan db.Plan, order db.Order) (*purser.Error, error) {
	if purser.OrderState(order.State) != purser.OrderPlaced || order.Error == "" || store.Micro(o.Now()) >= plan.Deadline {
		return nil, nil
	}
	why, err := fromJSON[purser.Error](order.Error)
	if err != nil || !waitsForPerson(&why) {
		return nil, err
	}
	if why.Code == purser.NeedsPerson {
		flow, err := o.Store.Read().Flow(ctx, db.FlowParams{Organization: order.Organization, ID: flowID(order.ID)})
		if err != nil || o.flowStatus(flow) != FlowPending {
			return nil, ignoreMissing(err)
		}
	}
	stops, err := o.Store.Read().StopsAfter(ctx, db.StopsAfterParams{Organization: order.Organization, After: order.Epoch})
	if err != nil || len(stops) > 0 {
		return nil, err
	}
	return &why, nil
}

func ignoreMissing(err error) error {
	if missing(err) {
		return nil
	}
	return err
}

// flowStatus is a flow's status now.
func (o *Office) flowStatus(f db.Flow) string {
	if f.Status == FlowPending && store.Micro(o.Now()) >= f.ExpiresAt {
		return FlowExpired
	}
	return f.Status
}

// settleWaiting takes an order back to placed, with its money held, until a person
// has agreed or told what the provider asks for.
func (o *Office) settleWaiting(ctx context.Context, t *store.Turn, b begun, s sold, why *purser.Error) error {
	r := orderRecord("wait", b.plan, b.step, b.order.ID)
	r.Detail["code"] = string(why.Code)
	t.Record(r)
	if s.consent != nil {
		if err := o.openFlow(ctx, t, b, *s.consent); err != nil {
			return err
		}
	}
	if err := o.tellOrder(ctx, t, b.order, func(order notice.Order) notice.Notice { return notice.Waits(order, why) }); err != nil {
		return err
	}
	if _, err := t.ClosePaymentTokens(ctx, db.ClosePaymentTokensParams{Organization: t.Org, Hold: b.order.Hold, State: rail.Revoked}); err != nil {
		return err
	}
	return t.TakeBackOrder(ctx, db.TakeBackOrderParams{Organization: t.Org, ID: b.order.ID, Error: toJSON(why), UpdatedAt: store.Micro(t.Now)})
}

// openFlow keeps a page of a provider until somebody has agreed there. A page that
// was asked for again keeps the browser that is on its way, if its state is the same.
func (o *Office) openFlow(ctx context.Context, t *store.Turn, b begun, c Consent) error {
	id := flowID(b.order.ID)
	sealed, err := o.sealText(seal.NewSecret(c.URL), t.Org, "flows", id, "url")
	if err != nil {
		return err
	}
	return t.UpsertFlow(ctx, db.UpsertFlowParams{
		Organization: t.Org, ID: id, Provider: b.step.Provider, OrderID: b.order.ID, Url: sealed,
		StateHash: hashOf(seal.NewSecret(c.State)), SecretHash: hashOf(seal.NewSecret(c.Secret)),
		ExpiresAt: store.Micro(c.ExpiresAt), CreatedAt: store.Micro(t.Now),
	})
}

// Ticket lets one browser open one flow's page, once.
type Ticket struct {
	URL       string    `json:"url"`
	ExpiresAt time.Time `json:"expires_at"`
}

// FlowTicket gives a person a link that a browser can open without a credential:
// single use, five minutes. Agents get none: whoever opens it agrees as the person.
func (o *Office) FlowTicket(ctx context.Context, by purser.Actor, id string) (Ticket, error) {
	flow, err := o.personsFlow(ctx, by, id)
	if err != nil {
		return Ticket{}, err
	}
	text, err := o.randomText(32)
	if err != nil {
		return Ticket{}, err
	}
	out := Ticket{ExpiresAt: o.Now().Add(ticketTTL).UTC()}
	out.URL = strings.TrimSuffix(o.PublicURL(), "/") + "/v1/flows/" + id + "/start?ticket=" + text
	return out, o.turn(ctx, flow.Organization, func(t *store.Turn) error {
		t.Record(recordOf(by, "flow_ticket", id))
		return t.SetFlowTicket(ctx, db.SetFlowTicketParams{
			Organization: t.Org, ID: id, TicketHash: hashOf(seal.NewSecret(text)), TicketUntil: store.Micro(out.ExpiresAt), Person: by.ID,
		})
	})
}

func (o *Office) personsFlow(ctx context.Context, by purser.Actor, id string) (db.Flow, error) {
	if by.Kind != purser.Person || by.Role == purser.Viewer {
		return db.Flow{}, purser.Errorf(purser.Forbidden, "only a person who may approve agrees with a provider")
	}
	flow, err := o.Store.Read().Flow(ctx, db.FlowParams{Organization: by.Organization, ID: id})
	return flow, notFound(err, "account request", id)
}

// Started is where a browser goes, and what ties the flow to it.
type Started struct {
	URL       string      // the provider's page
	Session   seal.Secret // the browser's cookie
	ExpiresAt time.Time
}

// StartFlow ties a pending flow to the browser that opens it, by its ticket or as a
// person, and gives the provider's page (APP 9.6). A later start takes it over.
func (o *Office) StartFlow(ctx context.Context, by purser.Actor, id, ticket string) (Started, error) {
	var flow db.Flow
	var err error
	if ticket == "" {
		flow, err = o.personsFlow(ctx, by, id)
	} else if flow, err = o.Store.Read().FlowByID(ctx, id); missing(err) {
		err = badTicket()
	}
	if err != nil {
		return Started{}, err
	}
	text, err := o.randomText(32)
	if err != nil {
		return Started{}, err
	}
	out := Started{Session: seal.NewSecret(text)}
	expired := false
	err = o.turn(ctx, flow.Organization, func(t *store.Turn) error {
		if flow, err = t.Flow(ctx, db.FlowParams{Organization: t.Org, ID: id}); err != nil {
			return err
		}
		if ticket != "" {
			if store.Micro(t.Now) >= flow.TicketUntil || !sameHash(flow.TicketHash, hashOf(seal.NewSecret(ticket))) {
				return badTicket()
			}
			by = purser.Actor{Kind: purser.Person, ID: flow.Person, Organization: t.Org}
		}
		switch o.flowStatus(flow) {
		case FlowPending:
		case FlowExpired:
			expired = true
			return nil
		default:
			return purser.Errorf(purser.InvalidState, "this account request is %s already", flow.Status)
		}
		t.Record(recordOf(by, "start_flow", id))
		return t.StartFlow(ctx, db.StartFlowParams{
			Organization: t.Org, ID: id, SessionHash: hashOf(out.Session), Person: by.ID, UpdatedAt: store.Micro(t.Now),
		})
	})
	if err != nil {
		return Started{}, err
	}
	if expired {
		o.goOn(ctx, flow)
		return Started{}, purser.Errorf(purser.Unavailable, "the page of %s ran out and is being asked for again", flow.Provider).WithHint("open the link again in a moment")
	}
	target, err := o.openText(flow.Url, flow.Organization, "flows", id, "url")
	out.URL, out.ExpiresAt = target.Reveal(), store.Time(flow.ExpiresAt)
	return out, err
}

func badTicket() error {
	return purser.Errorf(purser.Forbidden, "this link was used before, or its time is over").WithHint("ask for a new one")
}

func sameHash(a, b string) bool {
	return a != "" && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}

// FlowAnswer is what a browser brings back from a provider (RFC 6749, 4.1.2).
type FlowAnswer struct {
	Code, State, Error string
	Sessions           []seal.Secret // the cookies of this browser
}

// FinishFlow takes what a browser brought back. Only a pending flow of this very
// browser counts; anything else changes nothing (APP 9.6). It is decided here, before
// the code is exchanged, and the plan goes on by itself.
func (o *Office) FinishFlow(ctx context.Context, in FlowAnswer) (provider string, agreed bool, err error) {
	none := purser.Errorf(purser.InvalidState, "this page belongs to no account request of this browser").WithHint("open the link of the account request again")
	if in.State == "" || len(in.State) > maxAnswer || in.Code == "" && in.Error == "" || len(in.Code) > maxAnswer {
		return "", false, none
	}
	flows, err := o.Store.Read().FlowsByState(ctx, hashOf(seal.NewSecret(in.State)))
	if err != nil {
		return "", false, err
	}
	for _, flow := range flows {
		if session := ofBrowser(flow, in.Sessions); session && o.flowStatus(flow) == FlowPending {
			d := verdict{status: FlowApproved, code: in.Code}
			if in.Error != "" {
				d = verdict{status: FlowDenied, reason: in.Error}
			}
			by := purser.Actor{Kind: purser.Person, ID: flow.Person, Organization: flow.Organization}
			return flow.Provider, d.status == FlowApproved, o.decideFlow(ctx, by, flow, d, none)
		}
	}
	return "", false, none
}

func ofBrowser(f db.Flow, sessions []seal.Secret) bool {
	found := false
	for _, s := range sessions {
		found = sameHash(f.SessionHash, hashOf(s)) || found
	}
	return found
}

type verdict struct{ status, code, reason string }

// decideFlow writes the answer down, once, and goes on with the plan.
func (o *Office) decideFlow(ctx context.Context, by purser.Actor, flow db.Flow, d verdict, late *purser.Error) error {
	err := o.turn(ctx, flow.Organization, func(t *store.Turn) error {
		now, err := t.Flow(ctx, db.FlowParams{Organization: t.Org, ID: flow.ID})
		if err != nil {
			return err
		}
		if now.Status != FlowPending || store.Micro(t.Now) >= now.ExpiresAt {
			return late
		}
		code := ""
		if d.code != "" {
			sealed, err := o.sealText(seal.NewSecret(d.code), t.Org, "flows", flow.ID, "code")
			if err != nil {
				return err
			}
			code = base64.StdEncoding.EncodeToString(sealed)
		}
		r := recordOf(by, "decide_flow", flow.ID)
		r.Detail = map[string]string{"decision": d.status, "provider": flow.Provider}
		if d.status == FlowDenied {
			r.Outcome = audit.Refused
		}
		t.Record(r)
		return t.DecideFlow(ctx, db.DecideFlowParams{
			Organization: t.Org, ID: flow.ID, Status: d.status, Code: code, Reason: catalog.Plain(d.reason, 80), UpdatedAt: store.Micro(t.Now),
		})
	})
	if err == nil {
		o.goOn(ctx, flow)
	}
	return err
}

// goOn walks the plan that waits for a flow.
func (o *Office) goOn(ctx context.Context, flow db.Flow) {
	order, err := o.Store.Read().Order(context.WithoutCancel(ctx), db.OrderParams{Organization: flow.Organization, ID: flow.OrderID})
	if err == nil {
		o.walkOn(flow.Organization, order.Plan)
	}
}

// walkOn walks a plan after what it waited for has come. A walk that is ending now
// may not have seen it, so there is one after it.
func (o *Office) walkOn(org, plan string) {
	under := o.walk(org, plan)
	o.mu.Lock()
	defer o.mu.Unlock()
	if under == nil || o.life.Err() != nil {
		return
	}
	o.wg.Go(func() {
		select {
		case <-under:
			o.walk(org, plan)
		case <-o.life.Done():
		}
	})
}
