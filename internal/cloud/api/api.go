// Package api speaks the Cloudflare-shaped HTTP API that deploy clients use on the local cloud.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/purser-dev/purser/internal/cloud/assets"
	"github.com/purser-dev/purser/internal/cloud/state"
)

// Codes of failures as deploy clients know them (local-cloud.md section 4.2), and
// our own CodeHostnameTaken and CodeBadRequest.
const (
	CodeUnauthorized    = 10000
	CodeScriptNotFound  = 10007
	CodeScriptRejected  = 10021
	CodeServiceNotFound = 10090
	CodeZoneNotOurs     = 100114
	CodeHostnameTaken   = 100117
	CodeUnknownRoute    = 7003
	CodeRecordConflict  = 81053
	CodeBadRequest      = 10400
	CodeInternal        = 10500
)

// Options are the API's parts.
type Options struct {
	Store  *state.Store
	Blobs  *assets.Store
	Random io.Reader
	Now    func() time.Time
	Log    *slog.Logger
}

// API is the handler of everything under /client/v4/.
type API struct {
	o   Options
	key []byte // signs upload tokens
	mux *http.ServeMux
}

// New makes the handler. The key of upload tokens is kept in the store, so a restart
// does not break an upload.
func New(ctx context.Context, o Options) (*API, error) {
	key, err := o.Store.Setting(ctx, "upload_key", func() ([]byte, error) {
		key := make([]byte, 32)
		_, err := io.ReadFull(o.Random, key)
		return key, err
	})
	if err != nil {
		return nil, err
	}
	a := &API{o: o, key: key, mux: http.NewServeMux()}
	a.routes()
	return a, nil
}

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.mux.ServeHTTP(w, r) }

// failure is an error with the code and status that clients expect.
type failure struct {
	status, code int
	message      string
	cause        error
}

func (f *failure) Error() string { return f.message }

func (f *failure) Unwrap() error { return f.cause }

func fail(status, code int, format string, args ...any) *failure {
	return &failure{status: status, code: code, message: fmt.Sprintf(format, args...)}
}

// call is one request with what its token allows.
type call struct {
	*http.Request
	grant  state.Grant
	script string
}

// answerer answers a call with the result, or fails.
type answerer func(c call) (result any, err error)

// route adds an authorised route. Where the pattern has {account} and {script} they
// must be within the token's scope.
func (a *API) route(pattern string, answer answerer) {
	a.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		result, err := a.authorised(r, answer)
		a.reply(w, r, http.StatusOK, result, err)
	})
}

func (a *API) authorised(r *http.Request, answer answerer) (any, error) {
	secret, ok := bearer(r)
	if !ok {
		return nil, fail(http.StatusUnauthorized, CodeUnauthorized, "Authentication error: a bearer token is needed")
	}
	grant, err := a.o.Store.Authorize(r.Context(), secret)
	if err != nil {
		return nil, err
	}
	c := call{r, grant, r.PathValue("script")}
	account := r.PathValue("account")
	if account != "" && account != grant.Account || c.script != "" && grant.Script != "" && c.script != grant.Script {
		return nil, fail(http.StatusForbidden, CodeUnauthorized, "Authentication error: the token is for another account or script")
	}
	if grant.Zone != "" && (c.script != "" && grant.Script == "" || r.PathValue("zone") != "" && r.PathValue("zone") != grant.Zone) {
		return nil, fail(http.StatusForbidden, CodeUnauthorized, "Authentication error: the token is for another zone")
	}
	return answer(c)
}

func bearer(r *http.Request) (string, bool) {
	scheme, secret, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(secret), strings.EqualFold(scheme, "Bearer") && secret != ""
}

// reply writes the envelope. Causes without a code are logged and not shown.
func (a *API) reply(w http.ResponseWriter, r *http.Request, status int, result any, err error) {
	envelope := map[string]any{"success": err == nil, "errors": []any{}, "messages": []any{}, "result": result}
	if err != nil {
		f := known(err)
		if f.status >= 500 {
			if r.Context().Err() == nil {
				a.o.Log.ErrorContext(r.Context(), "answering the deploy API", "method", r.Method, "path", r.URL.Path, "error", err)
			}
		}
		status = f.status
		envelope["errors"] = []any{map[string]any{"code": f.code, "message": f.message}}
		envelope["result"] = nil
	}
	body, err := json.Marshal(envelope)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"success":false,"errors":[{"code":10500,"message":"internal error"}],"messages":[],"result":null}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(body, '\n'))
}

// known finds code and status of an error.
func known(err error) *failure {
	var f *failure
	var taken *state.TakenError
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &taken):
		return fail(http.StatusConflict, CodeHostnameTaken, "%s; end its use there first", taken.Error())
	case errors.Is(err, state.ErrUnauthorized):
		return fail(http.StatusUnauthorized, CodeUnauthorized, "Authentication error: the token is unknown, expired or revoked")
	case errors.Is(err, state.ErrSuspended):
		return fail(http.StatusForbidden, CodeUnauthorized, "Authentication error: the account is stopped")
	case errors.As(err, &tooLarge):
		return fail(http.StatusRequestEntityTooLarge, CodeBadRequest, "the request is larger than %d bytes", tooLarge.Limit)
	case errors.Is(err, state.ErrInvalid):
		return fail(http.StatusBadRequest, CodeBadRequest, "%s", err.Error())
	case errors.Is(err, state.ErrNotFound):
		return fail(http.StatusNotFound, CodeScriptNotFound, "This Worker does not exist on your account.")
	}
	return fail(http.StatusInternalServerError, CodeInternal, "internal error")
}

// decode reads a JSON body of at most limit bytes.
func decode(r *http.Request, limit int64, into any) error {
	d := json.NewDecoder(http.MaxBytesReader(nil, r.Body, limit))
	if err := d.Decode(into); err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return err
		}
		return fail(http.StatusBadRequest, CodeBadRequest, "the body is not the JSON this route takes")
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
