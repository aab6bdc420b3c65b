// Package till takes money for the local cloud: it charges payment tokens at the
// orchestrator's rail and keeps the seller's receipts. It owns no money itself.
package till

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/purser-dev/purser/internal/cloud/fault"
)

// Charge is one amount to take for one purpose of one resource.
type Charge struct {
	Resource string // our resource id
	Purpose  string // why, e.g. "register superseal.club"; with Resource it names the charge
	Token    string // payment token, opaque ("sbx_..."); only its hash is kept
	Amount   int64  // minor units of Currency, above zero
	Currency string // ISO 4217
	Item     string // the line on the receipt
}

// Receipt is the proof of a charge that succeeded.
type Receipt struct {
	ID       string `json:"id"` // the rail's charge id
	Resource string `json:"resource_id"`
	Purpose  string `json:"purpose"`
	Item     string `json:"item"`
	Amount   int64  `json:"amount_minor"`
	Currency string `json:"currency"`
	AtMicros int64  `json:"at_micros"`
}

// Refusal says that the rail took nothing, for certain.
type Refusal struct {
	Code   string // the rail's code, e.g. "declined", "token_expired", "stopped"
	Detail string
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("the rail refused the charge: %s: %s", r.Code, r.Detail)
}

// ErrUnknown says that the rail may or may not have taken the money. The same
// charge may be tried again: it then carries the same idempotency key.
var ErrUnknown = errors.New("outcome of the charge unknown")

// Database is the cloud's database (state.Store).
type Database interface {
	Migrate(ctx context.Context, area string, steps []string) error
	Write(ctx context.Context, change func(*sql.Tx) error) error
	Reader() *sql.DB
}

// Config joins a Till to its surroundings.
type Config struct {
	DB     Database
	URL    string // the orchestrator's POST /v1/rail/charges (RULES 7); refunds go to .../refunds beside it
	Key    string // provider key, sent as bearer
	Client *http.Client
	Now    func() time.Time
	Faults *fault.Set
}

// Till charges tokens. It is safe for concurrent use.
type Till struct {
	Config
	turns [64]sync.Mutex // one charge at a time, striped by resource and purpose
}

// schema is the till's own area of the database; steps are only ever appended.
var schema = []string{`CREATE TABLE till_charges (
	resource TEXT NOT NULL,
	purpose TEXT NOT NULL,
	attempt BIGINT NOT NULL,     -- grows only after a certain refusal or a refund
	state TEXT NOT NULL,         -- asking, succeeded, refused, refunded
	token_hash TEXT NOT NULL,
	amount BIGINT NOT NULL,
	currency TEXT NOT NULL,
	item TEXT NOT NULL,
	charge_id TEXT NOT NULL DEFAULT '',
	code TEXT NOT NULL DEFAULT '',
	at BIGINT NOT NULL,
	PRIMARY KEY (resource, purpose)
)`}

