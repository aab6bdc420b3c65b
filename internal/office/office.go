// Package office decides: every operation of Purser, each in one file, between the doors and the store.
package office

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/guard"
	"github.com/purser-dev/purser/internal/oauth"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/spend"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// Provider is a registered seller, as the office hands it to the Seller.
type Provider struct {
	Name     string
	Profile  string // purser, stripe or generic (APP 3.4)
	Manifest app.Manifest
	Secret   seal.Secret // signs every call
	Previous seal.Secret // the one before it, which still signs beside it; empty: none
	State    string      // ok, unreachable or incompatible, as of the last look
}

// Seller calls providers. Its errors are *purser.Error: outcome_unknown when the
// provider may have acted, provider_unavailable when it certainly did not.
type Seller interface {
	Services(ctx context.Context, p Provider) ([]app.Service, error)
	Terms(ctx context.Context, url string) (text string, err error)
	Link(ctx context.Context, p Provider, req app.AccountRequest) (Linked, error)
	Redeem(ctx context.Context, p Provider, req app.AccountRequest, code string) (Linked, error)
	Refresh(ctx context.Context, p Provider, refresh seal.Secret) (app.Token, error)
	Quote(ctx context.Context, p Provider, access seal.Secret, req app.QuoteRequest) (app.Quote, error)
	Create(ctx context.Context, p Provider, access seal.Secret, key string, req app.CreateRequest) (app.Resource, error)
	Get(ctx context.Context, p Provider, access seal.Secret, id string) (app.Resource, error)
	Find(ctx context.Context, p Provider, access seal.Secret, order string) (r app.Resource, found bool, err error)
	List(ctx context.Context, p Provider, access seal.Secret) ([]app.Resource, error)
	Remove(ctx context.Context, p Provider, access seal.Secret, key, id string) (app.Resource, error)
	// Update changes a resource's service or configuration (APP 12.6). The answer's
	// credentials may be left out: then the old ones hold.
	Update(ctx context.Context, p Provider, access seal.Secret, key, id string, req app.UpdateRequest) (app.Resource, error)
	// Rotate makes new credentials (APP 12.7). A provider that has no such thing is
	// provider_failure with its code unsupported_operation: the old ones work.
	Rotate(ctx context.Context, p Provider, access seal.Secret, key, id string) (app.Resource, error)
	// DeepLink asks for a page on which a person is signed in (APP 13).
	DeepLink(ctx context.Context, p Provider, access seal.Secret, purpose, path string) (app.DeepLink, error)
}

// Deployment is a folder on its way to a hosting resource.
type Deployment struct {
	Access map[string]string // credentials of the resource
	Name   string
	Domain string
	Files  []purser.File
	Open   func(sha256 string) (io.ReadCloser, error)
}

// Deployer puts files where a resource's credentials lead. Deploying the same
// files again changes nothing.
type Deployer interface {
	// Takes reports whether a service of these categories, with these outputs,
	// takes files.
	Takes(categories, outputs []string) bool
	Deploy(ctx context.Context, d Deployment) (url string, err error)
}

// Blobs keeps the files of staged folders, by organization and SHA-256.
type Blobs interface {
	Put(ctx context.Context, organization, sha256 string, size int64, r io.Reader) error
	Open(organization, sha256 string) (io.ReadCloser, error)
	Has(organization, sha256 string) bool
}

// AccessTokens signs what connected clients show, and reads it back. A text that is
// not an access token of this server is oauth.ErrToken.
type AccessTokens interface {
	Sign(c oauth.Claims) (string, error)
	Verify(text string) (oauth.Claims, error)
}

// Documents fetches the document that a client names as its identifier. The
// address comes from a stranger.
type Documents interface {
	Fetch(ctx context.Context, address string) ([]byte, error)
}

// Defaults are the limits that hold where nobody set another (CONTROLS, defaults).
type Defaults struct {
	RunBudget     purser.Money
	Threshold     purser.Money
	ProviderMonth purser.Money
	OrdersPerHour int
	RequestTTL    time.Duration // a request waits so long for a person
	SignTTL       time.Duration // a signed approval is used within
	Grace         time.Duration // a retired resource can be restored within
	StopDeadline  time.Duration // of each revocation
	PlanTTL       time.Duration // an applying plan ends after
	Lease         time.Duration // of one call to a provider
	Reminder      time.Duration // how long before its end a request is told of again; 0: never
	KeepNotices   time.Duration // what was told is kept so long; 0: for ever
	SessionLife   time.Duration // of a browser's session
	SessionIdle   time.Duration // after which an unused one ends
}

