package office

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/catalog"
	"github.com/purser-dev/purser/internal/guard"
	"github.com/purser-dev/purser/internal/spend"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

const (
	holdDefault = time.Hour
	holdLongest = 30 * 24 * 3600 // seconds
	// mostMinor is the largest amount of one decision: sums of very many stay exact
	// in JSON (canonical.MaxInteger).
	mostMinor = 1 << 40
	mostLabel = 8
)

// validPayee reports whether name can be paid by a hold: a provider's name, or one of
// its models or services. Each metered charge asks, so it is no regular expression.
func validPayee(name string) bool {
	for i, c := range []byte(name) {
		plain := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !plain && (i == 0 || c != '.' && c != '_' && c != '/' && c != '-') {
			return false
		}
	}
	return len(name) >= 1 && len(name) <= 64
}

// validTarget reports whether an order can be for a thing of this name: one line.
func validTarget(name string) bool { return len(name) <= 200 && name == catalog.Plain(name, 200) }

// canName reports whether a text can be the name of a thing here. What cannot is never
// looked for: a turn is many callers', and no record or row takes any text at all.
func canName(id string) bool { return len(id) <= 64 && purser.ValidKey(id) }

// PlaceHold reserves money, against every budget that covers it.
func (o *Office) PlaceHold(ctx context.Context, by purser.Actor, in purser.PlaceHold) (purser.Hold, error) {
	if in.LifetimeSeconds < 0 || in.LifetimeSeconds > holdLongest { // before it is made a duration, which has an end
		return purser.Hold{}, purser.Errorf(purser.InvalidRequest, "lifetime_seconds: from 1 to %d", int64(holdLongest))
	}
	r := spend.Request{
		Op: spend.Place, By: by, Run: in.Run, Provider: in.Provider, Category: in.Category, Labels: in.Labels, Kind: in.Kind, Target: in.Target,
		Amount: purser.Money{Amount: in.AmountMinor, Currency: in.Currency}, Lifetime: time.Duration(in.LifetimeSeconds) * time.Second,
	}
	if err := o.completed(&r); err != nil {
		return purser.Hold{}, err
	}
	return o.await(ctx, r)
}

// ChargeUsage holds and captures at once.
func (o *Office) ChargeUsage(ctx context.Context, by purser.Actor, in purser.ChargeUsage) (purser.Hold, error) {
	r := spend.Request{
		Op: spend.Charge, By: by, Run: in.Run, Provider: in.Provider, Category: in.Category, Labels: in.Labels,
		Amount: purser.Money{Amount: in.AmountMinor, Currency: in.Currency},
	}
	if err := o.completed(&r); err != nil {
		return purser.Hold{}, err
	}
	return o.await(ctx, r)
}

// completed fills in what may be left out of a new hold, and refuses what is no
// request at all: nothing of that is a decision.
func (o *Office) completed(r *spend.Request) (err error) {
	if r.Run == "" {
		r.Run = r.By.Run
	}
	if r.Kind == "" {
		r.Kind = purser.KindUsage
	}
	if r.Lifetime == 0 {
		r.Lifetime = holdDefault
	}
	invalid := func(format string, args ...any) error { return purser.Errorf(purser.InvalidRequest, format, args...) }
	switch {
	case r.Run == "":
		return invalid("run: a platform says for which run it spends")
	case r.Amount.Amount <= 0 || r.Amount.Amount > mostMinor:
		return invalid("amount_minor: from 1 to %d", int64(mostMinor))
	case !purser.ValidCurrency(r.Amount.Currency):
		return noCurrency()
	case !validPayee(r.Provider):
		return invalid("provider: 1 to 64 letters, digits and . _ - / name who is paid")
	case r.Category != "" && !validPayee(r.Category):
		return invalid("category: 1 to 64 letters, digits and . _ - /")
	case r.Kind != purser.KindUsage && r.Kind != purser.KindOrder:
		return invalid("kind: %s or %s", purser.KindUsage, purser.KindOrder)
	case (r.Kind == purser.KindOrder) != (r.Target != "") || !validTarget(r.Target):
		return invalid("target: an order names what it buys, in one line of at most 200 characters; usage names nothing")
	}
	if err := checkLabels(r.Labels); err != nil {
		return err
	}
	r.ID, err = o.newID(purser.PrefixHold)
	return err
}