// Open prepares the receipts' table and returns a Till.
func Open(ctx context.Context, c Config) (*Till, error) {
	if err := c.DB.Migrate(ctx, "till", schema); err != nil {
		return nil, fmt.Errorf("preparing receipts: %w", err)
	}
	if c.Client == nil {
		// The rail belongs to the orchestrator: a redirect would carry our key elsewhere.
		c.Client = &http.Client{
			Timeout:       25 * time.Second, // below the 30 s that the orchestrator waits for us
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	return &Till{Config: c}, nil
}

// Charge takes the money once. Called again for the same resource and purpose it
// answers the receipt of the first time, after a crash too: the intent is stored
// before the rail is asked, and the key sent is the same until the rail has
// refused for certain. Errors: *Refusal, ErrUnknown.
func (t *Till) Charge(ctx context.Context, c Charge) (Receipt, error) {
	if c.Amount <= 0 {
		return Receipt{}, &Refusal{Code: "invalid_request", Detail: "a charge needs an amount"}
	}
	turn := t.turn(c)
	turn.Lock()
	defer turn.Unlock()
	if c.Token == "" {
		return t.known(ctx, c)
	}
	attempt, done, err := t.intend(ctx, c)
	if err != nil || done != nil {
		return deref(done), err
	}
	id, err := t.ask(ctx, c, key(c, attempt))
	var refusal *Refusal
	switch {
	case errors.As(err, &refusal):
		return Receipt{}, errors.Join(err, t.settle(ctx, c, "refused", "", refusal.Code))
	case err != nil:
		return Receipt{}, err
	}
	if err := t.settle(ctx, c, "succeeded", id, ""); err != nil {
		// The money is taken. The next call asks under the same key and learns it.
		return Receipt{}, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return t.Receipt(ctx, c.Resource, c.Purpose)
}

// Refund gives a charge back, whole and once; what was not charged, or was given
// back before, is no error. After it the same purpose may be charged anew.
func (t *Till) Refund(ctx context.Context, resource, purpose string) error {
	c := Charge{Resource: resource, Purpose: purpose}
	turn := t.turn(c)
	turn.Lock()
	defer turn.Unlock()
	r, err := t.Receipt(ctx, resource, purpose)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	url, ok := strings.CutSuffix(t.URL, "/charges")
	if !ok {
		return fmt.Errorf("refunding: %s has no refunds beside it", t.URL)
	}
	// A charge is refunded once, so its id is key enough.
	key := "rfk_" + r.ID
	status, text, err := t.send(ctx, url+"/refunds", key, map[string]any{"charge": r.ID, "amount_minor": r.Amount, "idempotency_key": key})
	if err != nil {
		return fmt.Errorf("refunding: %w", err)
	}
	if status != http.StatusOK {
		return fmt.Errorf("refunding: the rail answers HTTP %d %.200q", status, text)
	}
	return t.settle(ctx, c, "refunded", r.ID, "")
}

// known answers a call without a token, which can learn but not pay.
func (t *Till) known(ctx context.Context, c Charge) (Receipt, error) {
	var state string
	err := t.DB.Reader().QueryRowContext(ctx, `SELECT state FROM till_charges WHERE resource = $1 AND purpose = $2`, c.Resource, c.Purpose).Scan(&state)
	switch {
	case state == "succeeded":
		return t.Receipt(ctx, c.Resource, c.Purpose)
	case state == "asking":
		return Receipt{}, ErrUnknown
	case err == nil || errors.Is(err, sql.ErrNoRows):
		return Receipt{}, &Refusal{Code: "token_missing", Detail: "nothing was paid and no token came"}
	}
	return Receipt{}, fmt.Errorf("reading the charge: %w", err)
}

// Receipt returns the receipt of a charge that succeeded, or sql.ErrNoRows.
func (t *Till) Receipt(ctx context.Context, resource, purpose string) (Receipt, error) {
	r := Receipt{Resource: resource, Purpose: purpose}
	err := t.DB.Reader().QueryRowContext(ctx, `SELECT charge_id, item, amount, currency, at FROM till_charges
		WHERE resource = $1 AND purpose = $2 AND state = 'succeeded'`, resource, purpose).
		Scan(&r.ID, &r.Item, &r.Amount, &r.Currency, &r.AtMicros)
	if err != nil {
		return Receipt{}, fmt.Errorf("reading receipt: %w", err)
	}
	return r, nil
}

// Receipts lists all receipts, oldest first.
func (t *Till) Receipts(ctx context.Context) ([]Receipt, error) {
	rows, err := t.DB.Reader().QueryContext(ctx, `SELECT resource, purpose, charge_id, item, amount, currency, at
		FROM till_charges WHERE state = 'succeeded' ORDER BY at, resource, purpose`)
	if err != nil {
		return nil, fmt.Errorf("reading receipts: %w", err)
	}
	defer rows.Close()
	var all []Receipt
	for rows.Next() {
		var r Receipt
		if err := rows.Scan(&r.Resource, &r.Purpose, &r.ID, &r.Item, &r.Amount, &r.Currency, &r.AtMicros); err != nil {
			return nil, fmt.Errorf("reading receipts: %w", err)
		}
		all = append(all, r)
	}
	return all, rows.Err()
}

const intent = `INSERT INTO till_charges
	(resource, purpose, attempt, state, token_hash, amount, currency, item, at) VALUES ($1, $2, 1, 'asking', $3, $4, $5, $6, $7)
	ON CONFLICT (resource, purpose) DO UPDATE SET
		attempt = attempt + CASE WHEN state IN ('refused', 'refunded') THEN 1 ELSE 0 END,
		amount = CASE WHEN state IN ('refused', 'refunded') THEN excluded.amount ELSE amount END,
		currency = CASE WHEN state IN ('refused', 'refunded') THEN excluded.currency ELSE currency END,
		token_hash = CASE WHEN state IN ('refused', 'refunded') THEN excluded.token_hash ELSE token_hash END,
		state = CASE WHEN state IN ('refused', 'refunded') THEN 'asking' ELSE state END
	RETURNING attempt, state`

// intend writes down that the rail will be asked, and under which attempt. It
// returns the receipt when that has been done before.
func (t *Till) intend(ctx context.Context, c Charge) (attempt int64, done *Receipt, err error) {
	hash := sha256.Sum256([]byte(c.Token))
	var state string
	err = t.DB.Write(ctx, func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, intent, c.Resource, c.Purpose, hex.EncodeToString(hash[:]), c.Amount, c.Currency, c.Item,
			t.Now().UnixMicro()).Scan(&attempt, &state)
	})
	if err != nil {
		return 0, nil, fmt.Errorf("writing the intent to charge: %w", err)
	}
	if state != "succeeded" {
		return attempt, nil, nil
	}
	r, err := t.Receipt(ctx, c.Resource, c.Purpose)
	return attempt, &r, err
}

func (t *Till) settle(ctx context.Context, c Charge, state, id, code string) error {
	ctx = context.WithoutCancel(ctx) // the caller may leave at any moment; what the rail said must be kept
	err := t.DB.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE till_charges SET state = $1, charge_id = $2, code = $3, at = $4
			WHERE resource = $5 AND purpose = $6`, state, id, code, t.Now().UnixMicro(), c.Resource, c.Purpose)
		return err
	})
	if err != nil {
		return fmt.Errorf("keeping the rail's answer: %w", err)
	}
	return nil
}

// ask charges, with the faults of a seller who charges too often.
func (t *Till) ask(ctx context.Context, c Charge, key string) (string, error) {
	id, err := t.post(ctx, c, key)
	if t.Faults.Hit(fault.ChargeTwice) {
		_, _ = t.post(ctx, c, key)
	}
	if t.Faults.Hit(fault.ChargeTwoKeys) {
		_, _ = t.post(ctx, c, key+"/again")
	}
	return id, err
}

// wire is the body of POST /v1/rail/charges (APP section 19).
type wire struct {
	Token    string     `json:"token"`
	Amount   int64      `json:"amount_minor"`
	Currency string     `json:"currency"`
	Key      string     `json:"idempotency_key"`
	Resource string     `json:"resource_id,omitempty"`
	Items    []lineItem `json:"line_items"`
}

type lineItem struct {
	Description string `json:"description"`
	Amount      int64  `json:"amount_minor"`
	Currency    string `json:"currency"`
}

// answer is the rail's result, or its RFC 9457 problem.
type answer struct {
	ID     string          `json:"id"`
	Status json.RawMessage `json:"status"` // a string in a result, a number in a problem
	Code   string          `json:"code"`
	Detail string          `json:"detail"`
}

func (t *Till) post(ctx context.Context, c Charge, key string) (id string, err error) {
	status, text, err := t.send(ctx, t.URL, key, wire{
		Token: c.Token, Amount: c.Amount, Currency: c.Currency, Key: key, Resource: c.Resource,
		Items: []lineItem{{Description: c.Item, Amount: c.Amount, Currency: c.Currency}},
	})
	if err != nil {
		return "", err
	}
	return judge(status, text)
}

// send asks the rail. An error means that what it did is not known.
func (t *Till) send(ctx context.Context, url, key string, body any) (status int, text []byte, err error) {
	encoded, err := json.Marshal(body)
	if err != nil {
		return 0, nil, fmt.Errorf("writing to the rail: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(encoded))
	if err != nil {
		return 0, nil, fmt.Errorf("writing to the rail: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+t.Key)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", key)
	res, err := t.Client.Do(req)
	if err != nil {
		return 0, nil, fmt.Errorf("%w: asking the rail: %w", ErrUnknown, err)
	}
	defer res.Body.Close()
	if text, err = io.ReadAll(io.LimitReader(res.Body, 1<<20)); err != nil {
		return 0, nil, fmt.Errorf("%w: reading the rail's answer: %w", ErrUnknown, err)
	}
	return res.StatusCode, text, nil
}

// judge turns the rail's answer into a charge id, a certain refusal, or ErrUnknown.
func judge(status int, text []byte) (string, error) {
	var a answer
	if err := json.Unmarshal(text, &a); err != nil {
		return "", fmt.Errorf("%w: HTTP %d without a readable body", ErrUnknown, status)
	}
	var word string
	_ = json.Unmarshal(a.Status, &word) // a number: then it is a problem, judged by its code
	switch {
	case status == http.StatusOK && word == "succeeded" && a.ID != "":
		return a.ID, nil
	case status == http.StatusOK && (word == "declined" || word == "requires_action"):
		return "", &Refusal{Code: word, Detail: a.Detail}
	case a.Code == "key_reused" || a.Code == "outcome_unknown":
		// Another charge holds this key, or the rail itself does not know: money may
		// have moved under it.
		return "", fmt.Errorf("%w: the rail answers %s", ErrUnknown, a.Code)
	case status >= 400 && status < 500 && status != http.StatusRequestTimeout && a.Code != "":
		return "", &Refusal{Code: a.Code, Detail: a.Detail}
	}
	return "", fmt.Errorf("%w: HTTP %d %s", ErrUnknown, status, a.Code)
}

// key is what the rail tells charges apart by. It derives from what is charged,
// never from the token, so that a retry with a fresh token cannot charge again.
func key(c Charge, attempt int64) string {
	sum := sha256.Sum256([]byte(c.Resource + "\x00" + c.Purpose + "\x00" + strconv.FormatInt(attempt, 10)))
	return "chk_" + hex.EncodeToString(sum[:16])
}

// turn returns the mutex under which a charge is taken.
func (t *Till) turn(c Charge) *sync.Mutex {
	h := fnv.New32a()
	_, _ = io.WriteString(h, c.Resource+"\x00"+c.Purpose)
	return &t.turns[h.Sum32()%uint32(len(t.turns))]
}

func deref(r *Receipt) Receipt {
	if r == nil {
		return Receipt{}
	}
	return *r
}
