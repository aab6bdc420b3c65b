package provider

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/purser-dev/purser/app"
)

// createInput is the body of a create as checked.
type createInput struct {
	service       app.Service
	serviceID     string
	configuration map[string]any
	project       string
	bound         bool   // the project is known as this account's
	orchestrated  string // orchestrator_resource_id
	byID, byBare  string // store keys of the second and third dedup key (12.3), "" where not used
	environment   string
	label         string
	quote         string
	actor         app.Actor
	payment       app.Payment
	information   map[string]any
	key           idempotency
	link          bool // take an existing instance over
}

// create keeps the order of 12.2.
func (c *call) create() error {
	if err := c.createProofs(); err != nil {
		return err
	}
	in, err := c.createInput(false)
	if err != nil {
		return err
	}
	return c.createOnce(in)
}

// createOnce answers an equal create or link made before, or carries this one out.
func (c *call) createOnce(in *createInput) error {
	release, err := c.p.locks.take(c.ctx, in.dedupKeys()...)
	if err != nil {
		return err
	}
	defer release()
	for range 3 {
		record, hit, err := c.duplicate(in)
		if err != nil {
			return err
		}
		if hit {
			if err := c.keep(in.key, record.ID); err != nil {
				return err
			}
			return c.envelopeOf(record)
		}
		if err := c.make(in, record); !errors.Is(err, errRaced) {
			return err
		}
	}
	return errRaced
}

// createProofs is the common part of create and link (7.3), up to the JSON object.
func (c *call) createProofs() error {
	if err := c.proofs(); err != nil {
		return err
	}
	if err := c.bucket(c.orch.Name, "resource_creates", c.orch.Limits.ResourceCreates); err != nil {
		return err
	}
	return c.object()
}

func (c *call) createInput(link bool) (*createInput, error) {
	in := &createInput{environment: app.EnvironmentProd, link: link}
	var err error
	if in.label, err = c.label(); err != nil {
		return nil, err
	}
	for _, f := range []struct {
		name string
		v    any
	}{
		{"project_id", &in.project},
		{"orchestrator_resource_id", &in.orchestrated},
		{"environment", &in.environment},
		{"quote_id", &in.quote},
		{"submitted_information", &in.information},
		{"configuration", &in.configuration},
	} {
		if err := c.field(f.name, f.v); err != nil {
			return nil, err
		}
	}
	if in.environment != app.EnvironmentDev && in.environment != app.EnvironmentProd {
		return nil, Errorf(app.CodeInvalidRequest, "environment must be dev or prod")
	}
	in.actor, in.payment = c.actorAndPayment()
	if in.service, in.serviceID, err = c.wanted(); err != nil {
		return nil, err
	}
	if in.key, err = c.idempotency(); err != nil {
		return nil, err
	}
	switch {
	case in.orchestrated != "":
		in.byID = keyOrchestratorResource(c.tenant(), in.orchestrated)
	case in.project != "" && in.key.store == "": // the only key that such a create has
		in.byBare = keyBare(c.tenant(), in.project, in.serviceID)
	}
	return in, nil
}

// actorAndPayment reads what may be odd without harm: an unusable payment is none.
func (c *call) actorAndPayment() (actor app.Actor, payment app.Payment) {
	if members, err := app.Object(c.members["actor"]); err == nil {
		actor = app.Actor{Email: lenient(members["email"]), IPAddress: lenient(members["ip_address"])}
	}
	if raw, ok := c.members["payment_credentials"]; ok {
		_ = json.Unmarshal(raw, &payment)
	}
	if !c.p.cfg.Manifest.Takes(payment.Type) {
		payment = app.Payment{}
	}
	return actor, payment
}

// label validates label_prefix whether or not the provider uses it (12.2).
func (c *call) label() (string, error) {
	raw, given := c.members["label_prefix"]
	if !given {
		return "", nil
	}
	var s string
	bad := func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }
	if json.Unmarshal(raw, &s) != nil || utf8.RuneCountInString(s) > 25 || strings.ContainsFunc(s, bad) {
		return "", Errorf(app.CodeInvalidLabelPrefix, "label_prefix must be at most 25 characters without control or format characters")
	}
	return s, nil
}

