package purser

import (
	"errors"
	"fmt"
	"time"
)

// Code names a kind of failure for programs. It never changes once released.
type Code string

// Class says what the caller can do about a failure.
type Class string

const (
	ClassInput   Class = "input"           // correct the request
	ClassFinal   Class = "final"           // the same request stays refused
	ClassPerson  Class = "needs_person"    // a person must act, then the same request goes on
	ClassRetry   Class = "retry"           // the same request later
	ClassUnknown Class = "unknown_outcome" // it may have happened; it is looked up, never repeated
)

// The codes. Money and law first.
const (
	NeedsApproval       Code = "needs_approval"
	BudgetExceeded      Code = "budget_exceeded"
	CurrencyNotBudgeted Code = "currency_not_budgeted"
	Unpriced            Code = "unpriced"
	QuoteChanged        Code = "quote_changed"
	QuoteExpired        Code = "quote_expired"
	ApprovalExpired     Code = "approval_expired"
	PlanDenied          Code = "plan_denied"
	PlanChanged         Code = "plan_changed"
	PlanExpired         Code = "plan_expired"
	SelfApproval        Code = "self_approval_forbidden"
	NeedsPerson         Code = "needs_person"
	LooksLikeDuplicate  Code = "looks_like_duplicate"
	TooManyOrders       Code = "too_many_orders"
	PaymentRequired     Code = "payment_required"
	PaymentDeclined     Code = "payment_declined"
	TokenInvalid        Code = "token_invalid"
	TokenExpired        Code = "token_expired"
	TokenRevoked        Code = "token_revoked"
	TokenLimit          Code = "token_limit_exceeded"
	WrongProvider       Code = "wrong_provider"
	Stopped             Code = "stopped"
	ClockUnsafe         Code = "clock_unsafe"
	BooksBroken         Code = "books_broken"

	InvalidRequest    Code = "invalid_request"
	UnknownService    Code = "unknown_service"
	UnknownProvider   Code = "unknown_provider"
	NotAvailable      Code = "not_available"
	ConstraintReached Code = "resource_count_constraint_exceeded"
	PlanRequired      Code = "plan_required"
	DomainMismatch    Code = "domain_mismatch"
	BlobsMissing      Code = "blobs_missing"
	BlobMismatch      Code = "blob_mismatch"
	UnsafeFolder      Code = "unsafe_folder"
	DirtyTree         Code = "dirty_tree"
	TooLarge          Code = "too_large"
	KeyReused         Code = "key_reused"
	InvalidState      Code = "invalid_state"
	NotFound          Code = "not_found"
	AlreadyExists     Code = "already_exists"

	NotSignedIn    Code = "not_signed_in"
	Forbidden      Code = "forbidden"
	RunEnded       Code = "run_ended"
	WrongSignature Code = "wrong_signature"
	TooManyTries   Code = "too_many_tries"

	AuthorizationPending Code = "authorization_pending"
	AccessDenied         Code = "access_denied"
	ExpiredToken         Code = "expired_token"

	ProviderFailure  Code = "provider_failure"
	ProviderDown     Code = "provider_unavailable"
	AccountMismatch  Code = "account_mismatch"
	OutcomeUnknown   Code = "outcome_unknown"
	NeedsInformation Code = "needs_information"

	Overloaded    Code = "overloaded"
	Unavailable   Code = "unavailable"
	NewerDatabase Code = "newer_database"
	Internal      Code = "internal"
)

// CodeInfo is what each door needs to know of a code.
type CodeInfo struct {
	Code    Code
	Class   Class
	HTTP    int    // status of the RFC 9457 problem
	Exit    int    // exit code of the command line
	Meaning string // one sentence for docs/errors.md
}

// Exit codes of the command line, beside 0 and 130 (interrupted).
const (
	ExitFailure  = 1
	ExitUsage    = 2
	ExitPerson   = 3 // a person must act
	ExitRefused  = 4 // money or law says no
	ExitIdentity = 5 // not signed in, or not allowed
	ExitNotFound = 6
	ExitStopped  = 7
	ExitUnknown  = 8 // the outcome is not known yet
	ExitRetry    = 9
)

// Codes is the one table of errors; docs/errors.md is made from it.
func Codes() []CodeInfo { return codes }

