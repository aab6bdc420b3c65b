package provider

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/purser-dev/purser/app"
)

type suspension = func(ctx context.Context, r Resource) error

// held is the path's resource, locked and read anew, and the key of this call.
type held struct {
	record  resourceRecord
	key     idempotency
	repeat  bool // an earlier call under this key was carried out
	release func()
}

// hold checks id and scope, then takes the resource for a change.
func (c *call) hold() (h held, err error) {
	if _, err := c.scoped(); err != nil {
		return h, err
	}
	if h.key, err = c.idempotency(); err != nil {
		return h, err
	}
	keys := []string{lockResource(c.resource)}
	if h.key.store != "" {
		keys = append(keys, h.key.store)
	}
	if h.release, err = c.p.locks.take(c.ctx, keys...); err != nil {
		return h, err
	}
	err = c.p.cfg.Store.View(c.ctx, func(tx Tx) error {
		if _, err := get(tx, keyResource(c.account.ID, c.resource), &h.record); err != nil {
			return err
		}
		before, err := h.key.look(tx, c.p.cfg.Now())
		h.repeat = before != ""
		return err
	})
	if err != nil {
		h.release()
	}
	return h, err
}

// done stores a change together with its key.
func (c *call) done(h held) error {
	raw, err := h.record.encode()
	if err != nil {
		return err
	}
	return c.p.cfg.Store.Update(c.ctx, func(tx Tx) error {
		if err := write(tx, keyResource(h.record.Account, h.record.ID), raw, time.Time{}); err != nil {
			return err
		}
		return h.key.keep(tx, c.p.cfg.Now(), h.record.ID)
	})
}

func usable(r *resourceRecord) error {
	if r.Phase != phaseDone || r.Status != app.StatusComplete {
		return Errorf(app.CodeInvalidState, "the resource is not complete")
	}
	return nil
}

// update keeps the order of 12.6.
func (c *call) update() error {
	if err := c.proofs(); err != nil {
		return err
	}
	if err := c.object(); err != nil {
		return err
	}
	h, err := c.hold()
	if err != nil {
		return err
	}
	defer h.release()
	if c.p.cfg.Hooks.Update == nil {
		return Errorf(app.CodeUnsupportedOperation, "updates are not offered")
	}
	if h.repeat {
		return c.envelopeOf(&h.record)
	}
	in := &createInput{key: h.key, environment: h.record.Environment}
	in.actor, in.payment = c.actorAndPayment()
	if in.service, in.serviceID, err = c.wanted(); err != nil {
		return err
	}
	if err := c.field("quote_id", &in.quote); err != nil {
		return err
	}
	if err := usable(&h.record); err != nil {
		return err
	}
	current, ok := c.p.service(c.ctx, h.record.Service)
	if in.serviceID != h.record.Service && !(ok && current.AllowsUpdate(in.serviceID, "")) {
		return Errorf(app.CodeDestructiveUpdate, "this service cannot be changed to %s", in.serviceID)
	}
	return c.move(h, in, current)
}

// move pays for and carries out an update whose transition is allowed.
func (c *call) move(h held, in *createInput, current app.Service) error {
	configuration, err := c.configuration(in.service)
	if err != nil {
		return err
	}
	target := h.record
	target.Service, target.Configuration, target.Charged = in.serviceID, configuration, false
	if target.Quote, err = c.quoted(in.quote, in.serviceID, configuration); err != nil {
		return err
	}
	var buy purchase
	if target.Quote != nil || !samePrice(current, h.record, in.service, target) {
		if buy, err = c.purchase(in, &target); err != nil {
			return err
		}
	}
	payment, err := c.payment(in, &target, buy, updatePayment(&h.record))
	if err != nil {
		return err
	}
	if buy.activate {
		if err := c.payUpdate(h, payment); err != nil {
			return err
		}
	}
	from, err := c.handed(&h.record)
	if err != nil {
		return err
	}
	payment.Request.Paid = buy.activate || buy.subscribed
	out, err := c.p.cfg.Hooks.Update(c.ctx, from, payment.Request)
	var refused *Error
	if errors.As(err, &refused) {
		return c.refundUpdate(h, payment, buy, refused)
	}
	if err != nil {
		return err
	}
	target.Charged, target.Updates = h.record.Charged, target.Updates+1
	if err := c.p.settle(&target, out); err != nil {
		return err
	}
	h.record = target
	if err := c.done(h); err != nil {
		return err
	}
	return c.envelopeOf(&h.record)
}

// samePrice: a change of configuration that costs what it cost before is not paid again.
func samePrice(was app.Service, before resourceRecord, will app.Service, after resourceRecord) bool {
	return before.Service == after.Service && reflect.DeepEqual(
		app.ChoosePrice(was, before.Configuration, nil), app.ChoosePrice(will, after.Configuration, nil))
}

