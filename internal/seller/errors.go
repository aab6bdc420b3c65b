package seller

import (
	"errors"
	"net/http"
	"strings"
	"unicode"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
)

// The most that is quoted of a provider, in characters.
const (
	maxSaid = 500
	maxCode = 64
)

// changing turns the failure of a call that changes something into an error of
// ours. what is the infinitive of what was asked for.
func changing(p Provider, what string, err error) error {
	var e *app.Error
	if !errors.As(err, &e) || e.Unknown {
		return unknown(p, what, err)
	}
	return refused(p, what, e)
}

// reading is changing for a call that only reads: asking again does no harm.
func reading(p Provider, what string, err error) error {
	var e *app.Error
	if !errors.As(err, &e) || e.Unknown {
		out := purser.Errorf(purser.ProviderDown, "%s was asked to %s and gave no answer that can be read", p.Name, what).WithCause(err)
		if e != nil {
			out.RetryAfter, out.Provider = e.RetryAfter, said(e)
		}
		return out
	}
	return refused(p, what, e)
}

func unknown(p Provider, what string, err error) error {
	out := purser.Errorf(purser.OutcomeUnknown, "%s was asked to %s, and whether it did is not known", p.Name, what).WithCause(err)
	var e *app.Error
	if errors.As(err, &e) {
		out.RetryAfter, out.Provider = e.RetryAfter, said(e)
	}
	return out
}

// wrong is for an answer that came and cannot be what was asked for.
func wrong(p Provider, why string) error {
	return purser.Errorf(purser.ProviderFailure, "%s gave a wrong answer: %s", p.Name, why)
}

// refused is a failure after which it is certain that nothing was done.
func refused(p Provider, what string, e *app.Error) error {
	out := &purser.Error{Provider: said(e), Cause: e}
	switch {
	case e.HTTPStatus == 0:
		out.Code, out.Detail = purser.ProviderDown, p.Name+" cannot be reached; nothing was sent to it"
	case e.Code == app.CodeRateLimited, e.HTTPStatus == http.StatusTooManyRequests, e.HTTPStatus == http.StatusServiceUnavailable:
		out.Code, out.Detail, out.RetryAfter = purser.ProviderDown, p.Name+" takes no more requests for now; it did nothing", e.RetryAfter
	case e.Code == app.CodeQuoteChanged:
		out.Code, out.Detail = purser.QuoteChanged, p.Name+" no longer sells at the price it quoted; it did nothing"
	case e.Code == app.CodeQuoteExpired:
		out.Code, out.Detail = purser.QuoteExpired, "the quote of "+p.Name+" ran out; it did nothing"
	case unavailable(e.Code):
		out.Code, out.Detail = purser.NotAvailable, p.Name+" does not sell exactly this: "+plain(e.Code, maxCode)
		out.Hint = "nothing is bought in its place; plan another name, or another tier with --set"
	case e.Code == app.CodeRequiresPayment, e.Code == app.CodeBillingActivation:
		out.Code, out.Detail = purser.PaymentDeclined, p.Name+" did not get the payment that it wants to "+what
	default:
		out.Code, out.Detail = purser.ProviderFailure, p.Name+" refused to "+what
	}
	return out
}

// begunAs is the resource id that a refusal names, "" without one.
func begunAs(err error) string {
	var e *app.Error
	if !errors.As(err, &e) {
		return ""
	}
	return e.ID
}

// unavailable reports the codes of registrars that say that one name is not to be
// had: taken, reserved, dearer than the tier that was asked for, not sold here.
func unavailable(code string) bool {
	return strings.HasPrefix(code, "domain_") || strings.HasPrefix(code, "extension_")
}

// rotating tells a provider without rotation (P28) from one whose rotation failed.
func rotating(p Provider, err error) error {
	var e *app.Error
	if errors.As(err, &e) && !e.Unknown &&
		(e.HTTPStatus == http.StatusNotFound || e.HTTPStatus == http.StatusMethodNotAllowed || e.Code == app.CodeUnsupportedOperation) {
		out := notOffered(p, "rotate credentials; the old ones work")
		out.Provider.Status, out.Cause = e.HTTPStatus, e
		return out
	}
	return changing(p, "rotate credentials", err)
}

func notOffered(p Provider, what string) *purser.Error {
	out := purser.Errorf(purser.ProviderFailure, "%s does not offer to %s", p.Name, what)
	out.Provider = &purser.ProviderSaid{Code: app.CodeUnsupportedOperation}
	return out
}

// said quotes a provider. The words are untrusted: cut, and without anything that
// a terminal would act on.
func said(e *app.Error) *purser.ProviderSaid {
	if e.HTTPStatus == 0 {
		return nil
	}
	return &purser.ProviderSaid{Code: plain(e.Code, maxCode), Message: plain(e.Message, maxSaid), Status: e.HTTPStatus}
}

// plain keeps what can be printed, on one line, at most n characters.
func plain(s string, n int) string {
	var b strings.Builder
	for _, r := range s {
		if n == 0 {
			b.WriteRune('…')
			break
		}
		switch {
		case unicode.IsSpace(r):
			b.WriteByte(' ')
		case !unicode.IsPrint(r) || r == unicode.ReplacementChar:
			continue
		default:
			b.WriteRune(r)
		}
		n--
	}
	return strings.TrimSpace(b.String())
}