func noCurrency() error {
	return purser.Errorf(purser.InvalidRequest, "currency: three capital letters, like USD")
}

// BeginHold asks leave to act on a hold.
func (o *Office) BeginHold(ctx context.Context, by purser.Actor, in purser.BeginHold) (purser.Hold, error) {
	return o.await(ctx, spend.Request{Op: spend.Begin, By: by, Hold: in.Hold})
}

// CaptureHold says what the effect of a begun hold has cost.
func (o *Office) CaptureHold(ctx context.Context, by purser.Actor, in purser.CaptureHold) (purser.Hold, error) {
	if in.AmountMinor < 0 || in.AmountMinor == 0 && !in.Final || in.AmountMinor > mostMinor {
		return purser.Hold{}, purser.Errorf(purser.InvalidRequest, "amount_minor: from 1 to %d, or 0 with final", int64(mostMinor))
	}
	if in.Currency != "" && !purser.ValidCurrency(in.Currency) {
		return purser.Hold{}, noCurrency()
	}
	r := spend.Request{Op: spend.Capture, By: by, Hold: in.Hold, Part: in.AmountMinor, Final: in.Final, Made: in.Made}
	r.Amount.Currency = in.Currency
	if in.Made {
		if in.AmountMinor == 0 {
			return purser.Hold{}, purser.Errorf(purser.InvalidRequest, "amount_minor: above 0, of what was made already")
		}
		var err error
		if r.ID, err = o.newID(purser.PrefixStop); err != nil {
			return purser.Hold{}, err
		}
	}
	return o.await(ctx, r)
}

// ReleaseHold gives back what a hold still covers.
func (o *Office) ReleaseHold(ctx context.Context, by purser.Actor, in purser.HoldRef) (purser.Hold, error) {
	return o.await(ctx, spend.Request{Op: spend.Release, By: by, Hold: in.Hold})
}

// RefundHold records that captured money was given back.
func (o *Office) RefundHold(ctx context.Context, by purser.Actor, in purser.RefundHold) (purser.Hold, error) {
	if in.AmountMinor <= 0 || in.AmountMinor > mostMinor {
		return purser.Hold{}, purser.Errorf(purser.InvalidRequest, "amount_minor: from 1 to %d", int64(mostMinor))
	}
	if in.Currency != "" && !purser.ValidCurrency(in.Currency) {
		return purser.Hold{}, noCurrency()
	}
	return o.await(ctx, spend.Request{Op: spend.Refund, By: by, Hold: in.Hold, Part: in.AmountMinor, Amount: purser.Money{Currency: in.Currency}})
}

// ResolveHold is a person's word that nothing more will be charged on a hold. One
// whose effect began needs a signature: the money may be gone (RULES 2).
func (o *Office) ResolveHold(ctx context.Context, by purser.Actor, in purser.ResolveHold) (out purser.Hold, err error) {
	if in.CapturedMinor < 0 || in.CapturedMinor > mostMinor {
		return out, purser.Errorf(purser.InvalidRequest, "captured_minor: from 0 to %d", int64(mostMinor))
	}
	if in.Currency != "" && !purser.ValidCurrency(in.Currency) {
		return out, noCurrency()
	}
	out, err = once(ctx, o, by, "resolve_hold", in, func(t *store.Turn) (purser.Hold, error) {
		r := spend.Request{Op: spend.Resolve, By: by, Hold: in.Hold, Part: in.CapturedMinor, Amount: purser.Money{Currency: in.Currency}}
		r.By.Key, r.By.Token = "", "" // the key is kept by once
		if in.Act != nil {
			if r.Signed, err = o.signed(ctx, t, by, "resolve_hold", in, in.Act); err != nil {
				return out, o.refuseAct(t, by, "resolve_hold", in.Hold, err)
			}
		}
		var outcome spend.Outcome
		err := o.Store.SpendIn(ctx, t, o.batchOf(t.Org, []spend.Request{r}, func(all []spend.Outcome) { outcome = all[0] }))
		if err == nil && outcome.Err != nil {
			err = &store.Refused{Err: outcome.Err}
		}
		return outcome.Hold, err
	})
	if purser.CodeOf(err) == purser.BooksBroken {
		err = o.explainBatch(by.Organization, err)
	}
	return out, err
}

