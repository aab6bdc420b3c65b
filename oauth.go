package purser

import "time"

// AuthorizationRef names a client's request.
type AuthorizationRef struct {
	Authorization string `json:"authorization"`
}

// Authorization is what a client asks for, before a person decides.
type Authorization struct {
	ID         string    `json:"id"`
	Client     string    `json:"client"`      // identifier; an https address is a client's own document
	ClientName string    `json:"client_name"` // the client's own words: untrusted
	Redirect   string    `json:"redirect"`    // where the answer goes
	Local      bool      `json:"local"`       // to a program on the person's own machine: nobody can say which
	Resource   string    `json:"resource"`    // what the token is for
	Scope      string    `json:"scope"`       // read, or read and spend
	Source     string    `json:"source"`      // network address that the request came from
	State      string    `json:"state"`       // waiting, decided, expired
	AskedAt    time.Time `json:"asked_at"`
	ExpiresAt  time.Time `json:"expires_at"`
}

// GrantClient connects a client: the run that it works in is made by the same act.
// Client, Redirect, Resource and Scope repeat what the request says, so that they
// are signed; a request that says otherwise is plan_changed.
type GrantClient struct {
	Authorization string     `json:"authorization"`
	Client        string     `json:"client"`
	Redirect      string     `json:"redirect"`
	Resource      string     `json:"resource"`
	Scope         string     `json:"scope"` // as asked, or less of it
	Project       string     `json:"project"`
	Agent         string     `json:"agent,omitempty"` // name; made when new; default "agent"
	Budget        Money      `json:"budget"`
	Expires       string     `json:"expires,omitempty"`   // Go duration; default 2h, at most 720h
	Threshold     *Money     `json:"threshold,omitempty"` // a step above it needs a person; default 10.00
	Providers     []string   `json:"providers,omitempty"` // empty: every registered one
	Purpose       string     `json:"purpose,omitempty"`
	Reveal        []string   `json:"reveal,omitempty"` // credential classes the agent may have: runtime, operator
	Act           *Signature `json:"act,omitempty"`
}

// Granted tells what a client was given, and where the browser brings the answer.
type Granted struct {
	Grant    Grant  `json:"grant"`
	Run      Run    `json:"run"`
	Redirect string `json:"redirect,omitempty"` // holds a code that works once, within two minutes; only in the answer that makes it
}

// Declined tells where the browser brings the no.
type Declined struct {
	Redirect string `json:"redirect"`
}

// Grant is what a person gave to a client.
type Grant struct {
	ID         string     `json:"id"`
	Client     string     `json:"client"`
	ClientName string     `json:"client_name"` // the client's own words: untrusted
	Agent      string     `json:"agent"`
	Run        string     `json:"run"`
	Person     string     `json:"person"`
	Resource   string     `json:"resource"`
	Scope      string     `json:"scope"`
	State      string     `json:"state"` // active, revoked, or as its run: ended, expired, stopped
	CreatedAt  time.Time  `json:"created_at"`
	UsedAt     *time.Time `json:"used_at,omitempty"` // when it last got a token
	ExpiresAt  time.Time  `json:"expires_at"`
	RevokedAt  *time.Time `json:"revoked_at,omitempty"`
}

// GrantRef names a grant.
type GrantRef struct {
	Grant string `json:"grant"`
}

// DeviceRef names a device by the code that it shows.
type DeviceRef struct {
	Code string `json:"code"`
}

// Device is a device that asks to sign in as a person.
type Device struct {
	Code      string    `json:"code"`
	Name      string    `json:"name"`   // its own words: untrusted
	Source    string    `json:"source"` // network address that it asks from
	State     string    `json:"state"`  // waiting, confirmed, denied, used
	AskedAt   time.Time `json:"asked_at"`
	ExpiresAt time.Time `json:"expires_at"`
}

// DeviceLogin is what a device shows to a person, and keeps (RFC 8628).
type DeviceLogin struct {
	DeviceCode   string `json:"device_code"` // a secret of the device
	UserCode     string `json:"user_code"`
	Page         string `json:"verification_uri"`
	CompletePage string `json:"verification_uri_complete"`
	ExpiresIn    int64  `json:"expires_in"` // seconds
	Interval     int64  `json:"interval"`   // seconds between two questions, at least
}
