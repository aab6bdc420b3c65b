package providertest

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/purser-dev/purser/app"
)

const resourcesPath = "provisioning/resources"

var resourceCases = []scenario{
	{"R1", "a free deployable is made, with what opens it", "12.1", needFree, func(p *probe) {
		id, r := p.free(p.shared())
		out := p.resource(r)
		p.check(r, id != "" && out.ServiceID == p.config.FreeService && len(out.Complete.AccessConfiguration) > 0, "id, service_id and a non-empty access_configuration")
		p.check(r, strings.Contains(r.header.Get("Cache-Control"), "no-store"), "Cache-Control: no-store")
	}},
	{"R3", "an unknown service is refused", "12.2", nil, func(p *probe) {
		r := p.create(p.shared(), p.body("no-such-service", nil))
		p.fails(r, 400, app.EnvelopeStatus, app.CodeUnknownService)
		p.check(r, string(r.raw("id")) == `""`, `id ""`)
		p.fails(p.create(p.shared(), p.body("x", map[string]any{"service_id": nil})), 400, app.EnvelopeStatus, app.CodeMissingServiceID)
	}},
	{"R4", "a bad label_prefix is refused", "12.2", needFree, func(p *probe) {
		for _, label := range []any{strings.Repeat("a", 26), "a\u202eb", 5} {
			r := p.create(p.shared(), p.body(p.config.FreeService, map[string]any{"label_prefix": label}))
			p.fails(r, 400, app.EnvelopeStatus, app.CodeInvalidLabelPrefix)
		}
	}},
	{"R5", "a paid service without payment is refused and nothing is allocated", "12.2", needPaid, func(p *probe) {
		r := p.create(p.shared(), p.body(p.config.PaidService, nil))
		p.fails(r, 400, app.EnvelopeStatus, app.CodeRequiresPayment)
		p.check(r, string(r.raw("id")) == `""`, `id ""`)
	}},
	{"R6", "a paid service with payment is made", "14.1", needPayment, func(p *probe) {
		token := p.account()
		r := p.create(token, p.body(p.config.PaidService, map[string]any{"payment_credentials": p.config.payment()}))
		p.settled(token, r)
	}},
	{"R10", "reading a resource mints nothing", "12.5", needFree, func(p *probe) {
		token := p.shared()
		id, made := p.free(token)
		first, second := p.read(token, id), p.read(token, id)
		p.succeeds(first, "status", app.StatusComplete)
		p.succeeds(second, "status", app.StatusComplete)
		known := p.resource(made).Complete.AccessConfiguration
		for _, r := range []*reply{first, second} {
			for name, value := range p.resource(r).Complete.AccessConfiguration {
				p.check(r, known[name] == value, "access_configuration.%s as it was created", name)
			}
		}
	}},
	{"R11", "a malformed id is refused and echoed", "12.5", nil, func(p *probe) {
		r := p.read(p.shared(), "not an id!")
		p.fails(r, 400, app.EnvelopeStatus, app.CodeInvalidResourceID)
		p.check(r, r.text("id") == "not an id!", "the id echoed")
	}},
	{"R12", "a resource of another account is out of scope", "12.5", needFree, func(p *probe) {
		id, _ := p.free(p.shared())
		stranger := p.account()
		p.fails(p.read(stranger, id), 403, app.EnvelopeStatus, app.CodeForbidden)
		p.fails(p.read(stranger, "res_unknown"), 403, app.EnvelopeStatus, app.CodeForbidden)
		p.fails(p.verb(stranger, id, "remove", map[string]any{}), 403, app.EnvelopeStatus, app.CodeForbidden)
		p.succeeds(p.read(p.shared(), id), "status", app.StatusComplete)
	}},
	{"R14", "an unknown bearer is refused before the signature is looked at", "7.3", nil, func(p *probe) {
		p.fails(p.read("no-such-token", "res_1"), 401, app.EnvelopeStatus, app.CodeUnauthorized)
		p.fails(p.get(resourcesPath+"/res_1", unsigned), 401, app.EnvelopeStatus, app.CodeUnauthorized)
		p.fails(p.get(resourcesPath+"/res_1", unsigned, bearer(p.shared())), 401, app.EnvelopeFlat, app.CodeInvalidSignature)
	}},
	{"R15", "a bearer of another orchestrator is refused", "2", needForeign, func(p *probe) {
		p.fails(p.read(p.config.ForeignBearer, "res_1"), 401, app.EnvelopeStatus, app.CodeUnauthorized)
	}},
	{"R17", "linking asks for the instance, or is not offered", "12.4", needFree, func(p *probe) {
		r := p.post(resourcesPath+"/link", p.body(p.config.FreeService, nil), bearer(p.shared()))
		if !contains(p.config.Capabilities, app.CapLink) {
			p.fails(r, 400, app.EnvelopeStatus, app.CodeUnsupportedOperation)
			return
		}
		p.succeeds(r, "status", app.StatusNeedsInformation)
		var schema struct{ Required []string }
		_ = json.Unmarshal(r.raw("needs_information", "schema"), &schema)
		p.check(r, len(schema.Required) > 0, "a schema that requires the instance")
		given := map[string]any{}
		for _, name := range schema.Required {
			given[name] = "conformance-" + p.unique()
		}
		token := p.account()
		r = p.post(resourcesPath+"/link", p.body(p.config.FreeService, map[string]any{"submitted_information": given}), bearer(token))
		p.settled(token, r)
	}},
	{"R18", "a plan is made", "12.1", needPlan, func(p *probe) {
		token := p.account()
		with := map[string]any{}
		if p.config.PlanService == p.config.PaidService {
			if why := needPayment(p.config); why != "" {
				p.fails(p.create(token, p.body(p.config.PlanService, nil)), 400, app.EnvelopeStatus, app.CodeRequiresPayment)
				return
			}
			with["payment_credentials"] = p.config.payment()
		}
		p.settled(token, p.create(token, p.body(p.config.PlanService, with)))
	}},
	{"R50", "the same Idempotency-Key gives the same resource and the same credentials", "12.3", needFree, func(p *probe) {
		token, body, k := p.shared(), p.body(p.config.FreeService, nil), key("conf-"+p.unique())
		first := p.settled(token, p.create(token, body, k))
		second := p.settled(token, p.create(token, body, k))
		same := p.resource(first)
		again := p.resource(second)
		p.check(second, again.ID == same.ID && equal(again.Complete.AccessConfiguration, same.Complete.AccessConfiguration), "the first resource and its credentials, not new ones")
	}},
	{"R51", "the same Idempotency-Key with another body is a conflict", "12.3", needFree, func(p *probe) {
		token, body, k := p.shared(), p.body(p.config.FreeService, nil), key("conf-"+p.unique())
		p.settled(token, p.create(token, body, k))
		body["environment"] = "prod"
		p.fails(p.create(token, body, k), 409, app.EnvelopeStatus, app.CodeIdempotencyConflict)
	}},
	{"R52", "the same orchestrator_resource_id gives the same resource, whatever the key", "12.3", needFree, func(p *probe) {
		token, body := p.shared(), p.body(p.config.FreeService, nil)
		first := p.settled(token, p.create(token, body, key("conf-"+p.unique())))
		second := p.settled(token, p.create(token, body, key("conf-"+p.unique())))
		p.check(second, first.text("id") == second.text("id"), "the first resource")
	}},
	{"R53", "the same orchestrator_resource_id with another service is a conflict", "12.3", needTwo, func(p *probe) {
		token, body := p.shared(), p.body(p.config.FreeService, nil)
		p.settled(token, p.create(token, body))
		other := p.body(p.config.otherService(), map[string]any{"orchestrator_resource_id": body["orchestrator_resource_id"]})
		p.fails(p.create(token, other), 409, app.EnvelopeStatus, app.CodeIdempotencyConflict)
	}},
	{"R54", "equal creates at the same time make one resource, by any key", "12.3", needFree, func(p *probe) {
		byID := p.body(p.config.FreeService, nil)
		byKey := p.body(p.config.FreeService, map[string]any{"orchestrator_resource_id": nil})
		p.atOnce(byID)
		p.atOnce(byKey, key("conf-"+p.unique()))
		p.atOnce(p.body(p.config.FreeService, map[string]any{"orchestrator_resource_id": nil, "project_id": "proj_" + p.unique()}))
	}},
	{"R55", "other accounts may use the same keys", "12.3", needFree, func(p *probe) {
		body, k := p.body(p.config.FreeService, nil), key("conf-"+p.unique())
		one, two := p.shared(), p.account()
		first := p.settled(one, p.create(one, body, k))
		second := p.settled(two, p.create(two, body, k))
		p.check(second, first.text("id") != second.text("id"), "a resource of its own")
	}},
	{"R56", "an Idempotency-Key with a space or above 255 characters is refused", "12.3", needFree, func(p *probe) {
		for _, k := range []string{"a b", strings.Repeat("k", 256)} {
			p.fails(p.create(p.shared(), p.body(p.config.FreeService, nil), key(k)), 400, app.EnvelopeStatus, app.CodeInvalidRequest)
		}
	}},
	{"R57", "malformed JSON and wrong types get the status envelope", "4.3", needFree, func(p *probe) {
		for _, body := range []any{"{", "[]", map[string]any{"service_id": 5}, p.body(p.config.FreeService, map[string]any{"configuration": "text"}), p.body(p.config.FreeService, map[string]any{"environment": "moon"})} {
			p.fails(p.post(resourcesPath, body, bearer(p.shared())), 400, app.EnvelopeStatus, app.CodeInvalidRequest)
		}
	}},
	{"R58", "a wrong version is refused after the bearer", "7.3", nil, func(p *probe) {
		p.fails(p.get(resourcesPath+"/res_1", bearer(p.shared()), header(app.HeaderVersion, "0.1")), 400, app.EnvelopeFlat, app.CodeInvalidAPIVersion)
	}},
	{"R59", "an unknown payment type counts as none", "14.1", needPaid, func(p *probe) {
		body := p.body(p.config.PaidService, map[string]any{"payment_credentials": map[string]any{"type": "seashells", "seashells": "sh_1"}})
		p.fails(p.create(p.shared(), body), 400, app.EnvelopeStatus, app.CodeRequiresPayment)
	}},
}