// wanted reads service_id and finds it in the catalog.
func (c *call) wanted() (app.Service, string, error) {
	var id string
	if err := c.field("service_id", &id); err != nil {
		return app.Service{}, "", err
	}
	if id == "" && c.orch.generic != nil { // its bodies name no service (3.4)
		id = c.p.cfg.Generic.DefaultService
	}
	if id == "" {
		return app.Service{}, "", Errorf(app.CodeMissingServiceID, "service_id is missing")
	}
	service, ok := c.p.service(c.ctx, id)
	if !ok {
		return service, "", Errorf(app.CodeUnknownService, "the catalog has no such service")
	}
	return service, id, nil
}

// configuration reads the body's and makes it complete, as configured does.
func (c *call) configuration(service app.Service) (map[string]any, error) {
	var given map[string]any
	if err := c.field("configuration", &given); err != nil {
		return nil, err
	}
	return c.configured(service, given)
}

// configured validates and fills (11.6), then lets the author's hook speak.
func (c *call) configured(service app.Service, given map[string]any) (map[string]any, error) {
	filled, faults := app.Configure(service, given)
	if len(faults) > 0 {
		return nil, Errorf(app.CodeInvalidRequest, "configuration: %s", strings.Join(faults, "; "))
	}
	if c.p.cfg.Hooks.CheckConfiguration == nil {
		return filled, nil
	}
	return c.p.cfg.Hooks.CheckConfiguration(c.ctx, service.ServiceID, filled)
}

// dedupKeys are what creates are serialised by that are the same by any of the
// three keys (12.3).
func (in *createInput) dedupKeys() []string {
	return slices.DeleteFunc([]string{in.key.store, in.byID, in.byBare}, func(key string) bool { return key == "" })
}

// duplicate looks a create up by its three keys, first hit wins. hit: answer the
// resource as it is. Otherwise a record that is not nil is to be resumed.
func (c *call) duplicate(in *createInput) (record *resourceRecord, hit bool, err error) {
	err = c.p.cfg.Store.View(c.ctx, func(tx Tx) error {
		record, hit, err = c.findDuplicate(tx, in)
		return err
	})
	return record, hit, err
}

func (c *call) findDuplicate(tx Tx, in *createInput) (record *resourceRecord, hit bool, err error) {
	id, err := in.key.look(tx, c.p.cfg.Now())
	if err != nil {
		return nil, false, err
	}
	byKey := id != ""
	for _, index := range []string{in.byID, in.byBare} {
		if id != "" || index == "" {
			continue
		}
		if id, err = pointed(tx, index); err != nil {
			return nil, false, err
		}
	}
	if id == "" {
		return nil, false, nil
	}
	record = &resourceRecord{}
	found, err := get(tx, keyResource(c.account.ID, id), record)
	if err != nil || !found {
		return nil, false, err
	}
	if !byKey && record.Status == app.StatusRemoved {
		return nil, false, nil // its life is over, and so is its key's
	}
	if (record.Service != in.serviceID || record.Linked != in.link && record.Phase != phaseDone) && !(byKey && record.Phase == phaseDone) {
		return nil, false, Errorf(app.CodeIdempotencyConflict, "this orchestrator_resource_id has another service")
	}
	return record, record.Phase == phaseDone && record.Status != app.StatusError, nil
}

// make carries a create from its configuration to the end: a new one when record is
// nil, else that one resumed.
func (c *call) make(in *createInput, record *resourceRecord) error {
	if record == nil {
		record = &resourceRecord{Account: c.account.ID, CreatedAt: c.p.cfg.Now()}
	}
	c.resource = record.ID
	var err error
	if in.bound, err = c.bound(in); err != nil {
		return err
	}
	configuration, err := c.configured(in.service, in.configuration)
	if err != nil {
		return err
	}
	begun := record.ID != "" && (record.Charged || record.Phase == phasePaying)
	if begun && canonical(configuration) != canonical(record.Configuration) {
		return Errorf(app.CodeIdempotencyConflict, "payment for this create was begun with another configuration")
	}
	// What was paid for is finished as it was sold, however old its quote is by now.
	quote := record.Quote
	if !begun {
		if quote, err = c.quoted(in.quote, in.serviceID, configuration); err != nil {
			return err
		}
	}
	c.draft(in, record, configuration, quote)
	if asked, err := c.information(in, record); err != nil || asked {
		return err
	}
	buy, err := c.purchase(in, record)
	if err != nil {
		return err
	}
	return c.carryOut(in, record, buy)
}

