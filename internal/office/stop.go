package office

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/catalog"
	"github.com/purser-dev/purser/internal/guard"
	"github.com/purser-dev/purser/internal/notice"
	"github.com/purser-dev/purser/internal/rail"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// Kinds and states of what follows a stop.
const (
	effectToken  = "token"  // of those in scope: noted when it was revoked
	effectTokens = "tokens" // agents', in scope
	effectHold   = "hold"   // of an order that did not begin
	effectHolds  = "holds"  // all others in scope that did not begin
	effectPlans  = "plans"  // in scope, that wait or may start

	effectPending = "pending"
	effectDone    = "done"
	effectFailed  = "failed"
	effectUnknown = "unknown"
)

// Stop refuses every spend in a scope from this turn on. The answer says what
// could not be stopped; ShowStop tells what became of each revocation (RULES 21).
func (o *Office) Stop(ctx context.Context, by purser.Actor, in purser.Stop) (purser.StopInfo, error) {
	// What no record can say would be latched and insisted on for ever.
	if in.Scope != "" && !canName(in.Scope) || in.ID != "" && !canName(in.ID) {
		return purser.StopInfo{}, purser.Errorf(purser.NotFound, "nothing has such a scope or such a name").WithHint("1 to 64 visible ASCII characters name it")
	}
	// An agent has its own run, and is one itself.
	if in.ID == "" && by.Kind != purser.Agent && slices.Contains([]string{"project", "provider", "agent", "run"}, in.Scope) {
		return purser.StopInfo{}, purser.Errorf(purser.InvalidRequest, "which %s?", in.Scope).WithHint("%s", lists[in.Scope])
	}
	one := o.latches.set(by, in)
	out, err := o.putInForce(ctx, by, in)
	if err == nil {
		o.unsent.left(ctx)
	}
	switch {
	case err == nil || purser.CodeOf(err) != purser.Unavailable:
		o.latches.lift(one)
	case one == nil:
		late := purser.Errorf(purser.Unavailable, "the database does not answer: nothing is stopped, and nothing is latched here").
			WithHint("ask again under the same key, for what you may stop").WithCause(err)
		late.RetryAfter = 5 * time.Second
		err = late
	default:
		o.insist(one, by, in)
	}
	return out, err
}

// acknowledgeMost is how long a stop waits to be stored before its caller is told
// that it is not (SPEND.md K4).
const acknowledgeMost = 10 * time.Second

// putInForce takes the turn of a stop. A database that does not answer in time is
// unavailable, and the stop is not acknowledged.
func (o *Office) putInForce(ctx context.Context, by purser.Actor, in purser.Stop) (purser.StopInfo, error) {
	ctx, cancel := context.WithTimeout(store.Urgent(ctx), acknowledgeMost)
	defer cancel()
	decided := false
	out, err := once(ctx, o, by, "stop", in, func(t *store.Turn) (purser.StopInfo, error) {
		decided = true
		if by.Remembered {
			if err := o.stillGood(ctx, t, by); err != nil {
				return purser.StopInfo{}, o.refuseAct(t, by, "stop", in.Scope+":"+in.ID, err)
			}
		}
		target, err := o.stopTarget(ctx, t, by, in)
		if err != nil {
			return purser.StopInfo{}, o.refuseAct(t, by, "stop", in.Scope+":"+in.ID, err)
		}
		// Who is in a hurry is not asked for words first.
		return o.stop(ctx, t, by, in.Scope, target, cmp.Or(strings.TrimSpace(catalog.Plain(in.Reason, 300)), "no reason was given"))
	})
	if err == nil && !decided { // a key's answer of before: the stop may have been lifted since
		out, err = o.showStop(ctx, o.Store.Read(), by.Organization, out.ID)
	}
	if err == nil {
		o.background(func(ctx context.Context) { o.revoke(ctx, by.Organization, out.ID) })
	}
	var coded *purser.Error
	if err != nil && !asCoded(err, &coded) {
		late := purser.Errorf(purser.Unavailable, "the stop is latched here and not acknowledged: the database does not answer").
			WithHint("ask again under the same key, until it is acknowledged; this server spends nothing of it meanwhile").WithCause(err)
		late.RetryAfter = 5 * time.Second // this server goes on asking by itself
		err = late
	}
	return out, err
}

