package provider

import (
	"context"
	"errors"
	"net/http"

	"github.com/purser-dev/purser/app"
)

// quote prices one exact thing (19). No bearer is needed before an account exists.
func (c *call) quote() error {
	if c.r.Header.Get("Authorization") != "" {
		if err := c.proofs(); err != nil {
			return err
		}
	} else if err := c.publicChecks(); err != nil {
		return err
	}
	if c.p.cfg.Hooks.Quote == nil {
		return Errorf(app.CodeNotFound, "no such path")
	}
	if err := c.object(); err != nil {
		return err
	}
	service, id, err := c.wanted()
	if err != nil {
		return err
	}
	configuration, err := c.configuration(service)
	if err != nil {
		return err
	}
	q, err := c.price(id, configuration)
	if err != nil {
		return err
	}
	if q.ID, err = app.Random(c.p.cfg.Random, "quote_"); err != nil {
		return err
	}
	record := quoteRecord{
		Orchestrator: c.orch.Name, Account: c.account.ID, Service: id, Configuration: canonical(configuration), Quote: q,
	}
	err = c.p.cfg.Store.Update(c.ctx, func(tx Tx) error {
		return put(tx, keyQuote(q.ID), record, q.ExpiresAt.Add(repeatLife))
	})
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, q)
}

// price asks the Quote hook; the answer must be whole, or nothing is sold on it.
func (c *call) price(service string, configuration map[string]any) (app.Quote, error) {
	request := QuoteRequest{Service: service, Configuration: configuration}
	if c.account.ID != "" {
		account := c.account
		request.Account = &account
	}
	q, err := c.p.cfg.Hooks.Quote(c.ctx, request)
	if err != nil {
		return q, err
	}
	if q.ExpiresAt.IsZero() {
		q.ExpiresAt = app.At(c.p.cfg.Now().Add(c.p.cfg.QuoteTTL))
	}
	if q.Item == "" || len(q.Currency) != 3 || q.AmountMinor < 0 || q.Interval == "" {
		return q, errors.New("quoting: the hook left item, currency, amount or interval empty")
	}
	return q, nil
}

// quoted is the quote that a create or update carries, checked: known, unexpired,
// for this buyer, for exactly this, and still true.
func (c *call) quoted(id, service string, configuration map[string]any) (*app.Quote, error) {
	if id == "" || c.p.cfg.Hooks.Quote == nil {
		return nil, nil
	}
	record, found, err := c.p.quoteRecord(c.ctx, id)
	if err != nil {
		return nil, err
	}
	if !found || record.Orchestrator != c.orch.Name || (record.Account != "" && record.Account != c.account.ID) ||
		!c.p.cfg.Now().Before(record.Quote.ExpiresAt.Time) {
		return nil, Errorf(app.CodeQuoteExpired, "the quote is unknown or has expired")
	}
	if record.Service != service || record.Configuration != canonical(configuration) {
		return nil, Errorf(app.CodeQuoteChanged, "the quote is for another service or configuration")
	}
	now, err := c.price(service, configuration)
	if err != nil {
		return nil, err
	}
	if !record.Quote.SameTerms(now) {
		return nil, Errorf(app.CodeQuoteChanged, "what would be sold is no longer what was quoted")
	}
	return &record.Quote, nil
}

func (p *Provider) quoteRecord(ctx context.Context, id string) (record quoteRecord, found bool, err error) {
	err = p.cfg.Store.View(ctx, func(tx Tx) error {
		found, err = get(tx, keyQuote(id), &record)
		return err
	})
	return record, found, err
}