// Config is what an office needs.
type Config struct {
	Store     *store.Store
	Seller    Seller
	Deployer  Deployer
	Blobs     Blobs
	Box       seal.Box
	AuditSeed []byte             // 32 bytes: signs checkpoints
	Witnesses map[string]Witness // by place, as "file" or "url"; they get a copy of each checkpoint
	PublicURL func() string
	Couriers  map[string]Courier // of notices, by way; one that is missing is not used
	Access    AccessTokens       // nil: no client can be connected
	Documents Documents          // nil: clients register, and name no documents
	// LocalDocuments lets clients name documents by http on this machine.
	LocalDocuments bool
	Arrivals       Arrivals // of people from the upstream issuer
	Defaults       Defaults
	Now            func() time.Time
	Random         io.Reader
	Log            *slog.Logger
}

// Office decides.
type Office struct {
	Config
	installation string
	guards       guard.Set
	pace         guard.Set // those of the guards that read what was ordered lately

	mu       sync.Mutex
	walkers  map[string]chan struct{} // plans that are being applied by this process
	failures failures                 // requests that nobody may send
	guesses  map[string]guesses       // wrong passphrases and recovery codes by address
	locks    []string                 // addresses that were locked and whose people are not told yet
	wg       sync.WaitGroup
	life     context.Context
	end      context.CancelFunc
	leaving  context.Context
	leave    context.CancelFunc
	news     *news
	behind   *behind
	refresh  map[string]*sync.Mutex // one token refresh at a time per connection
	relinks  map[string]time.Time   // when an expired account was asked for again last, by connection
	listings map[string]listing     // prepared catalogs by provider
	daybooks map[string]*daybook    // money by day, by organization
	tails    map[string]*tail       // newest events of the organizations that somebody watches

	queues  queues // what waits for decisions
	facts   facts
	logKeys sync.Map // audit.Key by organization
	looked  sync.Map // time.Time by order: when an old one was last asked for
	known   known
	unsent  answers
	latches latches
}

