package fakes

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/purser-dev/purser/app"
)

// Posthog behaves as PostHog's provider was seen to: it links silently, sells plans
// and a deployable whose price depends on them, allows the update service_ref,
// answers in status envelopes, shows the base credentials only once more, and knows
// a token no longer when its last workspace is gone.
type Posthog struct {
	log
	Manifest string

	accounts  map[string]string          // email -> account
	codes     map[string]posthogCode     // code -> what it opens
	tokens    map[string]string          // access token -> account
	resources map[string]*posthogProject // id -> project
}

type posthogCode struct{ account, challenge string }

type posthogProject struct {
	account, service, key string
}

// NewPosthog starts one. It ends with the test.
func NewPosthog(t *testing.T) *Posthog {
	t.Helper()
	p := &Posthog{
		accounts: map[string]string{}, codes: map[string]posthogCode{}, tokens: map[string]string{}, resources: map[string]*posthogProject{},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/provisioning/services", p.checked(false, p.services))
	mux.HandleFunc("POST /api/provisioning/account_requests", p.checked(false, p.account))
	mux.HandleFunc("POST /api/oauth/token", p.token)
	mux.HandleFunc("POST /api/provisioning/resources", p.checked(true, p.create))
	mux.HandleFunc("GET /api/provisioning/resources/{id}", p.checked(true, p.get))
	mux.HandleFunc("POST /api/provisioning/resources/{id}/update_service", p.checked(true, p.update))
	mux.HandleFunc("POST /api/provisioning/resources/{id}/rotate_credentials", p.checked(true, p.rotate))
	mux.HandleFunc("POST /api/provisioning/resources/{id}/remove", p.checked(true, p.remove))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	p.Manifest = manifest(t, app.Manifest{
		Name: "posthog", BaseURL: server.URL + "/api/", OAuthTokenEndpoint: server.URL + "/api/oauth/token", OAuthScopes: []string{"project:write"},
		Capabilities: []string{app.CapUpdate, app.CapRotate}, DeepLinkPurposes: []string{"dashboard"}, PaymentCredentialTypes: []string{app.PaymentSandbox},
	})
	return p
}

// checked is PostHog's order: bearer, signature, version.
func (p *Posthog) checked(bearer bool, next func(w http.ResponseWriter, r *http.Request, c Call, account string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		raw, c, err := p.read(r)
		p.mu.Lock()
		defer p.mu.Unlock()
		account := p.tokens[c.Bearer]
		switch {
		case err != nil:
			answer(w, http.StatusBadRequest, object{"error": object{"code": app.CodeBodyNotReadable, "message": "The body could not be read."}})
		case bearer && account == "":
			answer(w, http.StatusUnauthorized, object{"status": "error", "id": "", "error": object{"code": app.CodeUnauthorized, "message": "Invalid access token."}})
		case !signed(r, raw):
			answer(w, http.StatusUnauthorized, object{"error": object{"code": app.CodeInvalidSignature, "message": "Invalid signature."}})
		case r.Header.Get(app.HeaderVersion) != app.Version:
			answer(w, http.StatusBadRequest, object{"error": object{"code": app.CodeInvalidAPIVersion, "message": "Supported: 0.1d"}})
		default:
			next(w, r, c, account)
		}
	}
}

func (p *Posthog) services(w http.ResponseWriter, _ *http.Request, _ Call, _ string) {
	paid := object{"type": "freeform", "freeform": "Usage-based, see the pricing page"}
	answer(w, http.StatusOK, object{"data": []object{
		{"id": "free", "description": "Free plan", "categories": []string{"analytics"}, "kind": "plan", "pricing": object{"type": "free"}, "allowed_updates": []string{"pay_as_you_go"}},
		{"id": "pay_as_you_go", "description": "Paid plan", "categories": []string{"analytics"}, "kind": "plan", "pricing": object{"type": "paid", "paid": paid}, "allowed_updates": []string{"free"}},
		{
			"id": "analytics", "description": "Product analytics", "categories": []string{"analytics", "feature_flags"}, "kind": "deployable",
			"pricing": object{"type": "component", "component": object{"options": []object{
				{"parent_service_ids": []string{"free"}, "type": "free", "is_default": true},
				{"parent_service_ids": []string{"pay_as_you_go"}, "type": "paid", "paid": paid},
			}}},
			"allowed_updates": []string{"service_ref"}, "constraints": object{}, "novelty": object{"nobody": "knows this member"},
		},
		{"id": "session_replay", "description": "Recordings", "categories": []string{"analytics"}, "kind": "deployable", "pricing": object{"type": "free"}, "allowed_updates": nil},
	}})
}

// account links silently, whoever had the address before.
func (p *Posthog) account(w http.ResponseWriter, _ *http.Request, c Call, _ string) {
	email := strings.ToLower(text(c.Body["email"]))
	if email == "" {
		answer(w, http.StatusBadRequest, object{"type": "error", "id": c.Body["id"], "error": object{"code": app.CodeInvalidRequest, "message": "email is required"}})
		return
	}
	if p.accounts[email] == "" {
		p.accounts[email] = random("org_")
	}
	code := random("code_")
	p.codes[code] = posthogCode{p.accounts[email], text(c.Body["code_challenge"])}
	answer(w, http.StatusOK, object{"id": c.Body["id"], "type": "oauth", "oauth": object{"code": code}, "wizard": object{"hint": "ignored"}})
}

func (p *Posthog) token(w http.ResponseWriter, r *http.Request) {
	raw, _, _ := p.read(r)
	form, _ := url.ParseQuery(string(raw))
	p.mu.Lock()
	defer p.mu.Unlock()
	code, known := p.codes[form.Get("code")]
	if form.Get("grant_type") != "authorization_code" || !known || code.challenge != "" && !app.Answers(code.challenge, form.Get("code_verifier")) {
		answer(w, http.StatusBadRequest, object{"error": app.CodeInvalidGrant, "error_description": "bad code"})
		return
	}
	delete(p.codes, form.Get("code"))
	access := random("pha_")
	p.tokens[access] = code.account
	answer(w, http.StatusOK, object{
		"token_type": "Bearer", "access_token": access, "refresh_token": random("phr_"), "expires_in": 365 * 24 * 3600,
		"account": object{"id": code.account, "payment_credentials": app.PaidByOrchestrator, "available_teams": []object{{"id": 1, "name": "Default project"}}},
	})
}

func failed(w http.ResponseWriter, status int, id, code, message string) {
	answer(w, status, object{"status": "error", "id": id, "error": object{"code": code, "message": message}})
}

// create finds the project of a project_id and overwrites its service, and mints a
// new key each time: a repeat is not safe there.
func (p *Posthog) create(w http.ResponseWriter, _ *http.Request, c Call, account string) {
	service := text(c.Body["service_id"])
	switch service {
	case "":
		service = "analytics"
	case "free", "analytics", "session_replay":
	case "pay_as_you_go":
		if c.Body["payment_credentials"] == nil {
			failed(w, http.StatusBadRequest, "", app.CodeRequiresPayment, "A payment method is needed.")
			return
		}
	default:
		failed(w, http.StatusBadRequest, "", app.CodeUnknownService, "Unknown service.")
		return
	}
	id := random("")
	p.resources[id] = &posthogProject{account, service, random("phx_")}
	answer(w, http.StatusOK, p.envelope(id, true))
}

// envelope shows the personal key only when it was just made.
func (p *Posthog) envelope(id string, whole bool) object {
	project := p.resources[id]
	access := object{"api_key": "phc_" + id, "host": "https://us.posthog.example"}
	if whole {
		access["personal_api_key"] = project.key
	}
	complete := object{"access_configuration": access}
	if project.service == "free" || project.service == "pay_as_you_go" {
		complete["access_configuration"] = nil
	}
	return object{"status": "complete", "id": id, "service_id": project.service, "complete": complete}
}

func (p *Posthog) mine(w http.ResponseWriter, r *http.Request, account string) (string, *posthogProject) {
	id := r.PathValue("id")
	project := p.resources[id]
	if project == nil || project.account != account {
		failed(w, http.StatusForbidden, id, app.CodeForbidden, "Not accessible with this token.")
		return id, nil
	}
	return id, project
}

func (p *Posthog) get(w http.ResponseWriter, r *http.Request, _ Call, account string) {
	if id, project := p.mine(w, r, account); project != nil {
		answer(w, http.StatusOK, p.envelope(id, false))
	}
}

func (p *Posthog) update(w http.ResponseWriter, r *http.Request, c Call, account string) {
	id, project := p.mine(w, r, account)
	switch service := text(c.Body["service_id"]); {
	case project == nil:
	case service == "":
		failed(w, http.StatusBadRequest, id, app.CodeMissingServiceID, "service_id is required")
	case service == "pay_as_you_go" && c.Body["payment_credentials"] == nil:
		failed(w, http.StatusBadRequest, id, app.CodeBillingActivation, "A payment method is needed.")
	default:
		project.service = service
		answer(w, http.StatusOK, p.envelope(id, false))
	}
}

func (p *Posthog) rotate(w http.ResponseWriter, r *http.Request, _ Call, account string) {
	if id, project := p.mine(w, r, account); project != nil {
		project.key = random("phx_")
		answer(w, http.StatusOK, p.envelope(id, true))
	}
}

// remove only detaches. With the last resource the token is gone too.
func (p *Posthog) remove(w http.ResponseWriter, r *http.Request, _ Call, account string) {
	id, project := p.mine(w, r, account)
	if project == nil {
		return
	}
	delete(p.resources, id)
	left := 0
	for _, other := range p.resources {
		if other.account == account {
			left++
		}
	}
	if left == 0 {
		for token, of := range p.tokens {
			if of == account {
				delete(p.tokens, token)
			}
		}
	}
	answer(w, http.StatusOK, object{"status": "removed", "id": id})
}

// Key is the personal key of a project now.
func (p *Posthog) Key(id string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.resources[id] == nil {
		return ""
	}
	return p.resources[id].key
}