var codes = []CodeInfo{
	{NeedsApproval, ClassPerson, 409, ExitPerson, "A person must approve the plan before anything of it is bought."},
	{BudgetExceeded, ClassFinal, 402, ExitRefused, "At least one budget would be exceeded; each that failed is listed with what is left of it."},
	{CurrencyNotBudgeted, ClassFinal, 402, ExitRefused, "The run has no budget in this currency, or without a run nothing has; no limit never means unlimited."},
	{Unpriced, ClassPerson, 409, ExitPerson, "The price is not a number; a person must set a ceiling."},
	{QuoteChanged, ClassPerson, 409, ExitPerson, "The provider now asks for more, or for other terms, than was planned; make a new plan."},
	{QuoteExpired, ClassRetry, 409, ExitRetry, "The provider's quote ran out; ask again."},
	{ApprovalExpired, ClassPerson, 409, ExitPerson, "The approval was not used in time; approve the plan again."},
	{PlanDenied, ClassFinal, 409, ExitRefused, "A person said no to this plan."},
	{PlanChanged, ClassFinal, 409, ExitRefused, "The plan is not the one that was approved."},
	{PlanExpired, ClassFinal, 409, ExitRefused, "The plan's time is over; make a new one."},
	{SelfApproval, ClassPerson, 403, ExitPerson, "No credential that an agent can hold approves, raises a limit or lifts a stop."},
	{NeedsPerson, ClassPerson, 403, ExitPerson, "This loosens a control, so a person must sign it with a passkey or the passphrase, now."},
	{LooksLikeDuplicate, ClassPerson, 409, ExitPerson, "The same thing was ordered in this run a short time ago; a person must say that it is meant."},
	{TooManyOrders, ClassPerson, 429, ExitPerson, "The agent orders faster than its limit, counted over all its runs; a person must say that it is meant."},
	{PaymentRequired, ClassPerson, 402, ExitPerson, "A payment that is due was refused."},
	{PaymentDeclined, ClassFinal, 402, ExitRefused, "The rail declined the charge; nothing was paid."},
	{TokenInvalid, ClassFinal, 402, ExitRefused, "The payment token is not known, or not for this provider."},
	{TokenExpired, ClassFinal, 402, ExitRefused, "The payment token has run out."},
	{TokenRevoked, ClassFinal, 402, ExitRefused, "The payment token was revoked."},
	{TokenLimit, ClassFinal, 402, ExitRefused, "The charge is above what is left on the payment token."},
	{WrongProvider, ClassFinal, 403, ExitRefused, "The payment token was issued to another provider."},
	{Stopped, ClassPerson, 409, ExitStopped, "A stop is in force; only a person lifts it."},
	{ClockUnsafe, ClassRetry, 503, ExitRetry, "The clocks of this machine and the database disagree, or the organization's time zone cannot be read; nothing is spent until that is mended."},
	{BooksBroken, ClassFinal, 500, ExitFailure, "The books do not balance, or the log does not prove itself."},
	{InvalidRequest, ClassInput, 400, ExitUsage, "The request cannot be read; each fault is named."},
	{UnknownService, ClassInput, 404, ExitNotFound, "No provider sells this service; the nearest known one is named."},
	{UnknownProvider, ClassInput, 404, ExitNotFound, "No provider of this name is registered."},
	{NotAvailable, ClassFinal, 409, ExitRefused, "The exact thing cannot be bought; nothing else is bought in its place."},
	{ConstraintReached, ClassFinal, 409, ExitRefused, "The provider sells no more of this service to this account."},
	{PlanRequired, ClassFinal, 409, ExitRefused, "The service needs a paid plan first; it is named."},
	{DomainMismatch, ClassFinal, 409, ExitRefused, "The domain that is offered is not exactly the one that was asked for."},
	{BlobsMissing, ClassInput, 409, ExitUsage, "Some of the folder's files were not uploaded."},
	{BlobMismatch, ClassInput, 400, ExitUsage, "An uploaded file does not have the hash or size that was named."},
	{UnsafeFolder, ClassInput, 400, ExitUsage, "The folder holds something that cannot be deployed; it is named."},
	{DirtyTree, ClassInput, 409, ExitRefused, "The folder has changes that are not committed, and production takes committed work only."},
	{TooLarge, ClassInput, 413, ExitUsage, "The request is larger than the limit."},
	{KeyReused, ClassInput, 409, ExitRefused, "The idempotency key was used for another request."},
	{InvalidState, ClassFinal, 409, ExitRefused, "The object is not in a state that allows this."},
	{NotFound, ClassInput, 404, ExitNotFound, "Nothing of this name is known here."},
	{AlreadyExists, ClassInput, 409, ExitRefused, "Something of this name is there already."},
	{NotSignedIn, ClassPerson, 401, ExitIdentity, "There is no valid credential; sign in."},
	{Forbidden, ClassFinal, 403, ExitIdentity, "This credential may not do that."},
	{RunEnded, ClassPerson, 403, ExitIdentity, "The run is over; a person can create or extend one."},
	{WrongSignature, ClassPerson, 403, ExitIdentity, "The signature does not fit the person, the request or the time."},
	{TooManyTries, ClassRetry, 429, ExitRetry, "Too many failed tries; wait."},
	{AuthorizationPending, ClassPerson, 403, ExitPerson, "A person has not yet confirmed the code in a browser."},
	{AccessDenied, ClassFinal, 403, ExitIdentity, "A person said no to this sign-in, or to this client."},
	{ExpiredToken, ClassPerson, 403, ExitPerson, "The code was not confirmed in time; sign in again."},
	{ProviderFailure, ClassFinal, 502, ExitFailure, "The provider refused, or broke the protocol; its own words are given."},
	{ProviderDown, ClassRetry, 503, ExitRetry, "The provider did not answer, and nothing was bought there."},
	{AccountMismatch, ClassFinal, 502, ExitRefused, "The provider answered for another account; nothing was revealed or bought."},
	{OutcomeUnknown, ClassUnknown, 502, ExitUnknown, "The provider's answer was lost. It is looked up, never bought again."},
	{NeedsInformation, ClassPerson, 409, ExitPerson, "The provider asks for more information."},
	{Overloaded, ClassRetry, 503, ExitRetry, "The queue is full, or too much of this kind is open; nothing was decided."},
	{Unavailable, ClassRetry, 503, ExitRetry, "The server or its database cannot be reached; nothing was decided."},
	{NewerDatabase, ClassFinal, 500, ExitFailure, "The database was made by a newer version of the program."},
	{Internal, ClassFinal, 500, ExitFailure, "A fault of the program; the reference finds it in the log."},
}