// stillGood refuses a stop by a credential that had ended when the door took it from memory.
func (o *Office) stillGood(ctx context.Context, t *store.Turn, by purser.Actor) error {
	token, err := t.Token(ctx, db.TokenParams{Organization: t.Org, ID: by.Token})
	if err != nil {
		return err
	}
	ended := token.RevokedAt != 0 || store.Micro(t.Now) >= token.ExpiresAt
	if by.Kind == purser.Person {
		person, err := t.Person(ctx, db.PersonParams{Organization: t.Org, ID: by.ID})
		if err != nil {
			return err
		}
		ended = ended || person.RemovedAt != 0
	}
	if ended {
		return notSignedIn("the token has ended")
	}
	return nil
}

// stopTarget checks the scope, and that an agent reaches no wider than itself and
// its run (RULES 3).
func (o *Office) stopTarget(ctx context.Context, t *store.Turn, by purser.Actor, in purser.Stop) (string, error) {
	id := in.ID
	switch {
	case in.Scope == "run" && id == "":
		id = by.Run
	case in.Scope == "agent" && id == "" && by.Kind == purser.Agent:
		id = by.ID
	case in.Scope == "organization" && id == "":
		id = t.Org
	}
	if by.Kind == purser.Agent && !(in.Scope == "run" && id == by.Run || in.Scope == "agent" && id == by.ID) {
		return "", purser.Errorf(purser.Forbidden, "an agent stops its own run and itself, nothing wider").WithHint("ask the person behind the run")
	}
	return o.stopped(ctx, t.Queries, t.Org, in.Scope, id)
}

// stopped is the identifier of what a stop stops: projects and agents have names too.
func (o *Office) stopped(ctx context.Context, q *db.Queries, org, scope, named string) (id string, err error) {
	id = named
	switch scope {
	case "organization":
		if id != org {
			return "", purser.Errorf(purser.NotFound, "no organization is called %q here", id)
		}
	case "project":
		var p db.Project
		p, err = o.project(ctx, q, purser.Actor{Kind: purser.Person, Organization: org}, id)
		id = p.ID
	case "provider":
		// Whoever could be paid by a hold can be stopped, seen before or not.
		if _, err = q.Provider(ctx, id); missing(err) && validPayee(id) {
			err = nil
		}
	case "agent":
		var a db.Agent
		if a, err = q.Agent(ctx, db.AgentParams{Organization: org, ID: id}); missing(err) {
			a, err = q.LiveAgentByName(ctx, db.LiveAgentByNameParams{Organization: org, Name: id})
		}
		id = a.ID
	case "run":
		_, err = q.Run(ctx, db.RunParams{Organization: org, ID: id})
	default:
		return "", purser.Errorf(purser.InvalidRequest, "a stop's scope is organization, project, provider, agent or run, not %q", scope)
	}
	return id, notFound(err, scope, named)
}

// stop is the turn: K is its record's number.
func (o *Office) stop(ctx context.Context, t *store.Turn, by purser.Actor, scope, target, reason string) (purser.StopInfo, error) {
	id, err := o.newID(purser.PrefixStop)
	if err != nil {
		return purser.StopInfo{}, err
	}
	t.Epoch++
	out := purser.StopInfo{ID: id, Scope: scope, Target: target, Name: o.targetName(ctx, t.Queries, t.Org, scope, target), Reason: reason, By: by, Epoch: t.Epoch, At: t.Now, Open: []purser.OpenItem{}, Effects: []purser.StopEffect{}}
	r := recordOf(by, "stop", scope+":"+target)
	r.Detail = map[string]string{"stop": id, "reason": reason, "epoch": fmt.Sprint(t.Epoch)}
	out.Seq = t.Record(r)
	return out, o.inForce(ctx, t, &out, func(h db.Hold) db.Hold { return h })
}