// atOnce sends ten equal creates and expects one id.
func (p *probe) atOnce(body map[string]any, options ...option) {
	token := p.shared()
	ids := make([]string, callers)
	p.ten(func(q *probe, i int) { ids[i] = q.create(token, body, options...).text("id") })
	slices.Sort(ids)
	p.check(p.last, ids[0] != "" && len(slices.Compact(ids)) == 1, "one id for ten equal creates at once")
}

func equal(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for name, value := range a {
		if b[name] != value {
			return false
		}
	}
	return true
}

func needUpdate(c Config) string {
	if c.UpdateTarget == "" {
		return "update_target is not given"
	}
	return needCap(app.CapUpdate, needFree)(c)
}

var operationCases = []scenario{
	{"U1", "an update to an allowed target shows on reading", "12.6", needUpdate, func(p *probe) {
		token := p.shared()
		id, _ := p.free(token)
		target := p.config.UpdateTarget
		body := map[string]any{"service_id": target, "configuration": p.config.configuration(target, p.unique())}
		p.settled(token, p.verb(token, id, "update_service", body))
		r := p.read(token, id)
		p.check(r, r.text("service_id") == target, "service_id %q", target)
	}},
	{"U4", "an update to a paid service without payment is refused", "12.6", needCap(app.CapUpdate, needFree, needPaid), func(p *probe) {
		token := p.shared()
		id, _ := p.free(token)
		body := map[string]any{"service_id": p.config.PaidService, "configuration": p.config.configuration(p.config.PaidService, p.unique())}
		r := p.verb(token, id, "update_service", body)
		f, _ := app.ParseFailure(r.body)
		p.check(r, r.status == 400 && f.Envelope == app.EnvelopeStatus && (f.Code == app.CodeRequiresPayment || f.Code == app.CodeDestructiveUpdate) && f.ID == id,
			"HTTP 400, the status envelope with the resource id and requires_payment_credentials (or destructive_update, if that move is not allowed)")
	}},
	{"U5", "an update that the catalog does not allow is refused", "12.6", needCap(app.CapUpdate, needFree, needPlan), func(p *probe) {
		token := p.shared()
		id, _ := p.free(token)
		r := p.verb(token, id, "update_service", map[string]any{"service_id": p.config.PlanService})
		p.fails(r, 400, app.EnvelopeStatus, app.CodeDestructiveUpdate)
	}},
	{"U50", "an update without service_id is refused with the resource id", "12.6", needCap(app.CapUpdate, needFree), func(p *probe) {
		token := p.shared()
		id, _ := p.free(token)
		r := p.verb(token, id, "update_service", map[string]any{})
		p.fails(r, 400, app.EnvelopeStatus, app.CodeMissingServiceID)
		p.check(r, r.text("id") == id, "the resource id")
	}},
	{"X1", "a rotation gives other credentials", "12.7", needCap(app.CapRotate, needFree), func(p *probe) {
		token := p.shared()
		id, made := p.free(token)
		r := p.verb(token, id, "rotate_credentials", map[string]any{})
		p.succeeds(r, "status", app.StatusComplete)
		p.check(r, !equal(p.resource(r).Complete.AccessConfiguration, p.resource(made).Complete.AccessConfiguration), "other credentials than before")
		now := p.read(token, id)
		for name, value := range p.resource(now).Complete.AccessConfiguration {
			p.check(now, p.resource(r).Complete.AccessConfiguration[name] == value, "the new %s", name)
		}
	}},
	{"X2", "a rotation with a bad label_prefix is refused with the resource id", "12.7", needCap(app.CapRotate, needFree), func(p *probe) {
		token := p.shared()
		id, _ := p.free(token)
		r := p.verb(token, id, "rotate_credentials", map[string]any{"label_prefix": 5})
		p.fails(r, 400, app.EnvelopeStatus, app.CodeInvalidLabelPrefix)
		p.check(r, r.text("id") == id, "the resource id")
	}},
	{"X50", "a create replayed after a rotation never shows the dead secret", "12.3", needCap(app.CapRotate, needFree), func(p *probe) {
		token, body, k := p.shared(), p.body(p.config.FreeService, nil), key("conf-"+p.unique())
		made := p.settled(token, p.create(token, body, k))
		rotated := p.verb(token, made.text("id"), "rotate_credentials", map[string]any{})
		p.succeeds(rotated, "status", app.StatusComplete)
		again := p.create(token, body, k)
		p.succeeds(again, "status", app.StatusComplete)
		p.check(again, equal(p.resource(again).Complete.AccessConfiguration, p.resource(rotated).Complete.AccessConfiguration), "the rotated credentials")
	}},
	{"X51", "a rotation repeated under its key rotates once", "12.3", needCap(app.CapRotate, needFree), func(p *probe) {
		token := p.shared()
		id, _ := p.free(token)
		k := key("conf-" + p.unique())
		first := p.verb(token, id, "rotate_credentials", map[string]any{}, k)
		p.succeeds(first, "status", app.StatusComplete)
		second := p.verb(token, id, "rotate_credentials", map[string]any{}, k)
		p.succeeds(second, "status", app.StatusComplete)
		p.check(second, equal(p.resource(first).Complete.AccessConfiguration, p.resource(second).Complete.AccessConfiguration), "the credentials of the first rotation")
	}},
	{"M1", "removing twice answers removed, and so does reading", "12.8", needFree, func(p *probe) {
		token, body, k := p.shared(), p.body(p.config.FreeService, nil), key("conf-"+p.unique())
		id := p.settled(token, p.create(token, body, k)).text("id")
		p.gone(token, id, p.verb(token, id, "remove", map[string]any{}))
		p.succeeds(p.verb(token, id, "remove", map[string]any{}), "status", app.StatusRemoved)
		p.succeeds(p.read(token, id), "status", app.StatusRemoved)
		again := p.create(token, body, k)
		p.succeeds(again, "status", app.StatusRemoved)
		p.check(again, again.text("id") == id, "the removed resource under its key")
	}},
	{"M2", "a removed resource is not updated or rotated, and its orchestrator_resource_id is free", "12.8", needFree, func(p *probe) {
		token, body := p.shared(), p.body(p.config.FreeService, nil)
		id := p.settled(token, p.create(token, body)).text("id")
		p.gone(token, id, p.verb(token, id, "remove", map[string]any{}))
		if contains(p.config.Capabilities, app.CapRotate) {
			p.fails(p.verb(token, id, "rotate_credentials", map[string]any{}), 409, app.EnvelopeStatus, app.CodeInvalidState)
		}
		if contains(p.config.Capabilities, app.CapUpdate) {
			p.fails(p.verb(token, id, "update_service", map[string]any{"service_id": p.config.FreeService}), 409, app.EnvelopeStatus, app.CodeInvalidState)
		}
		p.check(p.last, p.settled(token, p.create(token, body)).text("id") != id, "a new resource")
	}},
}

