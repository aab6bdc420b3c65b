package provider

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/purser-dev/purser/app"
)

// purchase is what a create or update has to pay.
type purchase struct {
	activate   bool // the payment hook is to be called
	subscribed bool
	price      *app.Price // what to charge; nil: the hook knows
}

// purchase decides whether payment is needed, before anything is done. A paid
// service without usable payment is refused with nothing allocated (12.2).
func (c *call) purchase(in *createInput, record *resourceRecord) (purchase, error) {
	if record.Charged {
		return purchase{}, nil
	}
	var plans []string
	if in.service.Pricing.Component != nil { // only then do they matter
		var err error
		if plans, err = c.p.activePlans(c.ctx, c.account.ID); err != nil {
			return purchase{}, err
		}
	}
	choice := app.ChoosePrice(in.service, record.Configuration, plans)
	buy := purchase{price: priceOf(choice, record.Quote)}
	if record.Quote == nil && len(choice.PlanRequired) > 0 {
		return buy, Errorf(app.CodeInvalidRequest, "this needs one of the plans %v", choice.PlanRequired)
	}
	if free(choice, record.Quote) {
		return buy, nil
	}
	if c.p.cfg.Hooks.Subscribed != nil {
		var err error
		if buy.subscribed, err = c.p.cfg.Hooks.Subscribed(c.ctx, c.account, in.serviceID); err != nil || buy.subscribed {
			return buy, err
		}
	}
	if in.payment.Token == "" && c.p.cfg.Billing != app.PaidByProvider {
		return buy, Errorf(app.CodeRequiresPayment, "this service is paid and no usable payment came with the request")
	}
	buy.activate = c.p.cfg.Hooks.ActivatePayment != nil
	return buy, nil
}

// free: a quote decides when there is one, else the catalog.
func free(choice app.Choice, quote *app.Quote) bool {
	if quote != nil {
		return quote.AmountMinor == 0 && (quote.Renewal == nil || quote.Renewal.AmountMinor == 0)
	}
	return choice.Free
}

func priceOf(choice app.Choice, quote *app.Quote) *app.Price {
	if quote != nil {
		return &app.Price{Currency: quote.Currency, AmountMinor: quote.AmountMinor, Interval: quote.Interval}
	}
	if choice.Tier != nil {
		return choice.Tier.XPrice
	}
	return nil
}

// createPayment is the idempotency key of a create's payment.
func createPayment(r *resourceRecord) string {
	return "create/" + r.ID + "/" + strconv.Itoa(r.Attempt)
}

// updatePayment is that of the next update.
func updatePayment(r *resourceRecord) string {
	return "update/" + r.ID + "/" + strconv.Itoa(r.Updates) + "." + strconv.Itoa(r.Attempt)
}

func (c *call) payment(in *createInput, record *resourceRecord, buy purchase, key string) (Payment, error) {
	request, err := c.handRequest(in, record)
	return Payment{Request: request, Type: in.payment.Type, Token: in.payment.Token, Key: key, Amount: buy.price}, err
}

// pay activates the payment of a create. Refused: the record says so, keeps its
// id, and the next attempt has a new key. Not decided: the record stays as it is.
func (c *call) pay(in *createInput, record *resourceRecord, buy purchase) error {
	payment, err := c.payment(in, record, buy, createPayment(record))
	if err != nil {
		return err
	}
	err = c.p.cfg.Hooks.ActivatePayment(c.ctx, payment)
	var refused *Error
	switch {
	case errors.As(err, &refused):
		declined := Errorf(app.CodeRequiresPayment, "%s", refused.Message)
		record.Attempt++
		record.fail(declined)
		if err := c.p.save(c.ctx, record); err != nil {
			return err
		}
		return declined
	case err != nil:
		return fmt.Errorf("activating payment: %w", err)
	}
	record.Charged, record.Phase = true, phasePaid
	return c.p.save(c.ctx, record)
}