// inForce stores a stop that is recorded, with what is open and what is to follow.
// fresh is a hold as the turn has it, where that is not stored yet.
func (o *Office) inForce(ctx context.Context, t *store.Turn, out *purser.StopInfo, fresh func(db.Hold) db.Hold) error {
	if err := o.openAt(ctx, t, out, fresh); err != nil {
		return err
	}
	if out.Scope != purser.ScopeProvider {
		// They are dead from this turn on, because whoever shows one is held against the stops
		// in force. However many a client got, a stop looks at none of them.
		out.Effects = append(out.Effects, purser.StopEffect{Kind: effectTokens, Target: out.Scope + ":" + out.Target, State: effectPending})
	}
	if err := o.plansAt(ctx, t, out); err != nil {
		return err
	}
	if err := o.tell(ctx, t, notice.Stop(*out, o.nameOf(ctx, t.Queries, t.Org, out.By))); err != nil {
		return err
	}
	if err := o.grantsAt(ctx, t, *out); err != nil {
		return err
	}
	if err := t.InsertStopEffects(ctx, out.ID, out.Effects); err != nil {
		return err
	}
	return t.InsertStop(ctx, db.InsertStopParams{
		Organization: t.Org, ID: out.ID, Scope: out.Scope, Target: out.Target, Reason: out.Reason, Actor: toJSON(out.By), Epoch: out.Epoch, Seq: out.Seq,
		At: store.Micro(t.Now), Open: toJSON(out.Open), Voided: int64(out.Voided),
	})
}

// openAt lists the purchases in flight, those among them that were charged and are to
// be begun anew, and the holds that were not begun: those are void and go back.
func (o *Office) openAt(ctx context.Context, t *store.Turn, out *purser.StopInfo, fresh func(db.Hold) db.Hold) error {
	rows, err := t.OrdersAtStop(ctx, t.Org)
	if err != nil {
		return err
	}
	for _, row := range rows {
		order, h := row.Order, fresh(row.Hold)
		path := guard.Path{Organization: t.Org, Project: order.Project, Provider: order.Provider, Agent: order.Agent, Run: order.Run}
		if !path.Covered(out.Scope, out.Target) {
			continue
		}
		if purser.OrderState(order.State) == purser.OrderPlaced && !charged(h) {
			out.Effects = append(out.Effects, purser.StopEffect{Kind: effectHold, Target: order.ID, State: effectPending})
			continue
		}
		out.Open = append(out.Open, purser.OpenItem{
			Order: order.ID, What: order.What, State: purser.OrderState(order.State), Held: purser.Money{Amount: left(h), Currency: h.Currency},
		})
	}
	return o.holdsAt(ctx, t, out, fresh)
}

// mostOpen is how many holds an acknowledgement lists; list_holds has them all.
const mostOpen = 500

// holdsAt lists the holds without an order whose effect began. Those that did not
// begin are void from this turn on; giving them back follows.
func (o *Office) holdsAt(ctx context.Context, t *store.Turn, out *purser.StopInfo, fresh func(db.Hold) db.Hold) error {
	holds, err := t.HoldsAtStop(ctx, db.HoldsAtStopParams{Organization: t.Org, Scope: out.Scope, Target: out.Target, RowLimit: mostOpen})
	if err != nil {
		return err
	}
	void := false
	for _, h := range holds {
		h = fresh(h)
		path := guard.Path{Organization: t.Org, Project: h.Project, Provider: h.Provider, Agent: h.Agent, Run: h.Run}
		switch {
		case !path.Covered(out.Scope, out.Target):
		case h.State == purser.HoldHeld:
			void = true
		case h.State != purser.HoldBegun && h.State != purser.HoldUnknown: // over, a moment ago
		default:
			out.Open = append(out.Open, purser.OpenItem{
				Hold: h.ID, What: h.Provider, State: purser.OrderState(h.State), Held: purser.Money{Amount: left(h), Currency: h.Currency},
			})
		}
	}
	if (void || len(holds) == mostOpen) && !slices.ContainsFunc(out.Effects, func(e purser.StopEffect) bool { return e.Kind == effectHolds }) {
		out.Effects = append(out.Effects, purser.StopEffect{Kind: effectHolds, Target: out.Scope + ":" + out.Target, State: effectPending})
	}
	return nil
}

