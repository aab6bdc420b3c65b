// Package railtest is a payment rail for tests of sellers: it remembers every
// charge by its idempotency key, and loses answers on demand.
package railtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
)

// ProviderKey is the bearer that the rail accepts.
const ProviderKey = "pk_test_seller"

// Charge is one charge as the seller asked for it.
type Charge struct {
	ID       string `json:"-"`
	Refunded int64  `json:"-"`
	Token    string `json:"token"`
	Amount   int64  `json:"amount_minor"`
	Currency string `json:"currency"`
	Key      string `json:"idempotency_key"`
	Resource string `json:"resource_id"`
	Items    []struct {
		Description string `json:"description"`
	} `json:"line_items"`
}

// Rail is a running rail. Its fields may be changed between requests.
type Rail struct {
	*httptest.Server
	mu       sync.Mutex
	charges  map[string]Charge
	order    []string
	requests int
	limits   map[string]int64
	refuse   string
	lose     int
	after    func()
}

// New starts a rail on loopback; cleanup is the caller's Close.
func New() *Rail {
	r := &Rail{charges: map[string]Charge{}, limits: map[string]int64{}}
	r.Server = httptest.NewServer(http.HandlerFunc(r.serve))
	return r
}

// ChargesURL is where sellers charge.
func (r *Rail) ChargesURL() string { return r.URL + "/v1/rail/charges" }

// Limit sets the most that can be charged on a token, in minor units. Tokens
// without a limit are unlimited.
func (r *Rail) Limit(token string, amount int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.limits[token] = amount
}

// Refuse makes the rail answer a problem with this code until called with "".
// The word "declined" is answered as a result, as rails do.
func (r *Rail) Refuse(code string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuse = code
}

// LoseAnswers makes the rail charge and then drop the connection, n times.
func (r *Rail) LoseAnswers(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lose = n
}

// AfterCharge runs f once, after the next charge was taken and before it is
// answered.
func (r *Rail) AfterCharge(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.after = f
}

// Charges returns what was charged, in order, each key once.
func (r *Rail) Charges() []Charge {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Charge
	for _, key := range r.order {
		all = append(all, r.charges[key])
	}
	return all
}

// Total returns the sum of all charges less refunds, in minor units.
func (r *Rail) Total() int64 {
	var sum int64
	for _, c := range r.Charges() {
		sum += c.Amount - c.Refunded
	}
	return sum
}

// Requests returns how many charge requests arrived, repeated ones included.
func (r *Rail) Requests() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.requests
}

func (r *Rail) serve(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests++
	if strings.HasSuffix(req.URL.Path, "/v1/rail/refunds") {
		r.refund(w, req)
		return
	}
	if req.Method != http.MethodPost || !strings.HasSuffix(req.URL.Path, "/v1/rail/charges") {
		problem(w, http.StatusNotFound, "not_found")
		return
	}
	if req.Header.Get("Authorization") != "Bearer "+ProviderKey {
		problem(w, http.StatusUnauthorized, "not_signed_in")
		return
	}
	var c Charge
	if err := json.NewDecoder(req.Body).Decode(&c); err != nil || c.Key == "" || c.Amount <= 0 || c.Token == "" {
		problem(w, http.StatusBadRequest, "invalid_request")
		return
	}
	r.charge(w, c)
}

func (r *Rail) charge(w http.ResponseWriter, c Charge) {
	before, known := r.charges[c.Key]
	switch {
	case known && (before.Token != c.Token || before.Amount != c.Amount):
		problem(w, http.StatusConflict, "key_reused")
		return
	case known:
		c = before
	case r.refuse == "declined":
		result(w, "", "declined")
		return
	case r.refuse != "":
		problem(w, http.StatusForbidden, r.refuse)
		return
	case r.over(c):
		problem(w, http.StatusForbidden, "token_limit_exceeded")
		return
	default:
		c.ID = fmt.Sprintf("chg_%d", len(r.order)+1)
		r.charges[c.Key] = c
		r.order = append(r.order, c.Key)
	}
	if f := r.after; f != nil {
		r.after = nil
		f()
	}
	if r.lose > 0 {
		r.lose--
		panic(http.ErrAbortHandler)
	}
	result(w, c.ID, "succeeded")
}

// refund gives back a whole charge, as often as it is asked the same.
func (r *Rail) refund(w http.ResponseWriter, req *http.Request) {
	var in struct {
		Charge string `json:"charge"`
		Amount int64  `json:"amount_minor"`
		Key    string `json:"idempotency_key"`
	}
	if err := json.NewDecoder(req.Body).Decode(&in); err != nil || in.Key == "" {
		problem(w, http.StatusBadRequest, "invalid_request")
		return
	}
	for key, c := range r.charges {
		if c.ID == in.Charge && c.Amount == in.Amount {
			c.Refunded = in.Amount
			r.charges[key] = c
			result(w, c.ID, "refunded")
			return
		}
	}
	problem(w, http.StatusNotFound, "not_found")
}

func (r *Rail) over(c Charge) bool {
	limit, limited := r.limits[c.Token]
	if !limited {
		return false
	}
	for _, done := range r.charges {
		if done.Token == c.Token {
			limit -= done.Amount
		}
	}
	return c.Amount > limit
}

func result(w http.ResponseWriter, id, status string) {
	_ = json.NewEncoder(w).Encode(map[string]string{"id": id, "status": status})
}

func problem(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"status": status, "code": code, "title": code})
}