// New makes an office over an open store. Close waits for what it began.
func New(ctx context.Context, cfg Config) (*Office, error) {
	id, err := cfg.Store.Read().InstallationValue(ctx, "id")
	if err != nil {
		return nil, fmt.Errorf("reading the installation: %w", err)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	o := &Office{
		Config: cfg, installation: id, walkers: map[string]chan struct{}{}, guesses: map[string]guesses{},
		news: newNews(), behind: newBehind(), refresh: map[string]*sync.Mutex{}, relinks: map[string]time.Time{}, listings: map[string]listing{},
		daybooks: map[string]*daybook{}, tails: map[string]*tail{}, queues: newQueues(mostWorkers(cfg.Store.Dialect())),
	}
	o.pace = guard.Set{
		guard.Repeat{Within: 10 * time.Minute},
		breaker,
		guard.Burst{Most: newMost},
		guard.Pace{Most: cfg.Defaults.OrdersPerHour},
	}
	o.guards = append(guard.Set{
		guard.Stops{},
		guard.Clock{Most: purser.MostClockSkew},
		guard.OpenRun{},
		guard.AllowedProvider{},
		guard.Budgeted{},
		guard.Budgets{},
	}, o.pace...)
	o.life, o.end = context.WithCancel(context.WithoutCancel(ctx))
	o.leaving, o.leave = context.WithCancel(o.life)
	if cfg.Store.Dialect() == store.SQLite {
		err = o.endLeases(ctx)
	}
	if err == nil {
		err = o.freezeRestored(ctx)
	}
	if cfg.Store.Dialect() == store.Postgres {
		o.background(o.watch)
	}
	return o, err
}

// Leave makes everyone who waits for a plan return, because the server stops.
func (o *Office) Leave() { o.leave() }

// Leaving is closed when the server stops: who streams then ends.
func (o *Office) Leaving() <-chan struct{} { return o.leaving.Done() }

// Close ends what runs in the background and waits for it. Orders that were in a
// call stay as they are; Recover goes on with them.
func (o *Office) Close() {
	o.mu.Lock() // nothing begins in the background from here on
	o.end()
	o.mu.Unlock()
	o.wg.Wait()
}

// Ready reports whether something can be decided.
func (o *Office) Ready(ctx context.Context) error { return o.Store.Ready(ctx) }

// Operations lists every operation with the method that does it.
func (o *Office) Operations() []Operation {
	ops := []Operation{
		On("set_up", o.SetUp), On("ask_sign_in", o.AskSignIn), On("sign_in", o.SignIn), On("sign_out", o.SignOut),
		On("ask_act", o.AskAct), On("show_act", o.ShowAct), On("answer_act", o.AnswerAct), On("whoami", o.Whoami),
		On("ask_passkey", o.AskPasskey), On("recover_access", o.RecoverAccess), On("accept_invitation", o.AcceptInvitation),
		On("list_passkeys", o.ListPasskeys), On("ask_own_passkey", o.AskOwnPasskey), On("add_passkey", o.AddPasskey), On("revoke_passkey", o.RevokePasskey),
		On("recovery", o.Recovery), On("list_sessions", o.ListSessions), On("revoke_session", o.RevokeSession),
		On("list_people", o.ListPeople), On("invite", o.Invite), On("list_invitations", o.ListInvitations), On("revoke_invitation", o.RevokeInvitation),
		On("set_role", o.SetRole), On("remove_person", o.RemovePerson), On("two_people", o.TwoPeople), On("set_two_people", o.SetTwoPeople),
		On("create_project", o.CreateProject), On("list_projects", o.ListProjects),
		On("catalog", o.Catalog), On("search", o.Search), On("add_provider", o.AddProvider), On("list_providers", o.ListProviders),
		On("show_provider", o.ShowProvider), On("remove_provider", o.RemoveProvider), On("record_conformance", o.RecordConformance),
		On("link", o.Link), On("unlink", o.Unlink), On("open", o.Open), On("propose_open", o.ProposeOpen), On("adopt", o.Adopt),
		On("create_run", o.CreateRun), On("list_runs", o.ListRuns), On("show_run", o.ShowRun), On("extend_run", o.ExtendRun),
		On("end_run", o.EndRun), On("list_agents", o.ListAgents), On("revoke_agent", o.RevokeAgent),
		On("stage", o.Stage), On("plan", o.Plan), On("show_plan", o.ShowPlan), On("list_approvals", o.ListApprovals),
		On("approve", o.Approve), On("deny", o.Deny), On("lower_ceiling", o.LowerCeiling), On("apply", o.Apply), On("add", o.Add), On("deploy", o.Deploy), On("resolve", o.Resolve),
		On("status", o.Status), On("spend", o.Spend), On("list_budgets", o.ListBudgets), On("set_budget", o.SetBudget),
		On("subscriptions", o.Subscriptions), On("cancel_subscription", o.CancelSubscription),
		On("remove", o.Remove), On("restore", o.Restore), On("exec", o.Exec),
		On("update", o.Update), On("upgrade", o.Upgrade), On("downgrade", o.Downgrade), On("rotate", o.Rotate), On("show_order", o.ShowOrder), On("inform", o.Inform),
		On("stop", o.Stop), On("show_stop", o.ShowStop), On("list_stops", o.ListStops), On("resume", o.Resume),
		On("list_notices", o.ListNotices), On("set_notices", o.SetNotices), On("test_notices", o.TestNotices),
		On("audit_log", o.AuditLog), On("prove", o.Prove), On("checkpoint", o.ShowCheckpoint), On("check_books", o.CheckBooks),
		On("overview", o.Overview), On("report", o.Report), On("review", o.Review), On("show_terms", o.ShowTerms),
		On("list_resources", o.ListResources), On("show_resource", o.ShowResource), On("search_audit", o.SearchAudit),
		On("place_hold", o.PlaceHold), On("list_holds", o.ListHolds), On("begin_hold", o.BeginHold), On("capture_hold", o.CaptureHold),
		On("release_hold", o.ReleaseHold), On("resolve_hold", o.ResolveHold), On("charge_usage", o.ChargeUsage), On("refund_hold", o.RefundHold, spend.WhoRefunds), // it looks like a person's word
		On("allow_repeat", o.AllowRepeat), On("set_labels", o.SetLabels),
		On("create_platform", o.CreatePlatform), On("list_platforms", o.ListPlatforms), On("revoke_platform", o.RevokePlatform),
		On("charge", o.Charge), On("refund", o.Refund),
		On("show_authorization", o.ShowAuthorization), On("grant", o.Grant), On("decline", o.Decline),
		On("first_passkey", o.FirstPasskey), On("list_grants", o.ListGrants), On("revoke_grant", o.RevokeGrant),
		On("show_device", o.ShowDevice), On("confirm_device", o.ConfirmDevice), On("deny_device", o.DenyDevice),
	}
	for i := range ops {
		ops[i].Do = o.recorded(ops[i])
	}
	return ops
}

// recorded keeps a record of each attempt to do what the credential may not:
// an agent that approves, a viewer that raises a limit (drill d).
func (o *Office) recorded(op Operation) func(context.Context, purser.Actor, any) (any, error) {
	do := op.Do
	return func(ctx context.Context, by purser.Actor, in any) (any, error) {
		var no *purser.Error
		if err := admit(op, by); err == nil || by.Organization == "" || !asCoded(err, &no) {
			return do(ctx, by, in)
		}
		if by.Ended != nil {
			return nil, o.turnedAway(&by, no)
		}
		return nil, o.turn(ctx, by.Organization, func(t *store.Turn) error {
			return o.refuse(t, recordOf(by, op.Name, ""), no)
		})
	}
}

// turn runs f in the organization's turn and tells who waits for news.
func (o *Office) turn(ctx context.Context, org string, f func(*store.Turn) error) error {
	records := int64(0)
	err := o.Store.Turn(ctx, org, func(t *store.Turn) error {
		first := t.Seq
		err := f(t)
		records = t.Seq - first
		return err
	})
	if err == nil {
		o.news.tell(org)
		o.behind.grew(org, records)
	}
	return o.explain(ctx, err)
}

// explain gives store errors a code. What has one keeps it.
func (o *Office) explain(ctx context.Context, err error) error {
	var coded *purser.Error
	switch {
	case err == nil || errors.As(err, &coded):
		return err
	case errors.Is(err, store.ErrNoOrganization):
		return purser.Errorf(purser.NotFound, "the organization is not known").WithCause(err)
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return err
}

// answerLost is told of a change that was committed or not.
func answerLost(err error) error {
	return purser.Errorf(purser.OutcomeUnknown, "the database's answer was lost; the same key tells what became of it").WithCause(err)
}

// Explain gives an error that has no code one, where the database says what became of the
// request: it can be asked again (unavailable), or nobody knows (outcome_unknown). Any
// other is a fault of the program.
func Explain(err error) error {
	var coded *purser.Error
	switch {
	case err == nil || errors.As(err, &coded):
	case errors.Is(err, store.ErrLostCommit):
		return answerLost(err)
	case store.Away(err):
		out := purser.Errorf(purser.Unavailable, "the database does not answer, or cannot write").
			WithHint("ask again, and under the same key").WithCause(err)
		out.RetryAfter = time.Second
		return out
	}
	return err
}

// refuse records a refusal in this turn and returns it, so that the turn commits.
func (o *Office) refuse(t *store.Turn, r audit.Record, err *purser.Error) error {
	r.Outcome = audit.Refused
	r.Policy = &audit.Policy{Verdict: "refused", Reasons: []string{string(err.Code)}}
	if r.Detail == nil {
		r.Detail = map[string]string{}
	}
	r.Detail["reason"] = err.Detail
	for _, b := range err.Budgets {
		r.Budgets = append(r.Budgets, budgetRecord(b, 0))
	}
	t.Record(r)
	return &store.Refused{Err: err}
}

// recordOf begins a record of what an actor does.
func recordOf(by purser.Actor, action, target string) audit.Record {
	return audit.Record{
		Actor:   audit.Actor{Kind: string(by.Kind), ID: by.ID, Key: by.Token, DelegatedBy: by.DelegatedBy},
		Project: by.Project, Run: by.Run, Action: action, Target: target, IdempotencyKey: by.Key, Outcome: audit.Accepted,
	}
}

// system acts when nobody does: renewals, recovery, the first start.
var system = purser.Actor{Kind: purser.System, ID: "purser"}

func (o *Office) newID(prefix string) (string, error) { return purser.NewID(prefix, o.Now(), o.Random) }

// randomText is n random bytes as base64url.
func (o *Office) randomText(n int) (string, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(o.Random, b); err != nil {
		return "", fmt.Errorf("reading randomness: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}

func hashOf(s seal.Secret) string { return hex.EncodeToString(seal.HashToken(s)) }

// missing reports that a row is not there.
func missing(err error) bool { return errors.Is(err, sql.ErrNoRows) }

// lists are the commands that show what there is.
var lists = map[string]string{
	"plan": "purser approvals, or purser status", "run": "purser run list", "agent": "purser agent list", "resource": "purser status",
	"order": "purser status", "provider": "purser provider list", "project": "purser project list", "subscription": "purser subscriptions", "stop": "purser status",
	"person":        "purser people list",
	"staged folder": "stage it again: purser deploy DIR",
}

// notFound turns a missing row into an answer.
func notFound(err error, what, id string) error {
	if missing(err) {
		no := purser.Errorf(purser.NotFound, "no %s is called %q here", what, id)
		if hint := lists[what]; hint != "" {
			return no.WithHint("%s", hint)
		}
		return no
	}
	return err
}

func toJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil { // our own types only: a fault of the program
		panic(fmt.Sprintf("office: writing %T: %v", v, err))
	}
	return string(b)
}

func fromJSON[T any](text string) (v T, err error) {
	if text == "" {
		return v, nil
	}
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return v, fmt.Errorf("reading a stored %T: %w", v, err)
	}
	return v, nil
}

// sealText seals a secret for one cell of one row.
func (o *Office) sealText(s seal.Secret, org, table, row, column string) ([]byte, error) {
	return o.Box.Seal([]byte(s.Reveal()), seal.Context(org, table, row, column))
}

func (o *Office) openText(b []byte, org, table, row, column string) (seal.Secret, error) {
	plain, err := o.Box.Open(b, seal.Context(org, table, row, column))
	if err != nil {
		return seal.Secret{}, fmt.Errorf("opening %s of %s: %w", column, row, err)
	}
	return seal.NewSecret(string(plain)), nil
}

// mostPage is how many of a list one answer has at most.
const mostPage = 200

// page reads which part of a list is asked for: how many, and from where in this list.
// What names no place in it is refused: an empty answer would say that there is nothing.
func page(p purser.Page, ours func(cursor string) bool) (limit int32, err error) {
	switch {
	case p.Limit < 0 || p.Limit > mostPage:
		return 0, purser.Errorf(purser.InvalidRequest, "limit: a number from 1 to %d", mostPage)
	case p.Cursor != "" && !ours(p.Cursor):
		return 0, purser.Errorf(purser.InvalidRequest, "the cursor is not one of this list")
	case p.Limit == 0:
		return 50, nil
	}
	return int32(p.Limit), nil
}

// named are the cursors of a list that goes by identifier.
func named(prefix string) func(string) bool {
	return func(cursor string) bool { return purser.ValidID(prefix, cursor) }
}

// counted are those of one that goes by number.
func counted(cursor string) bool {
	_, err := strconv.ParseUint(cursor, 10, 63)
	return err == nil
}

// cut shortens a list that was read with one row more than asked for.
func cut[R, T any](rows []R, limit int32, show func(R) T, id func(R) string) purser.List[T] {
	out := purser.List[T]{Items: []T{}}
	for i, r := range rows {
		if int32(i) == limit {
			out.NextCursor = id(rows[i-1])
			break
		}
		out.Items = append(out.Items, show(r))
	}
	return out
}

// organizations lists every organization but the installation.
func (o *Office) organizations(ctx context.Context) ([]db.Organization, error) {
	all, err := o.Store.Read().Organizations(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing organizations: %w", err)
	}
	var out []db.Organization
	for _, org := range all {
		if org.ID != store.Installation {
			out = append(out, org)
		}
	}
	return out, nil
}

// News is closed at the next change in an organization, soon after it where another
// server makes it. Take it before looking.
func (o *Office) News(organization string) <-chan struct{} { return o.news.next(organization) }