// plansAt notes that plans are to be marked as void. Those in scope are void from this turn
// on, because nothing begins or approves a plan that a stop covers (planVoid): however many
// an agent made, a stop looks at none of them.
func (o *Office) plansAt(ctx context.Context, t *store.Turn, out *purser.StopInfo) error {
	open, err := t.OpenPlans(ctx, t.Org)
	if err == nil && open > 0 {
		out.Effects = append(out.Effects, purser.StopEffect{Kind: effectPlans, Target: out.Scope + ":" + out.Target, State: effectPending})
	}
	return err
}

// voidPlans marks the plans that a stop found waiting or ready as void, and counts them.
// One that was made since is of another epoch. What a crash leaves of it is done again.
func (o *Office) voidPlans(ctx context.Context, org, stop string) error {
	s, err := o.Store.Read().Stop(ctx, db.StopParams{Organization: org, ID: stop})
	if err != nil {
		return err
	}
	page := db.PlansAtStopParams{Organization: org, Scope: s.Scope, Target: s.Target, Epoch: s.Epoch, RowLimit: store.PlansAtOnce}
	for {
		rows, err := o.Store.Read().PlansAtStop(ctx, page)
		if err != nil || len(rows) == 0 {
			return err
		}
		page.AfterRun, page.After = rows[len(rows)-1].Run, rows[len(rows)-1].ID
		var covered []string
		for _, p := range rows {
			paths, err := pathsOf(db.Run{Organization: org, ID: p.Run, Project: p.Project, Agent: p.Agent}, p.Terms)
			if err != nil {
				return err
			}
			if slices.ContainsFunc(paths, func(path guard.Path) bool { return path.Covered(s.Scope, s.Target) }) {
				covered = append(covered, p.ID)
			}
		}
		if len(covered) == 0 {
			continue
		}
		if err := o.turn(ctx, org, func(t *store.Turn) error { return o.markVoid(ctx, t, stop, covered) }); err != nil {
			return err
		}
	}
}

// markVoid is one turn of voidPlans. A plan that ended meanwhile stays as it ended.
func (o *Office) markVoid(ctx context.Context, t *store.Turn, stop string, plans []string) error {
	n, err := t.VoidPlans(ctx, plans)
	if err != nil {
		return err
	}
	return t.CountVoided(ctx, db.CountVoidedParams{Organization: t.Org, ID: stop, Voided: n})
}

// tokensAtOnce is how many tokens are revoked in a turn (RULES 20), and tokensAsked how many
// are asked for at once: a database may look at all that are left for each question.
const (
	tokensAtOnce = 16
	tokensAsked  = 1024
)

// revokeTokens revokes the tokens that a stop was to end, and notes each. What a crash
// leaves of it is done again.
func (o *Office) revokeTokens(ctx context.Context, org, stop string) error {
	s, err := o.Store.Read().Stop(ctx, db.StopParams{Organization: org, ID: stop})
	if err != nil {
		return err
	}
	page := db.TokensAtStopParams{Organization: org, Scope: s.Scope, Target: s.Target, At: s.At, RowLimit: tokensAsked}
	for {
		ids, err := o.Store.Read().TokensAtStop(ctx, page)
		if err != nil || len(ids) == 0 {
			return err
		}
		for few := range slices.Chunk(ids, tokensAtOnce) {
			if err := o.turn(ctx, org, func(t *store.Turn) error { return o.tokensRevoked(ctx, t, stop, few) }); err != nil {
				return err
			}
		}
		page.After = ids[len(ids)-1]
	}
}

// tokensRevoked is one turn of revokeTokens.
func (o *Office) tokensRevoked(ctx context.Context, t *store.Turn, stop string, ids []string) error {
	next, err := t.NextStopEffect(ctx, db.NextStopEffectParams{Organization: t.Org, Stop: stop})
	if err != nil {
		return err
	}
	for _, id := range ids {
		n, err := t.RevokeToken(ctx, db.RevokeTokenParams{Organization: t.Org, ID: id, RevokedBy: "stop", Now: store.Micro(t.Now)})
		if err != nil {
			return err
		}
		if n == 0 {
			continue // another office did it, or it has ended otherwise
		}
		t.Record(effectRecord(stop, effectToken, id))
		err = t.InsertStopEffect(ctx, db.InsertStopEffectParams{Organization: t.Org, Stop: stop, N: next, Kind: effectToken, Target: id, State: effectDone})
		if err != nil {
			return err
		}
		next++
	}
	return nil
}