// AllowRepeat says that an order may come once more, from the same provider (RULES 9).
func (o *Office) AllowRepeat(ctx context.Context, by purser.Actor, in purser.AllowRepeat) (purser.Accepted, error) {
	switch {
	case !validPayee(in.Provider):
		return purser.Accepted{}, purser.Errorf(purser.InvalidRequest, "provider: that of the order, 1 to 64 letters, digits and . _ - /")
	case in.Target == "" || !validTarget(in.Target):
		return purser.Accepted{}, purser.Errorf(purser.InvalidRequest, "target: what the order names, in one line of at most 200 characters")
	case in.AmountMinor <= 0 || in.AmountMinor > mostMinor || !purser.ValidCurrency(in.Currency):
		return purser.Accepted{}, purser.Errorf(purser.InvalidRequest, "amount: that of the order, above 0, like 20.00 USD")
	}
	return once(ctx, o, by, "allow_repeat", in, func(t *store.Turn) (purser.Accepted, error) {
		if _, err := t.Run(ctx, db.RunParams{Organization: t.Org, ID: in.Run}); err != nil {
			return purser.Accepted{}, notFound(err, "run", in.Run)
		}
		r := recordOf(by, "allow_repeat", in.Run)
		var err error
		if r.Attach, err = o.signed(ctx, t, by, "allow_repeat", in, in.Act); err != nil {
			return purser.Accepted{}, o.refuseAct(t, by, "allow_repeat", in.Run, err)
		}
		id, err := o.newID(purser.PrefixRepeat)
		if err != nil {
			return purser.Accepted{}, err
		}
		r.Run, r.Detail = in.Run, map[string]string{
			"provider": in.Provider, "target": in.Target, "amount": purser.Money{Amount: in.AmountMinor, Currency: in.Currency}.String(),
		}
		t.Record(r)
		return purser.Accepted{OK: true}, t.InsertRepeat(ctx, db.InsertRepeatParams{
			Organization: t.Org, ID: id, Run: in.Run, Provider: in.Provider, Target: in.Target, Currency: in.Currency, Amount: in.AmountMinor,
			ExpiresAt: store.Micro(t.Now.Add(24 * time.Hour)),
		})
	})
}

// ListHolds lists holds that are not over; an agent sees its run's, and a platform those that
// it placed: one that forgot what it had begun finds it here.
func (o *Office) ListHolds(ctx context.Context, by purser.Actor, in purser.AskHolds) (purser.List[purser.Hold], error) {
	if by.Kind == purser.Agent {
		in.Run = by.Run
	}
	if err := knownRun(ctx, o.Store.Read(), by.Organization, in.Run); err != nil {
		return purser.List[purser.Hold]{}, err
	}
	limit, err := page(in.Page, named(purser.PrefixHold))
	if err != nil {
		return purser.List[purser.Hold]{}, err
	}
	ask := db.OpenHoldsParams{Organization: by.Organization, Run: in.Run, After: in.Cursor, RowLimit: limit + 1}
	if by.Kind == purser.Platform {
		ask.Principal = by.ID
	}
	rows, err := o.Store.Read().OpenHolds(ctx, ask)
	if err != nil {
		return purser.List[purser.Hold]{}, err
	}
	show := func(h db.Hold) purser.Hold {
		return purser.Hold{
			ID: h.ID, Seq: h.Seq, Epoch: h.Epoch, State: h.State, Run: h.Run, Provider: h.Provider, AmountMinor: h.Amount, Currency: h.Currency,
			CapturedMinor: h.Captured, OverrunMinor: h.Overrun, RefundedMinor: h.Refunded + h.Returned, LeftMinor: left(h), ExpiresAt: store.TimeOrNil(h.ExpiresAt),
		}
	}
	return cut(rows, limit, show, func(h db.Hold) string { return h.ID }), nil
}