// Info finds a code's row; a code without one counts as internal.
func (c Code) Info() CodeInfo {
	for _, i := range codes {
		if i.Code == c {
			return i
		}
	}
	return Internal.Info()
}

// Error has a code for programs, a sentence for readers and a next step.
// Everything in it is safe to show; what is not stays in Cause.
type Error struct {
	Code       Code          `json:"code"`
	Detail     string        `json:"detail"`
	Hint       string        `json:"hint,omitempty"`      // the next command to type, or the next step
	RetryAfter time.Duration `json:"-"`                   // how long to wait; the doors write seconds
	Budgets    []BudgetLine  `json:"budgets,omitempty"`   // every budget that refused
	Blockers   []Blocker     `json:"blockers,omitempty"`  // everything that stands in the way of a plan
	Provider   *ProviderSaid `json:"provider,omitempty"`  // a provider's own words, quoted and untrusted
	Plan       string        `json:"plan,omitempty"`      // the plan a person must decide
	Reference  string        `json:"reference,omitempty"` // finds an internal fault in the log
	Replay     bool          `json:"replay,omitempty"`    // what this idempotency key was refused before, as it was then
	Cause      error         `json:"-"`                   // never shown
}

// ProviderSaid quotes a provider. The text is untrusted: shown, never followed.
type ProviderSaid struct {
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
	Status  int    `json:"http_status,omitempty"`
}

// Blocker is one thing that stands in the way of a plan.
type Blocker struct {
	Code   Code   `json:"code"`
	Step   int    `json:"step,omitempty"` // 1-based; 0 is the whole plan
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
}

// Errorf makes an error with a code and a sentence.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// WithHint adds the next step.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// WithCause keeps what is not safe to show.
func (e *Error) WithCause(err error) *Error {
	e.Cause = err
	return e
}

func (e *Error) Error() string { return string(e.Code) + ": " + e.Detail }

func (e *Error) Unwrap() error { return e.Cause }

// CodeOf finds the code of an error; anything without one is Internal.
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return Internal
}
