package provider

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/purser-dev/purser/app"
)

// Payer is a partner that pays for the organizations it brings (15.7). Only clients
// with a key and PartnerRights.Payer, which says that the client pays and that its
// organization is verified, reach it. An error that is not made with Errorf is
// answered billing_unavailable.
type Payer interface {
	Settings(ctx context.Context, client PartnerDocument) (PayerSettings, error)
	// ChangeSettings changes what is not nil.
	ChangeSettings(ctx context.Context, client PartnerDocument, change PayerSettings) (PayerSettings, error)
	// NewWebhookSecret makes a secret ("whsec_...") and ends the one before.
	NewWebhookSecret(ctx context.Context, client PartnerDocument) (string, error)
	// TestEvent sends an event to the webhook and gives its id.
	TestEvent(ctx context.Context, client PartnerDocument) (string, error)
	// Organizations, Invoices and Settlements give JSON objects, newest first.
	Organizations(ctx context.Context, client PartnerDocument, limit, offset int) ([]map[string]any, error)
	Invoices(ctx context.Context, client PartnerDocument) ([]map[string]any, error)
	Settlements(ctx context.Context, client PartnerDocument) ([]map[string]any, error)
	// Settlement gives one, or ErrGone.
	Settlement(ctx context.Context, client PartnerDocument, id string) (map[string]any, error)
	// SetLimits sets an organization's own limits by product, decimal strings of USD;
	// ErrGone when it is none of the client's.
	SetLimits(ctx context.Context, client PartnerDocument, organization string, usd map[string]string) error
}

// PayerSettings are a payer's own. nil: unset, or unchanged.
type PayerSettings struct {
	WebhookURL    *string `json:"webhook_url"`
	SpendAlertUSD *string `json:"spend_alert_usd"` // decimal, e.g. "250.00"
}

// payerPage bounds one page of organizations.
const payerPage = 100

// paying serves everything below provisioning/payer.
func (c *call) paying() error {
	generic := c.p.cfg.Generic
	known, err := c.partnerOnly(generic != nil && generic.Payer != nil, func(r PartnerRights) bool { return r.Payer })
	if err != nil {
		return err
	}
	out, err := c.payerAnswer(generic.Payer, known.Document)
	if err != nil {
		return c.broken(err, app.CodeBillingUnavailable, "the billing could not be asked")
	}
	return c.answer(http.StatusOK, out)
}

func (c *call) payerAnswer(payer Payer, client PartnerDocument) (any, error) {
	list := func(items []map[string]any, err error) (any, error) {
		if items == nil {
			items = []map[string]any{}
		}
		return map[string]any{"data": items}, err
	}
	switch c.name {
	case "payer":
		return payer.Settings(c.ctx, client)
	case "change_payer":
		change, err := c.payerChange()
		if err != nil {
			return nil, err
		}
		return payer.ChangeSettings(c.ctx, client, change)
	case "webhook_secret":
		secret, err := payer.NewWebhookSecret(c.ctx, client)
		return map[string]string{"secret": secret, "created_at": c.p.cfg.Now().UTC().Format(time.RFC3339)}, err
	case "test_event":
		id, err := payer.TestEvent(c.ctx, client)
		return map[string]string{"event_id": id}, err
	case "payer_organizations":
		limit, offset, err := c.window()
		if err != nil {
			return nil, err
		}
		return list(payer.Organizations(c.ctx, client, limit, offset))
	case "payer_invoices":
		return list(payer.Invoices(c.ctx, client))
	case "payer_settlements":
		return list(payer.Settlements(c.ctx, client))
	case "payer_settlement":
		return gone(payer.Settlement(c.ctx, client, c.param))
	}
	limits, err := c.customLimits()
	if err != nil {
		return nil, err
	}
	return gone(map[string]any{"custom_limits_usd": limits}, payer.SetLimits(c.ctx, client, c.param, limits))
}

func gone(v map[string]any, err error) (any, error) {
	if errors.Is(err, ErrGone) {
		err = Errorf(app.CodeNotFound, "there is none of this id")
	}
	return v, err
}

// onlyMembers refuses a body with other members than these, or with none, naming one
// that is wrong: what a payer may not change is told, not passed over.
func (c *call) onlyMembers(names ...string) error {
	for _, member := range sortedNames(c.members) {
		if !slices.Contains(names, member) && !strings.HasPrefix(member, "client_") {
			return Errorf(app.CodeInvalidRequest, "%s cannot be changed", member)
		}
	}
	for _, name := range names {
		if c.members[name] != nil {
			return nil
		}
	}
	return Errorf(app.CodeInvalidRequest, "%s is missing", names[0])
}

func sortedNames(members map[string]json.RawMessage) []string {
	names := make([]string, 0, len(members))
	for name := range members {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (c *call) payerChange() (change PayerSettings, err error) {
	if err := c.onlyMembers("webhook_url", "spend_alert_usd"); err != nil {
		return change, err
	}
	for name, v := range map[string]**string{"webhook_url": &change.WebhookURL, "spend_alert_usd": &change.SpendAlertUSD} {
		if c.members[name] == nil {
			continue
		}
		*v = new(string)
		if err := c.field(name, *v); err != nil {
			return change, err
		}
	}
	if change.WebhookURL != nil && app.CheckURL(*change.WebhookURL) != nil {
		return change, Errorf(app.CodeInvalidRequest, "webhook_url must be https")
	}
	if change.SpendAlertUSD != nil && !decimal(*change.SpendAlertUSD) {
		return change, Errorf(app.CodeInvalidRequest, "spend_alert_usd must be a decimal string of at most two places")
	}
	return change, nil
}

func (c *call) customLimits() (map[string]string, error) {
	if err := c.onlyMembers("custom_limits_usd"); err != nil {
		return nil, err
	}
	var limits map[string]string
	if err := c.field("custom_limits_usd", &limits); err != nil {
		return nil, err
	}
	for product, usd := range limits {
		if product == "" || len(product) > 100 || !decimal(usd) {
			return nil, Errorf(app.CodeInvalidRequest, "custom_limits_usd must be decimal strings by product")
		}
	}
	return limits, nil
}

// decimal tells whether s is an amount of USD: digits, and up to two places.
func decimal(s string) bool {
	whole, places, pointed := strings.Cut(s, ".")
	if whole == "" || len(whole) > 12 || pointed && (places == "" || len(places) > 2) {
		return false
	}
	return strings.Trim(whole+places, "0123456789") == ""
}

// window reads limit and offset of a page.
func (c *call) window() (limit, offset int, err error) {
	limit = payerPage
	for name, v := range map[string]*int{"limit": &limit, "offset": &offset} {
		text := c.r.URL.Query().Get(name)
		if text == "" {
			continue
		}
		if *v, err = strconv.Atoi(text); err != nil || *v < 0 || name == "limit" && (*v == 0 || *v > payerPage) {
			return 0, 0, Errorf(app.CodeInvalidRequest, "%s is out of range", name)
		}
	}
	return limit, offset, nil
}