func effectRecord(stop, kind, target string) audit.Record {
	r := recordOf(system, "stop_effect", kind+":"+target)
	r.Detail = map[string]string{"stop": stop}
	return r
}

// revoke carries out what follows a stop, one by one, each recorded (SPEND.md K10).
func (o *Office) revoke(ctx context.Context, org, stop string) {
	effects, err := o.Store.Read().StopEffects(ctx, db.StopEffectsParams{Organization: org, Stop: stop})
	if err != nil {
		o.Log.Error("listing what follows a stop", "stop", stop, "error", err)
		return
	}
	for _, e := range effects {
		if e.State == effectPending {
			o.revokeOne(ctx, org, e)
		}
	}
}

func (o *Office) revokeOne(ctx context.Context, org string, e db.StopEffect) {
	ctx, cancel := context.WithTimeout(ctx, o.Defaults.StopDeadline)
	defer cancel()
	var first error
	switch e.Kind {
	case effectHolds:
		first = o.overdue(ctx, org)
	case effectPlans:
		first = o.voidPlans(ctx, org, e.Stop)
	case effectTokens:
		first = o.revokeTokens(ctx, org, e.Stop)
	}
	if first != nil {
		o.Log.Error("carrying out a stop", "stop", e.Stop, "kind", e.Kind, "error", first)
		return // it stays pending, and Recover tries again
	}
	err := o.turn(ctx, org, func(t *store.Turn) error {
		now, err := t.StopEffect(ctx, db.StopEffectParams{Organization: t.Org, Stop: e.Stop, N: e.N})
		if err != nil || now.State != effectPending {
			return err // another office carried it out, or Recover did
		}
		r, state := effectRecord(e.Stop, e.Kind, e.Target), effectDone
		switch e.Kind {
		case effectHolds, effectPlans, effectTokens:
			t.Record(r)
		case effectToken: // noted before it was revoked, by an earlier version
			t.Record(r)
			_, err = t.RevokeToken(ctx, db.RevokeTokenParams{Organization: t.Org, ID: e.Target, RevokedBy: "stop", Now: store.Micro(t.Now)})
		default:
			state, err = o.voidOrder(ctx, t, e.Target, r)
		}
		if err != nil {
			return err
		}
		return t.SetStopEffect(ctx, db.SetStopEffectParams{Organization: t.Org, Stop: e.Stop, N: e.N, State: state})
	})
	if err == nil {
		return
	}
	o.Log.Error("revoking after a stop", "stop", e.Stop, "kind", e.Kind, "target", e.Target, "error", err)
	var coded *purser.Error
	if !asCoded(err, &coded) {
		return // it stays pending, and Recover tries again
	}
	ctx = context.WithoutCancel(ctx)
	_ = o.Store.Write(ctx, func(q *db.Queries) error {
		return q.SetStopEffect(ctx, db.SetStopEffectParams{Organization: org, Stop: e.Stop, N: e.N, State: effectFailed, Detail: "see the server's log"})
	})
}

// voidOrder gives back what an order holds that never began. One that was charged since
// the stop did begin, by a call that was taken for lost: what became of it is unknown.
func (o *Office) voidOrder(ctx context.Context, t *store.Turn, id string, r audit.Record) (state string, err error) {
	order, err := t.Order(ctx, db.OrderParams{Organization: t.Org, ID: id})
	if err != nil {
		return "", err
	}
	if purser.OrderState(order.State) != purser.OrderPlaced {
		t.Record(r)
		return effectDone, nil
	}
	h, err := t.Hold(ctx, db.HoldParams{Organization: t.Org, ID: order.Hold})
	if err != nil {
		return "", err
	}
	stopped := purser.Errorf(purser.Stopped, "a stop came before the call")
	if charged(h) {
		return effectUnknown, o.settleUnknown(ctx, t, order, r, doubt(order, h, stopped))
	}
	seq, err := o.recordClose(ctx, t, &r, order.Hold)
	if err != nil {
		return "", err
	}
	if err := o.close(ctx, t, seq, order.Hold, rail.Revoked); err != nil {
		return "", err
	}
	return effectDone, t.SettleOrder(ctx, db.SettleOrderParams{
		Organization: t.Org, ID: order.ID, State: string(purser.OrderFailed), Resource: order.Resource, Error: toJSON(stopped), UpdatedAt: store.Micro(t.Now),
	})
}

