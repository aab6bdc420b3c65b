package fakes

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/purser-dev/purser/app"
)

// Sample behaves as the small sample provider was seen to: it hands credentials out
// without a code, tells every failure with HTTP 200, writes constraints as a map and
// ports as integers, and asks for no version.
type Sample struct {
	log
	Manifest string

	tokens    map[string]bool
	byKey     map[string]string // idempotency key -> id; bodies and accounts do not count
	databases map[string]*sampleDatabase
}

type sampleDatabase struct {
	service, password string
	port              float64
}

// NewSample starts one. It ends with the test.
func NewSample(t *testing.T) *Sample {
	t.Helper()
	s := &Sample{tokens: map[string]bool{}, byKey: map[string]string{}, databases: map[string]*sampleDatabase{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /provisioning/services", s.checked(false, s.services))
	mux.HandleFunc("POST /provisioning/account_requests", s.checked(false, s.account))
	mux.HandleFunc("POST /oauth/token", func(w http.ResponseWriter, r *http.Request) {
		_, _, _ = s.read(r)
		answer(w, http.StatusUnauthorized, object{"detail": "Invalid refresh token"})
	})
	mux.HandleFunc("POST /provisioning/resources", s.checked(true, s.create))
	mux.HandleFunc("GET /provisioning/resources/{id}", s.checked(true, s.get))
	mux.HandleFunc("POST /provisioning/resources/{id}/update_service", s.checked(true, s.update))
	mux.HandleFunc("POST /provisioning/resources/{id}/rotate_credentials", s.checked(true, s.rotate))
	mux.HandleFunc("POST /provisioning/resources/{id}/remove", s.checked(true, s.remove))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s.Manifest = manifest(t, app.Manifest{
		Name: "sample", BaseURL: server.URL + "/", OAuthTokenEndpoint: server.URL + "/oauth/token",
		Capabilities: []string{app.CapUpdate, app.CapRotate, app.CapDeprovision}, PaymentCredentialTypes: []string{app.PaymentSandbox},
	})
	return s
}

// checked is the sample provider's order: signature, body, bearer, and no version.
func (s *Sample) checked(bearer bool, next func(w http.ResponseWriter, r *http.Request, c Call)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		raw, c, _ := s.read(r)
		s.mu.Lock()
		defer s.mu.Unlock()
		switch {
		case !signed(r, raw):
			answer(w, http.StatusUnauthorized, object{"detail": "Invalid signature"})
		case bearer && !s.tokens[c.Bearer]:
			answer(w, http.StatusUnauthorized, object{"detail": "Invalid token"})
		default:
			next(w, r, c)
		}
	}
}

func (s *Sample) services(w http.ResponseWriter, _ *http.Request, _ Call) {
	port := object{"type": "object", "properties": object{"port": object{"type": "integer", "default": 5432, "minimum": 1024, "maximum": 65535}}}
	answer(w, http.StatusOK, object{"data": []object{
		{
			"id": "small", "description": "A small database", "categories": []string{"database"}, "kind": "deployable", "pricing": object{"type": "free"},
			"allowed_updates": []string{"large"}, "constraints": object{"count": object{"at_most": 1}}, "configuration_schema": port,
		},
		{
			"id": "large", "description": "A large database", "categories": []string{"database"}, "kind": "deployable", "pricing": object{"type": "free"},
			"allowed_updates": []string{"small"}, "constraints": object{"mutual_exclusion": object{"allowed_updates": true}}, "configuration_schema": port,
		},
	}})
}

func (s *Sample) account(w http.ResponseWriter, _ *http.Request, c Call) {
	if text(c.Body["email"]) == "" {
		answer(w, http.StatusOK, object{"type": "error", "error": object{"code": app.CodeInvalidRequest, "message": "email missing"}})
		return
	}
	access := random("tok_")
	s.tokens[access] = true
	answer(w, http.StatusOK, object{"type": "credentials", "credentials": object{"type": "bearer", "bearer": object{
		"access_token": access, "refresh_token": random("ref_"), "expires_in": 30 * 24 * 3600, "account": object{"id": "acc_" + text(c.Body["email"])},
	}}})
}

func refuse(w http.ResponseWriter, code, message string) {
	answer(w, http.StatusOK, object{"status": "error", "error": object{"code": code, "message": message}})
}

func (s *Sample) create(w http.ResponseWriter, _ *http.Request, c Call) {
	id := s.byKey[c.Key]
	service := text(c.Body["service_id"])
	switch {
	case id != "":
	case text(c.Body["orchestrator_resource_id"]) == "":
		refuse(w, app.CodeInvalidRequest, "orchestrator_resource_id missing")
		return
	case service != "small" && service != "large":
		refuse(w, app.CodeUnknownService, "no such service")
		return
	default:
		configuration, _ := c.Body["configuration"].(object)
		port, _ := configuration["port"].(float64)
		id = random("db_")
		s.byKey[c.Key] = id
		s.databases[id] = &sampleDatabase{service, random(""), port}
	}
	answer(w, http.StatusOK, s.envelope(id))
}

func (s *Sample) envelope(id string) object {
	d := s.databases[id]
	return object{"status": "complete", "id": id, "complete": object{"access_configuration": object{
		"host": "db.sample.example", "port": d.port, "password": d.password, "tls": true, "options": object{"pool": 5}, "region": nil,
	}}}
}

// with finds a database; what was removed is 404.
func (s *Sample) with(w http.ResponseWriter, r *http.Request, f func(id string, d *sampleDatabase)) {
	id := r.PathValue("id")
	if d := s.databases[id]; d != nil {
		f(id, d)
		return
	}
	answer(w, http.StatusNotFound, object{"detail": "Not found"})
}

func (s *Sample) get(w http.ResponseWriter, r *http.Request, _ Call) {
	s.with(w, r, func(id string, _ *sampleDatabase) { answer(w, http.StatusOK, s.envelope(id)) })
}

// update mints a new password, which nobody asked for.
func (s *Sample) update(w http.ResponseWriter, r *http.Request, c Call) {
	s.with(w, r, func(id string, d *sampleDatabase) {
		service := text(c.Body["service_id"])
		if service != "small" && service != "large" {
			refuse(w, app.CodeDestructiveUpdate, "that would lose data")
			return
		}
		d.service, d.password = service, random("")
		answer(w, http.StatusOK, s.envelope(id))
	})
}

func (s *Sample) rotate(w http.ResponseWriter, r *http.Request, _ Call) {
	s.with(w, r, func(id string, d *sampleDatabase) {
		d.password = random("")
		answer(w, http.StatusOK, s.envelope(id))
	})
}

func (s *Sample) remove(w http.ResponseWriter, r *http.Request, _ Call) {
	s.with(w, r, func(id string, _ *sampleDatabase) {
		delete(s.databases, id)
		answer(w, http.StatusOK, object{"status": "removed", "id": id})
	})
}

// Password is the password of a database now; empty when there is none.
func (s *Sample) Password(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.databases[id] == nil {
		return ""
	}
	return s.databases[id].password
}
