package provider

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/purser-dev/purser/app"
)

// Keys of the Store. Everything that comes from outside is hashed, so keys are
// short, ASCII and hold neither an email nor a token.
func keyRequest(orchestrator, id string) string { return "request/" + orchestrator + "/" + hash(id) }
func keyCode(code string) string                { return "code/" + hash(code) }
func keyConsent(state string) string            { return "consent/" + hash(state) }
func keyAccess(token string) string             { return "access/" + hash(token) }
func keyRefresh(token string) string            { return "refresh/" + hash(token) }
func keyDeepLink(token string) string           { return "link/" + hash(token) }
func keyPartner(name string) string             { return "partner/" + name }
func keyFamily(id string) string                { return "family/" + id }
func keyRevoked(orchestrator string) string     { return "revoked/" + orchestrator }
func keyQuote(id string) string                 { return "quote/" + hash(id) }
func keyProject(orchestrator, id string) string { return "project/" + orchestrator + "/" + hash(id) }
func keyEmail(email string) string              { return "email/" + hash(email) }
func keyAccount(id string) string               { return "account/" + hash(id) }
func prefixResources(account string) string     { return keyResource(account, "") }
func keyResource(account, id string) string     { return "res/" + hash(account)[:32] + "/" + id }

// The keys below are of one tenant (call.tenant).
func keyOrchestratorResource(tenant, id string) string { return "orid/" + tenant + "/" + hash(id) }

func keyBare(tenant, project, service string) string {
	return "bare/" + tenant + "/" + hash(project+"\x00"+service)
}

func keyIdempotency(tenant, route, key string) string {
	return "idem/" + tenant + "/" + hash(route+"\x00"+key)
}

// hash is SHA-256 in hex. It runs a dozen times in a create; both buffers stay on the
// stack for what is as short as most of it is.
func hash[T string | []byte](s T) string {
	sum := sha256.Sum256(append(make([]byte, 0, 256), s...))
	var text [2 * sha256.Size]byte
	hex.Encode(text[:], sum[:])
	return string(text[:])
}

// put writes v as JSON.
func put(tx Tx, key string, v any, expires time.Time) error {
	var raw []byte
	var err error
	if own, ok := v.(interface{ encode() ([]byte, error) }); ok {
		raw, err = own.encode()
	} else {
		raw, err = json.Marshal(v)
	}
	if err != nil {
		return fmt.Errorf("writing record: %w", err)
	}
	return write(tx, key, raw, expires)
}

// write puts a value that nobody changes afterwards, so the memory store keeps it
// without a copy.
func write(tx Tx, key string, value []byte, expires time.Time) error {
	if m, ok := tx.(*memoryTx); ok {
		return m.set(key, memoryRecord{value, expires})
	}
	return tx.Put(key, value, expires)
}

// read gets a value that nobody changes, as write keeps it.
func read(tx Tx, key string) ([]byte, error) {
	if m, ok := tx.(*memoryTx); ok {
		return m.kept(key), nil
	}
	return tx.Get(key)
}

// memo remembers what records decode to, by their bytes: a token and its account
// are read on every call and change seldom. It cannot be stale.
type memo[T any] struct {
	mu    sync.Mutex
	known map[string]T
}

// memoSize bounds a memo; a full one begins anew.
const memoSize = 10_000