// stopsInForce lists the stops that nobody lifted.
func (o *Office) stopsInForce(ctx context.Context, q *db.Queries, org string) ([]purser.StopInfo, error) {
	rows, err := q.StopsInForce(ctx, org)
	if err != nil {
		return nil, fmt.Errorf("listing stops: %w", err)
	}
	var out []purser.StopInfo
	for _, s := range rows {
		out = append(out, purser.StopInfo{ID: s.ID, Scope: s.Scope, Target: s.Target, Reason: s.Reason, Epoch: s.Epoch, Seq: s.Seq, At: store.Time(s.At)})
	}
	return out, nil
}

// ShowStop shows a stop with what became of each revocation.
func (o *Office) ShowStop(ctx context.Context, by purser.Actor, in purser.StopRef) (purser.StopInfo, error) {
	stop, err := o.showStop(ctx, o.Store.Read(), by.Organization, in.Stop)
	if err == nil && !sees(by, stop) {
		return purser.StopInfo{}, purser.Errorf(purser.Forbidden, "the stop does not touch this run")
	}
	return stop, err
}

// sees reports whether a stop is an agent's business; people see all.
func sees(by purser.Actor, s purser.StopInfo) bool {
	return by.Kind != purser.Agent || s.Scope == "provider" || pathOf(by).Covered(s.Scope, s.Target)
}

func (o *Office) showStop(ctx context.Context, q *db.Queries, org, id string) (out purser.StopInfo, err error) {
	s, err := q.Stop(ctx, db.StopParams{Organization: org, ID: id})
	if err != nil {
		return out, notFound(err, "stop", id)
	}
	effects, err := q.StopEffects(ctx, db.StopEffectsParams{Organization: org, Stop: id})
	if err != nil {
		return out, err
	}
	return o.stopInfo(ctx, q, s, effects)
}

func (o *Office) stopInfo(ctx context.Context, q *db.Queries, s db.Stop, effects []db.StopEffect) (out purser.StopInfo, err error) {
	out = purser.StopInfo{
		ID: s.ID, Scope: s.Scope, Target: s.Target, Reason: s.Reason, Epoch: s.Epoch, Seq: s.Seq, At: store.Time(s.At), Voided: int(s.Voided),
		LiftedAt: store.TimeOrNil(s.LiftedAt), LiftedBy: s.LiftedBy, Effects: []purser.StopEffect{},
	}
	out.Name = o.targetName(ctx, q, s.Organization, s.Scope, s.Target)
	if out.By, err = fromJSON[purser.Actor](s.Actor); err != nil {
		return out, err
	}
	out.Open, err = fromJSON[[]purser.OpenItem](s.Open)
	for _, e := range effects {
		out.Effects = append(out.Effects, purser.StopEffect{Kind: e.Kind, Target: e.Target, State: e.State, Detail: e.Detail})
	}
	return out, err
}

// ListStops lists stops in force. Each token that was revoked stands in the stop alone,
// when that is shown: status and every page list what is in force.
func (o *Office) ListStops(ctx context.Context, by purser.Actor, _ purser.None) (purser.List[purser.StopInfo], error) {
	q, out := o.Store.Read(), purser.List[purser.StopInfo]{Items: []purser.StopInfo{}}
	rows, err := q.StopsInForce(ctx, by.Organization)
	if err != nil {
		return out, err
	}
	for _, s := range rows {
		effects, err := q.StopEffectsInShort(ctx, db.StopEffectsInShortParams{Organization: by.Organization, Stop: s.ID})
		if err != nil {
			return out, err
		}
		stop, err := o.stopInfo(ctx, q, s, effects)
		if err != nil {
			return out, err
		}
		if sees(by, stop) {
			out.Items = append(out.Items, stop)
		}
	}
	return out, nil
}