// gone waits for a removal.
func (p *probe) gone(token, id string, r *reply) {
	for range 40 {
		if r.text("status") != app.StatusPendingRemoval {
			break
		}
		p.wait()
		r = p.read(token, id)
	}
	p.succeeds(r, "status", app.StatusRemoved)
}

var extensionCases = []scenario{
	{"F1", "a resource is found by the orchestrator's id, without secrets", "19", needCap(app.CapFind, needFree), func(p *probe) {
		token, body := p.shared(), p.body(p.config.FreeService, nil)
		made := p.settled(token, p.create(token, body))
		r := p.find(token, body["orchestrator_resource_id"].(string))
		list := p.list(r)
		p.check(r, len(list) == 1 && list[0].ID == made.text("id") && list[0].Status == app.StatusComplete, "exactly the resource made")
		p.check(r, !p.leaks(r, made), "no access_configuration")
	}},
	{"F2", "what was never made is not found", "19", needCap(app.CapFind), func(p *probe) {
		r := p.find(p.shared(), "conf_never_"+p.unique())
		p.check(r, len(p.list(r)) == 0 && string(r.raw("data")) == "[]", "an empty list")
	}},
	{"F3", "the list has every resource once, removed ones too, without secrets", "19", needCap(app.CapFind, needFree), func(p *probe) {
		token := p.account()
		one := p.settled(token, p.create(token, p.body(p.config.FreeService, nil)))
		two := p.settled(token, p.create(token, p.body(p.config.FreeService, nil)))
		p.gone(token, two.text("id"), p.verb(token, two.text("id"), "remove", map[string]any{}))
		seen := map[string]string{}
		cursor := ""
		for range 20 {
			r := p.get(resourcesPath+"?cursor="+url.QueryEscape(cursor), bearer(token))
			for _, resource := range p.list(r) {
				p.check(r, seen[resource.ID] == "", "%s once", resource.ID)
				seen[resource.ID] = resource.Status
			}
			p.check(r, !p.leaks(r, one) && !p.leaks(r, two), "no access_configuration")
			if cursor = r.text("next_cursor"); cursor == "" {
				break
			}
		}
		p.check(p.last, len(seen) == 2 && seen[one.text("id")] == app.StatusComplete && seen[two.text("id")] == app.StatusRemoved, "the complete and the removed one, not %v", seen)
	}},
	{"F4", "another account finds nothing", "19", needCap(app.CapFind, needFree), func(p *probe) {
		body := p.body(p.config.FreeService, nil)
		p.settled(p.shared(), p.create(p.shared(), body))
		r := p.find(p.account(), body["orchestrator_resource_id"].(string))
		p.check(r, len(p.list(r)) == 0, "an empty list")
	}},
	{"Q1", "a quote names item, amount, currency and expiry", "19", needCap(app.CapQuotes, needPaid), func(p *probe) {
		r := p.quote(p.shared(), p.config.PaidService, p.config.configuration(p.config.PaidService, p.unique()))
		var q app.Quote
		err := json.Unmarshal(r.body, &q)
		p.check(r, err == nil && q.ID != "" && q.Item != "" && len(q.Currency) == 3 && q.Interval != "" && q.ExpiresAt.After(p.config.Now()) && r.raw("amount_minor") != nil && r.raw("tax_minor") != nil,
			"quote_id, item, amount_minor, currency, interval, tax_minor and an expiry to come (%v)", err)
	}},
	{"Q2", "a quote is not sold as something else", "19", needCap(app.CapQuotes, needFree, needPayment), func(p *probe) {
		token := p.shared()
		quote := p.quote(token, p.config.PaidService, p.config.configuration(p.config.PaidService, p.unique())).text("quote_id")
		r := p.create(token, p.body(p.config.FreeService, map[string]any{"quote_id": quote}))
		p.fails(r, 409, app.EnvelopeStatus, app.CodeQuoteChanged)
	}},
	{"Q3", "an unknown quote is refused", "19", needCap(app.CapQuotes, needFree), func(p *probe) {
		r := p.create(p.shared(), p.body(p.config.FreeService, map[string]any{"quote_id": "quote_unknown"}))
		p.fails(r, 409, app.EnvelopeStatus, app.CodeQuoteExpired)
	}},
	{"Q4", "a purchase at its quote succeeds, and a replay is the same purchase", "19", needCap(app.CapQuotes, needPayment), func(p *probe) {
		token, service := p.account(), p.config.PaidService
		configuration := p.config.configuration(service, p.unique())
		quote := p.quote(token, service, configuration).text("quote_id")
		body := p.body(service, map[string]any{"configuration": configuration, "quote_id": quote, "payment_credentials": p.config.payment()})
		k := key("conf-" + p.unique())
		first := p.settled(token, p.create(token, body, k))
		second := p.settled(token, p.create(token, body, k))
		p.check(second, first.text("id") == second.text("id"), "the first resource")
	}},
	{"Q5", "quotes need no account, but a signature", "19", needCap(app.CapQuotes, needPaid), func(p *probe) {
		body := map[string]any{"service_id": p.config.PaidService, "configuration": p.config.configuration(p.config.PaidService, p.unique())}
		p.ok(p.post("provisioning/quotes", body))
		p.fails(p.post("provisioning/quotes", body, unsigned), 401, app.EnvelopeFlat, app.CodeInvalidSignature)
	}},
}

