package issuer

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/gate"
	"github.com/purser-dev/purser/internal/office"
)

// Paths of the door.
const (
	PathBegin  = "/sign-in/issuer"
	PathFinish = "/sign-in/issuer/callback"
)

// tripTime is how long a person may take at the issuer.
const tripTime = 10 * time.Minute

// Office signs in whom the issuer named, if they may.
type Office interface {
	SignInUpstream(ctx context.Context, by purser.Actor, in office.Upstream) (purser.SignedIn, error)
}

// Door joins an Issuer to its surroundings.
type Door struct {
	Issuer *Issuer
	Office Office
	Gate   *gate.Gate
	Origin func() string
	// Fail shows a person at a browser what is wrong.
	Fail func(w http.ResponseWriter, r *http.Request, err error)
}

// Doors gives the handlers by pattern.
func (d *Door) Doors() map[string]http.Handler {
	return map[string]http.Handler{"GET " + PathBegin: d.named("begin_upstream", d.begin), "GET " + PathFinish: d.named("sign_in_upstream", d.finish)}
}

func (d *Door) named(op string, h func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		gate.EntryOf(r.Context()).Name(op)
		if r.Method != http.MethodGet { // the pattern takes HEAD too
			http.Error(w, "", http.StatusMethodNotAllowed)
			return
		}
		if err := h(w, r); err != nil {
			d.Fail(w, r, err)
		}
	})
}

// cookie ties the trip to this browser. __Host- keeps neighbours from setting it; a
// browser takes that over https only.
func (d *Door) cookie(value string, seconds int) *http.Cookie {
	c := &http.Cookie{Name: "purser_trip", Value: value, Path: "/", MaxAge: seconds, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if strings.HasPrefix(d.Origin(), "https:") {
		c.Name, c.Secure = "__Host-"+c.Name, true
	}
	return c
}

func (d *Door) begin(w http.ResponseWriter, r *http.Request) error {
	if _, err := d.Gate.Anonymous(r); err != nil {
		return err
	}
	address, t, err := d.Issuer.begin(r.Context(), d.Gate.Onward(r, r.URL.Query().Get("next")))
	if err != nil {
		return err
	}
	text, err := json.Marshal(t)
	if err != nil {
		return err
	}
	http.SetCookie(w, d.cookie(base64.RawURLEncoding.EncodeToString(text), int(tripTime.Seconds())))
	http.Redirect(w, r, address, http.StatusSeeOther)
	return nil
}

func (d *Door) finish(w http.ResponseWriter, r *http.Request) error {
	by, err := d.Gate.Anonymous(r)
	if err != nil {
		return err
	}
	t, err := d.trip(r)
	http.SetCookie(w, d.cookie("", -1)) // one answer to one question
	if err != nil {
		d.Gate.Count(r, "sign_in_upstream") // by a link that somebody else began
		return err
	}
	q := r.URL.Query()
	for name := range q {
		if len(q[name]) != 1 {
			return purser.Errorf(purser.InvalidRequest, "a parameter of this page is given more than once")
		}
	}
	if code := q.Get("error"); code != "" {
		return purser.Errorf(purser.AccessDenied, "the issuer said no").WithHint("sign in again")
	}
	said, err := d.Issuer.finish(r.Context(), t, q.Get("state"), q.Get("iss"), q.Get("code"))
	if err != nil {
		return err
	}
	if by.Browser = r.UserAgent(); by.Browser == "" {
		by.Browser = "a browser without a name"
	}
	in, err := d.Office.SignInUpstream(r.Context(), by, said)
	if err != nil {
		return err
	}
	d.Gate.SetCookie(w, in.Token, in.ExpiresAt)
	http.Redirect(w, r, t.Next, http.StatusSeeOther)
	return nil
}

// trip reads what this browser kept. Two of one name are none: a neighbour may have
// set the other.
func (d *Door) trip(r *http.Request) (t trip, err error) {
	lost := purser.Errorf(purser.WrongSignature, "this browser did not begin the sign-in, or began it over ten minutes ago").WithHint("sign in again")
	found := r.CookiesNamed(d.cookie("", 0).Name)
	if len(found) != 1 {
		return t, lost
	}
	text, err := base64.RawURLEncoding.DecodeString(found[0].Value)
	if err != nil || json.Unmarshal(text, &t) != nil {
		return t, lost
	}
	t.Next = d.Gate.Onward(r, t.Next)
	return t, nil
}