// Resume lifts a stop. It makes a new epoch and revives nothing: tokens stay
// dead, whether or not their revocation has come to them, plans stay void. It needs a
// person's signature.
func (o *Office) Resume(ctx context.Context, by purser.Actor, in purser.Resume) (purser.StopInfo, error) {
	if err := o.lifting(ctx, by, in); err != nil {
		return purser.StopInfo{}, err
	}
	return once(ctx, o, by, "resume", in, func(t *store.Turn) (purser.StopInfo, error) {
		s, err := standing(ctx, t.Queries, t.Org, in.Stop)
		if err != nil {
			return purser.StopInfo{}, err
		}
		signed, err := o.signed(ctx, t, by, "resume", in, in.Act)
		if err != nil {
			return purser.StopInfo{}, o.refuseAct(t, by, "resume", in.Stop, err)
		}
		if err := t.LiftStop(ctx, db.LiftStopParams{Organization: t.Org, ID: in.Stop, LiftedAt: store.Micro(t.Now), LiftedBy: by.ID}); err != nil {
			return purser.StopInfo{}, err
		}
		revoked, err := t.RevokeTokensOfStop(ctx, db.RevokeTokensOfStopParams{Organization: t.Org, Scope: s.Scope, Target: s.Target, At: s.At, Now: store.Micro(t.Now)})
		if err != nil {
			return purser.StopInfo{}, fmt.Errorf("revoking what the stop has not: %w", err)
		}
		t.Epoch++
		r := recordOf(by, "resume", in.Stop)
		r.Attach, r.Detail = signed, map[string]string{"epoch": fmt.Sprint(t.Epoch)}
		if revoked > 0 { // what followed the stop has not noted them, and finds them dead
			r.Detail["tokens"] = fmt.Sprint(revoked)
		}
		t.Record(r)
		out, err := o.showStop(ctx, t.Queries, t.Org, in.Stop)
		if err != nil {
			return out, err
		}
		why, err := o.spendsNothing(ctx, t, s)
		if err != nil {
			return out, err
		}
		return out, o.tell(ctx, t, notice.Resume(out, o.nameOf(ctx, t.Queries, t.Org, by), why))
	})
}

// spendsNothing says what else keeps from spending what a stop covered that was lifted.
func (o *Office) spendsNothing(ctx context.Context, t *store.Turn, s db.Stop) (string, error) {
	path := guard.Path{Organization: t.Org}
	switch s.Scope {
	case purser.ScopeProject:
		path.Project = s.Target
	case purser.ScopeProvider:
		path.Provider = s.Target
	case purser.ScopeAgent:
		path.Agent = s.Target
		if agent, err := t.Agent(ctx, db.AgentParams{Organization: t.Org, ID: s.Target}); err != nil || agent.RevokedAt != 0 {
			return "it was revoked", err
		}
	case purser.ScopeRun:
		run, err := t.Run(ctx, db.RunParams{Organization: t.Org, ID: s.Target})
		switch {
		case err != nil:
			return "", err
		case run.EndedAt != 0:
			return "it has ended", nil
		case store.Micro(t.Now) >= run.ExpiresAt:
			return "its time is over", nil
		}
		path = guardPath(run, "")
	}
	stops, err := o.stopsInForce(ctx, t.Queries, t.Org)
	if slices.ContainsFunc(stops, func(other purser.StopInfo) bool { return path.Covered(other.Scope, other.Target) }) {
		return "another stop is in force", err
	}
	return "", err
}

// standing is a stop that is in force.
func standing(ctx context.Context, q *db.Queries, org, id string) (db.Stop, error) {
	s, err := q.Stop(ctx, db.StopParams{Organization: org, ID: id})
	if missing(err) || err == nil && s.LiftedAt != 0 {
		err = purser.Errorf(purser.NotFound, "no stop %q is in force", id).WithHint("purser status")
	}
	return s, err
}

// background runs f until the office closes.
func (o *Office) background(f func(context.Context)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.life.Err() == nil {
		o.wg.Go(func() { f(o.life) })
	}
}

// pause waits, or ends with the context.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