func (p *probe) quote(token, service string, configuration map[string]any) *reply {
	r := p.post("provisioning/quotes", map[string]any{"service_id": service, "configuration": configuration}, bearer(token))
	p.ok(r)
	p.check(r, r.text("quote_id") != "", "a quote_id")
	return r
}

func (p *probe) find(token, id string) *reply {
	r := p.get(resourcesPath+"?orchestrator_resource_id="+url.QueryEscape(id), bearer(token))
	p.ok(r)
	return r
}

func (p *probe) list(r *reply) []app.Resource {
	p.ok(r)
	var page app.ResourcePage
	if err := json.Unmarshal(r.body, &page); err != nil {
		p.failf("a list of envelopes: %v", err)
	}
	return page.Data
}

// leaks tells whether an answer holds a value of the access configuration made.
func (p *probe) leaks(r, made *reply) bool {
	complete := p.resource(made).Complete
	p.last = r
	if complete == nil {
		return false
	}
	for _, value := range complete.AccessConfiguration {
		if len(value) > 5 && strings.Contains(string(r.body), value) {
			return true
		}
	}
	return false
}

var flowCases = []scenario{
	{"E1", "the whole way: health, services, account, token, create, read, rotate, update, deep link, refresh", "18", needFree, func(p *probe) {
		p.succeeds(p.get("provisioning/health"), "status", "ok")
		p.ok(p.get("provisioning/services"))
		first := p.token(p.redeem(p.code(nil)))
		id, _ := p.free(first.AccessToken)
		p.succeeds(p.read(first.AccessToken, id), "status", app.StatusComplete)
		if contains(p.config.Capabilities, app.CapRotate) {
			p.succeeds(p.verb(first.AccessToken, id, "rotate_credentials", map[string]any{}), "status", app.StatusComplete)
		}
		if needUpdate(p.config) == "" {
			body := map[string]any{"service_id": p.config.UpdateTarget, "configuration": p.config.configuration(p.config.UpdateTarget, p.unique())}
			p.settled(first.AccessToken, p.verb(first.AccessToken, id, "update_service", body))
		}
		if p.config.DeepLinkPurpose != "" {
			p.ok(p.post(deepLinkPath, map[string]any{"purpose": p.config.DeepLinkPurpose}, bearer(first.AccessToken)))
		}
		second := p.token(p.refresh(first.RefreshToken))
		p.fails(p.read(first.AccessToken, id), 401, app.EnvelopeStatus, app.CodeUnauthorized)
		p.succeeds(p.read(second.AccessToken, id), "status", app.StatusComplete)
		p.verb(second.AccessToken, id, "remove", map[string]any{})
	}},
}