// draft makes the record as this create wants it.
func (c *call) draft(in *createInput, record *resourceRecord, configuration map[string]any, quote *app.Quote) {
	record.Orchestrator, record.Service, record.Configuration = c.orch.Name, in.serviceID, configuration
	record.Environment, record.ProjectID, record.LabelPrefix = in.environment, in.project, in.label
	record.Workspace, record.Linked = c.token.Workspace, in.link
	record.Quote = quote
	if in.orchestrated != "" {
		record.OrchestratorResourceID = in.orchestrated
	}
}

// bound tells whether the project is bound to this account already. One that another
// account of this orchestrator still uses is refused.
func (c *call) bound(in *createInput) (bool, error) {
	if in.project == "" {
		return false, nil
	}
	var bound projectRecord
	err := c.p.cfg.Store.View(c.ctx, func(tx Tx) error {
		var err error
		bound, _, err = c.p.projectMemo.get(tx, keyProject(c.orch.Name, in.project))
		return err
	})
	if err != nil || bound.Account == "" || bound.Account == c.account.ID {
		return bound.Account != "", err
	}
	records, _, err := c.p.resources(c.ctx, bound.Account)
	if err != nil {
		return false, err
	}
	if slices.ContainsFunc(records, func(r resourceRecord) bool { return r.ProjectID == in.project && r.Status != app.StatusRemoved }) {
		return false, Errorf(app.CodeProjectIDConflict, "this project is bound in another account")
	}
	return false, nil
}

// information asks for what is still missing, before any payment.
func (c *call) information(in *createInput, record *resourceRecord) (asked bool, err error) {
	if in.link {
		if len(missing(c.p.cfg.LinkSchema, in.information)) == 0 {
			return false, nil
		}
		return true, c.askMore(in, record, c.p.cfg.LinkSchema)
	}
	if c.p.cfg.Hooks.Information == nil {
		return false, nil
	}
	request, err := c.handRequest(in, record)
	if err != nil {
		return false, err
	}
	schema, err := c.p.cfg.Hooks.Information(c.ctx, request)
	if err != nil || len(schema) == 0 {
		return false, err
	}
	return true, c.askMore(in, record, schema)
}

func (c *call) askMore(in *createInput, record *resourceRecord, schema []byte) error {
	return c.answer(http.StatusOK, app.Resource{
		Status: app.StatusNeedsInformation, ID: record.ID, ServiceID: in.serviceID,
		NeedsInformation: &app.NeedsInformation{Schema: schema},
	})
}

func (c *call) handRequest(in *createInput, record *resourceRecord) (Request, error) {
	resource, err := c.handed(record)
	return Request{
		Resource: resource, Orchestrator: c.orch.Name, Information: in.information, Actor: in.actor, Paid: record.Charged,
	}, err
}

// carryOut is the part with effects. The record is written before each of them, so
// that a crash leaves what to go on from: payment first, then the thing itself.
func (c *call) carryOut(in *createInput, record *resourceRecord, buy purchase) error {
	resumed := record.ID != ""
	if !resumed {
		id, err := app.Random(c.p.cfg.Random, "res_")
		if err != nil {
			return err
		}
		record.ID = id
	}
	c.resource = record.ID
	release, err := c.p.locks.take(c.ctx, lockResource(record.ID))
	if err != nil {
		return err
	}
	defer release()
	if resumed { // it may have been removed while we looked
		if now, _, err := c.p.resource(c.ctx, record.Account, record.ID); err != nil {
			return err
		} else if now.Status == app.StatusRemoved || now.Status == app.StatusPendingRemoval {
			return Errorf(app.CodeInvalidState, "the resource was removed")
		}
	}
	record.Phase, record.Status, record.Problem = phasePaid, "", nil
	if buy.activate {
		record.Phase = phasePaying
	}
	if err := c.begin(in, record); err != nil {
		return err
	}
	if buy.activate {
		if err := c.pay(in, record, buy); err != nil {
			return err
		}
	}
	return c.provision(in, record, buy)
}