func (c *call) payUpdate(h held, payment Payment) error {
	err := c.p.cfg.Hooks.ActivatePayment(c.ctx, payment)
	var refused *Error
	if errors.As(err, &refused) {
		h.record.Attempt++
		if err := c.p.save(c.ctx, &h.record); err != nil {
			return err
		}
		return Errorf(app.CodeRequiresPayment, "%s", refused.Message)
	}
	if err != nil {
		return fmt.Errorf("activating payment: %w", err)
	}
	return nil
}

// refundUpdate leaves the resource as it was.
func (c *call) refundUpdate(h held, payment Payment, buy purchase, refusal *Error) error {
	if !buy.activate || c.p.cfg.Hooks.RefundPayment == nil {
		return refusal
	}
	payment.Token = ""
	if err := c.p.cfg.Hooks.RefundPayment(c.ctx, payment); err != nil {
		return err
	}
	h.record.Attempt++
	if err := c.p.save(c.ctx, &h.record); err != nil {
		return err
	}
	return refusal
}

// rotate checks the body before id and scope (12.7).
func (c *call) rotate() error {
	if err := c.proofs(); err != nil {
		return err
	}
	if err := c.object(); err != nil {
		return err
	}
	label, err := c.label()
	if err != nil {
		return err
	}
	h, err := c.hold()
	if err != nil {
		return err
	}
	defer h.release()
	if c.p.cfg.Hooks.Rotate == nil {
		return Errorf(app.CodeUnsupportedOperation, "rotation is not offered")
	}
	if h.repeat {
		return c.envelopeOf(&h.record)
	}
	if err := usable(&h.record); err != nil {
		return err
	}
	resource, err := c.handed(&h.record)
	if err != nil {
		return err
	}
	if label != "" {
		resource.LabelPrefix = label
	}
	out, err := c.p.cfg.Hooks.Rotate(c.ctx, resource)
	if err == nil && len(out.AccessConfiguration) == 0 {
		err = errors.New("the hook gave no credentials")
	}
	if err != nil {
		return c.broken(err, app.CodeRotationFailed, "the credentials could not be rotated; the old ones are valid")
	}
	if err := c.p.settle(&h.record, out); err != nil {
		return err
	}
	if err := c.done(h); err != nil {
		return err
	}
	return c.envelopeOf(&h.record)
}

// broken answers a hook's failure with the code that its route has for it.
func (c *call) broken(err error, code, message string) error {
	var refused *Error
	if errors.As(err, &refused) {
		return refused
	}
	c.p.cfg.Log.ErrorContext(c.ctx, "failing a request", "operation", c.name, "resource", c.resource, "error", err)
	return Errorf(code, "%s", message)
}

// remove checks id and scope only; the payload is ignored (12.8).
func (c *call) remove() error {
	if err := c.proofs(); err != nil {
		return err
	}
	h, err := c.hold()
	if err != nil {
		return err
	}
	defer h.release()
	if h.repeat || h.record.Status == app.StatusRemoved || h.record.Status == app.StatusPendingRemoval {
		return c.envelopeOf(&h.record)
	}
	var out Provisioned
	if c.p.cfg.Hooks.Remove != nil {
		resource, err := c.handed(&h.record)
		if err != nil {
			return err
		}
		if out, err = c.p.cfg.Hooks.Remove(c.ctx, resource); err != nil && !errors.Is(err, ErrGone) {
			return c.broken(err, app.CodeRemoveFailed, "the resource could not be removed")
		}
	}
	h.record.Phase, h.record.Problem, h.record.RetryAfter = phaseDone, nil, out.RetryAfter
	h.record.Status, h.record.RemovedAt, h.record.Access = app.StatusRemoved, c.p.cfg.Now(), nil
	if out.Pending {
		h.record.Status, h.record.RemovedAt = app.StatusPendingRemoval, time.Time{}
	}
	if err := c.done(h); err != nil {
		return err
	}
	return c.envelopeOf(&h.record)
}

// cut suspends access at once; restore lifts it (19). Both are idempotent and
// answer the envelope without secrets.
func (c *call) cut() error     { return c.suspend(c.p.cfg.Hooks.Cut) }
func (c *call) restore() error { return c.suspend(c.p.cfg.Hooks.Restore) }

func (c *call) suspend(hook suspension) error {
	if err := c.proofs(); err != nil {
		return err
	}
	if hook == nil || !c.p.cfg.Manifest.Can(app.CapCut) {
		return Errorf(app.CodeNotFound, "no such path")
	}
	h, err := c.hold()
	if err != nil {
		return err
	}
	defer h.release()
	if h.record.Status == app.StatusRemoved {
		return Errorf(app.CodeInvalidState, "the resource was removed")
	}
	resource, err := c.handed(&h.record)
	if err != nil {
		return err
	}
	if err := hook(c.ctx, resource); err != nil {
		return err
	}
	out, err := c.wireHeld(h.record)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, out)
}

// wireHeld is the envelope while we hold the lock ourselves.
func (c *call) wireHeld(r resourceRecord) (app.Resource, error) {
	if r.Phase != phaseDone {
		r.fail(Errorf(app.CodeInterrupted, "the create was interrupted; send it again under the same keys"))
	}
	return c.wire(&r, false)
}