// SetLabels puts labels on a project or a run.
func (o *Office) SetLabels(ctx context.Context, by purser.Actor, in purser.SetLabels) (purser.Labelled, error) {
	if err := checkLabels(in.Labels); err != nil {
		return purser.Labelled{}, err
	}
	return once(ctx, o, by, "set_labels", in, func(t *store.Turn) (purser.Labelled, error) {
		id, old, err := o.labelled(ctx, t, by, in)
		if err != nil {
			return purser.Labelled{}, err
		}
		r := recordOf(by, "set_labels", in.Scope+":"+id)
		// What loses a label is not held to its budget any more.
		loosens := slices.ContainsFunc(old, func(l string) bool { return !slices.Contains(in.Labels, l) })
		if loosens || in.Act != nil {
			if r.Attach, err = o.signed(ctx, t, by, "set_labels", in, in.Act); err != nil {
				return purser.Labelled{}, o.refuseAct(t, by, "set_labels", in.Scope+":"+id, err)
			}
		}
		labels := orEmpty(slices.Compact(slices.Sorted(slices.Values(in.Labels))))
		r.Detail = map[string]string{"labels": toJSON(labels)}
		t.Record(r)
		if in.Scope == purser.ScopeRun {
			err = t.SetRunLabels(ctx, db.SetRunLabelsParams{Organization: t.Org, ID: id, Labels: toJSON(labels)})
		} else {
			err = t.SetProjectLabels(ctx, db.SetProjectLabelsParams{Organization: t.Org, ID: id, Labels: toJSON(labels)})
		}
		return purser.Labelled{Scope: in.Scope, ID: id, Labels: labels}, err
	})
}

func checkLabels(labels []string) error {
	if len(labels) > mostLabel {
		return purser.Errorf(purser.InvalidRequest, "labels: at most %d", mostLabel)
	}
	for _, l := range labels {
		if err := guard.CheckLabel(l); err != nil {
			return err
		}
	}
	return nil
}

func (o *Office) labelled(ctx context.Context, t *store.Turn, by purser.Actor, in purser.SetLabels) (id string, labels []string, err error) {
	switch in.Scope {
	case purser.ScopeProject:
		p, err := o.project(ctx, t.Queries, by, in.ID)
		if err != nil {
			return "", nil, err
		}
		labels, err = fromJSON[[]string](p.Labels)
		return p.ID, labels, err
	case purser.ScopeRun:
		r, err := t.Run(ctx, db.RunParams{Organization: t.Org, ID: in.ID})
		if err != nil {
			return "", nil, notFound(err, "run", in.ID)
		}
		labels, err = fromJSON[[]string](r.Labels)
		return r.ID, labels, err
	}
	return "", nil, purser.Errorf(purser.InvalidRequest, "labels are put on a project or a run, not on a %q", in.Scope)
}

// spendHash is what an idempotency key stands for: each member with its length
// before it, so that no two requests write the same bytes (RULES 10).
func spendHash(r *spend.Request) string {
	b := make([]byte, 0, 256)
	for _, s := range []string{string(r.Op), r.By.Run, r.Run, r.Provider, r.Category, r.Kind, r.Target, r.Amount.Currency, r.Hold} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	for _, n := range []int64{r.Amount.Amount, int64(r.Lifetime), r.Part, int64(len(r.Labels))} {
		b = binary.AppendVarint(b, n)
	}
	if r.Final {
		b = append(b, 1)
	}
	if r.Made {
		b = append(b, 2)
	}
	for _, l := range r.Labels {
		b = append(binary.AppendUvarint(b, uint64(len(l))), l...)
	}
	sum := sha256.Sum256(b)
	const kind = "sha256:"
	var text [len(kind) + 2*sha256.Size]byte
	hex.Encode(text[copy(text[:], kind):], sum[:])
	return string(text[:])
}