// errRaced tells that another process, which does not see our locks, began the same
// create in the meantime. What it began is then gone on with.
var errRaced = errors.New("another process began the same create")

// begin writes a record and all that finds it, in one transaction.
func (c *call) begin(in *createInput, record *resourceRecord) error {
	raw, err := record.encode()
	if err != nil {
		return err
	}
	key := keyResource(record.Account, record.ID)
	return c.p.cfg.Store.Update(c.ctx, func(tx Tx) error {
		if c.p.shared { // else the locks that createOnce holds keep equal creates apart
			other, _, err := c.findDuplicate(tx, in)
			if err != nil {
				return err
			}
			if other != nil && other.ID != record.ID {
				return errRaced
			}
		}
		if err := write(tx, key, raw, time.Time{}); err != nil {
			return err
		}
		for _, index := range []string{in.byID, in.byBare} {
			if index == "" {
				continue
			}
			if err := put(tx, index, pointer{record.ID}, time.Time{}); err != nil {
				return err
			}
		}
		if in.project != "" && !in.bound {
			if err := put(tx, keyProject(c.orch.Name, in.project), projectRecord{record.Account}, time.Time{}); err != nil {
				return err
			}
		}
		return in.key.keep(tx, c.p.cfg.Now(), record.ID)
	})
}

// provision calls the author's hook and settles what came of it. After an error
// that is no refusal the record stays unfinished: the work may have been done.
func (c *call) provision(in *createInput, record *resourceRecord, buy purchase) error {
	request, err := c.handRequest(in, record)
	if err != nil {
		return err
	}
	request.Paid = record.Charged || buy.subscribed
	work := c.p.cfg.Hooks.Provision
	if in.link {
		work = c.p.cfg.Hooks.Link
	}
	out, err := work(c.ctx, request)
	var refused *Error
	if errors.As(err, &refused) {
		return c.refused(in, record, buy, refused)
	}
	if err != nil {
		return err
	}
	if in.service.Kind == app.KindDeployable && !out.Pending && out.Failed == nil && len(out.AccessConfiguration) == 0 {
		return errors.New("provisioning: a complete deployable has no access configuration")
	}
	if err := c.p.settle(record, out); err != nil {
		return err
	}
	if err := c.p.save(c.ctx, record); err != nil {
		return err
	}
	if len(out.AccessConfiguration) > 0 {
		c.given = out.AccessConfiguration // as sealed a moment ago
	}
	return c.envelopeOf(record)
}

// refused stores a decided refusal, gives the money back where the author can, and
// answers it with the allocated id.
func (c *call) refused(in *createInput, record *resourceRecord, buy purchase, refusal *Error) error {
	if record.Charged && c.p.cfg.Hooks.RefundPayment != nil {
		payment, err := c.payment(in, record, buy, createPayment(record))
		if err != nil {
			return err
		}
		payment.Token = ""
		if err := c.p.cfg.Hooks.RefundPayment(c.ctx, payment); err != nil {
			return err // unfinished: the next attempt comes here again
		}
		record.Charged = false
		record.Attempt++
	}
	record.fail(refusal)
	if err := c.p.save(c.ctx, record); err != nil {
		return err
	}
	return refusal
}

// activePlans are the plans of an account, for prices that depend on them.
func (p *Provider) activePlans(ctx context.Context, account string) ([]string, error) {
	kinds := map[string]string{}
	for _, s := range p.services(ctx) {
		kinds[s.ID] = s.Kind
	}
	records, _, err := p.resources(ctx, account)
	var plans []string
	for _, r := range records {
		if kinds[r.Service] == app.KindPlan && r.Status == app.StatusComplete {
			plans = append(plans, r.Service)
		}
	}
	return plans, err
}