func (m *memo[T]) get(tx Tx, key string) (v T, found bool, err error) {
	raw, err := read(tx, key)
	if err != nil || raw == nil {
		return v, false, err
	}
	m.mu.Lock()
	v, found = m.known[string(raw)]
	m.mu.Unlock()
	if found {
		return v, true, nil
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		return v, false, fmt.Errorf("reading record %s: %w", key, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil || len(m.known) >= memoSize {
		m.known = map[string]T{}
	}
	m.known[string(raw)] = v
	return v, true, nil
}

// pointed gives what a pointer under key names, "" without one.
func pointed(tx Tx, key string) (string, error) {
	var p pointer
	_, err := get(tx, key, &p)
	return p.ID, err
}

// get reads a record into v and tells whether it was there.
func get(tx Tx, key string, v any) (bool, error) {
	raw, err := read(tx, key)
	if err != nil || raw == nil {
		return false, err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return false, fmt.Errorf("reading record %s: %w", key, err)
	}
	return true, nil
}

type (
	// stamp is a point in time, e.g. the last "revoke all sessions".
	stamp struct {
		At time.Time `json:"at,omitzero"`
	}

	// pointer names a resource or an account.
	pointer struct {
		ID string `json:"id"`
	}

	// requestRecord remembers an account request for 24 h (9.3).
	requestRecord struct {
		Email     string    `json:"email"` // hash
		Challenge string    `json:"challenge"`
		Answer    string    `json:"answer"` // an app.Answer type; "" while the account is being made
		Account   string    `json:"account"`
		Action    string    `json:"action"` // link_action
		Code      string    `json:"code"`   // hash
		Nonce     string    `json:"nonce"`  // derives code or state, together with the signing secret
		State     string    `json:"state"`  // hash
		Family    string    `json:"family"`
		Workspace string    `json:"workspace,omitempty"`
		At        time.Time `json:"at,omitzero"`
	}

	codeRecord struct {
		Orchestrator string    `json:"orchestrator"`
		Account      string    `json:"account"`
		Challenge    string    `json:"challenge"`
		Scopes       []string  `json:"scopes"`
		LinkAction   string    `json:"link_action"`
		Workspace    string    `json:"workspace,omitempty"`
		IssuedAt     time.Time `json:"issued_at,omitzero"`
		ExpiresAt    time.Time `json:"expires_at,omitzero"`
	}

	// consentRecord waits for a person, under the hash of its state (9.6).
	consentRecord struct {
		Orchestrator string    `json:"orchestrator"`
		Payer        string    `json:"payer"`
		Email        string    `json:"email"`
		Scopes       []string  `json:"scopes"`
		Challenge    string    `json:"challenge"`
		Request      string    `json:"request"` // key of the requestRecord, "" without id
		RequestID    string    `json:"request_id,omitempty"`
		Confirms     bool      `json:"confirms,omitempty"`  // the state is the confirmation_secret
		Account      string    `json:"account,omitempty"`   // after approval in mode B, as are the two below
		Workspace    string    `json:"workspace,omitempty"` //
		Decision     string    `json:"decision,omitempty"`  // approved or denied: told to the orchestrator, maybe in vain
		Code         string    `json:"code,omitempty"`      // store key of the last code made for it
		ExpiresAt    time.Time `json:"expires_at,omitzero"`
	}

	tokenRecord struct {
		Orchestrator string    `json:"orchestrator"`
		Account      string    `json:"account"`
		Scopes       []string  `json:"scopes"`
		Workspace    string    `json:"workspace,omitempty"`
		Family       string    `json:"family"`
		Signed       bool      `json:"signed"` // the code exchange carried a signature
		Spent        bool      `json:"spent"`  // a refresh token that was rotated
		IssuedAt     time.Time `json:"issued_at,omitzero"`
		ExpiresAt    time.Time `json:"expires_at,omitzero"`
	}

	// familyRecord names the one live pair that descends from a code.
	familyRecord struct {
		Access  string `json:"access"` // store keys
		Refresh string `json:"refresh"`
	}

	deepLinkRecord struct {
		Account   string    `json:"account"`
		Path      string    `json:"path"`
		ExpiresAt time.Time `json:"expires_at,omitzero"`
	}

	quoteRecord struct {
		Orchestrator  string    `json:"orchestrator"`
		Account       string    `json:"account"` // "" before an account exists
		Service       string    `json:"service"`
		Configuration string    `json:"configuration"` // hash
		Quote         app.Quote `json:"quote"`
	}

	idempotencyRecord struct {
		Body     string    `json:"body"` // hash
		Resource string    `json:"resource"`
		At       time.Time `json:"at,omitzero"`
	}

	projectRecord struct {
		Account string `json:"account"`
	}
)

// Phases of making a resource. A crash leaves the last one written.
const (
	phasePaying = "paying" // payment may or may not have happened
	phasePaid   = "paid"   // paid or free; the thing may or may not exist
	phaseDone   = "done"
)

// resourceRecord is a resource. Only phaseDone has a Status that means anything;
// before that the create is running or was interrupted.
type resourceRecord struct {
	ID                     string         `json:"id"`
	Account                string         `json:"account"`
	Orchestrator           string         `json:"orchestrator"`
	Service                string         `json:"service"`
	Configuration          map[string]any `json:"configuration"`
	Environment            string         `json:"environment"`
	ProjectID              string         `json:"project_id,omitempty"`
	OrchestratorResourceID string         `json:"orchestrator_resource_id,omitempty"`
	LabelPrefix            string         `json:"label_prefix,omitempty"`
	Workspace              string         `json:"workspace,omitempty"`
	Linked                 bool           `json:"linked,omitempty"` // taken over by link, not made
	Phase                  string         `json:"phase"`
	Status                 string         `json:"status"`
	Problem                *app.Problem   `json:"problem,omitempty"`
	Access                 []byte         `json:"access,omitempty"` // sealed when a key is set
	ExpiresAt              time.Time      `json:"expires_at,omitzero"`
	PreviousValidUntil     time.Time      `json:"previous_valid_until,omitzero"`
	UserMessage            string         `json:"user_message,omitempty"`
	Quote                  *app.Quote     `json:"quote,omitempty"`
	Charged                bool           `json:"charged,omitempty"` // ActivatePayment succeeded for this create
	Attempt                int            `json:"attempt,omitempty"` // of payment; part of its key
	Updates                int            `json:"updates,omitempty"` // finished updates; part of their payment keys
	RetryAfter             time.Duration  `json:"retry_after,omitzero"`
	CreatedAt              time.Time      `json:"created_at,omitzero"`
	RemovedAt              time.Time      `json:"removed_at,omitzero"`
}

func (r *resourceRecord) fail(e *Error) {
	r.Phase, r.Status, r.Problem = phaseDone, app.StatusError, &app.Problem{Code: e.Code, Message: e.Message}
}
