package oauth

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"unicode"
)

// How clients authenticate at the token endpoint. Public clients, and those known
// by a document, do not: PKCE ties a code to who asked for it.
const (
	MethodNone  = "none"
	MethodBasic = "client_secret_basic"
	MethodPost  = "client_secret_post"
)

// Methods are the ways to authenticate, for the server's metadata.
var Methods = []string{MethodNone, MethodBasic, MethodPost}

// The kinds of grants that a client may ask for, and that of devices.
const (
	GrantCode    = "authorization_code"
	GrantRefresh = "refresh_token"
	GrantDevice  = "urn:ietf:params:oauth:grant-type:device_code"
)

const (
	namesLimit     = 100 // characters of a client's name
	redirectsLimit = 10
)

// Metadata is what a client says of itself (RFC 7591 2). Members that are not here
// are ignored, as that allows.
type Metadata struct {
	ClientID   string   `json:"client_id,omitempty"` // of a document: its own address
	ClientName string   `json:"client_name,omitempty"`
	Redirects  []string `json:"redirect_uris,omitempty"`
	Method     string   `json:"token_endpoint_auth_method,omitempty"`
	Grants     []string `json:"grant_types,omitempty"`
	Responses  []string `json:"response_types,omitempty"`
	Scope      string   `json:"scope,omitempty"`
}

// Client is a client that may ask for authorization.
type Client struct {
	ID        string
	Name      string // its own words: shown quoted
	Redirects []string
	Method    string
	Document  bool // ID is the address of its document
}

// Registered answers a registration (RFC 7591 3.2.1).
type Registered struct {
	Metadata
	IssuedAt        int64  `json:"client_id_issued_at"`
	Secret          string `json:"client_secret,omitempty"`
	SecretExpiresAt *int64 `json:"client_secret_expires_at,omitempty"` // 0: never; with a secret only
}

// Check reads what a client that registers says of itself, and completes it.
func (m *Metadata) Check() (Client, error) {
	m.ClientID = ""
	if m.Method == "" {
		m.Method = MethodBasic // RFC 7591 2
	}
	if !slices.Contains(Methods, m.Method) {
		return Client{}, Errorf(InvalidMetadata, "token_endpoint_auth_method is none, client_secret_basic or client_secret_post")
	}
	return m.check()
}

func (m *Metadata) check() (Client, error) {
	switch {
	case len(m.Redirects) == 0 || len(m.Redirects) > redirectsLimit:
		return Client{}, Errorf(InvalidRedirect, "a client has 1 to %d redirect_uris", redirectsLimit)
	case len(m.Grants) > 0 && !slices.Contains(m.Grants, GrantCode):
		return Client{}, Errorf(InvalidMetadata, "a client uses the grant type authorization_code")
	case len(m.Responses) > 0 && !slices.Contains(m.Responses, "code"):
		return Client{}, Errorf(InvalidMetadata, "a client uses the response type code")
	}
	for _, r := range m.Redirects {
		if err := CheckRedirect(r); err != nil {
			return Client{}, err
		}
	}
	m.ClientName = plainName(m.ClientName)
	m.Grants, m.Responses, m.Scope = []string{GrantCode, GrantRefresh}, []string{"code"}, ""
	return Client{Name: m.ClientName, Redirects: m.Redirects, Method: m.Method}, nil
}

// plainName makes a stranger's name safe to show: one line of letters, marks,
// digits and signs, no character that turns the direction of writing.
func plainName(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case r == unicode.ReplacementChar, unicode.Is(unicode.Cf, r), !unicode.IsPrint(r):
			return -1
		}
		return r
	}, s)
	words := []rune(strings.Join(strings.Fields(s), " "))
	return string(words[:min(len(words), namesLimit)])
}

// ParseDocument reads a client ID metadata document, fetched from address. It must
// name itself, and holds no secret: what is fetched by anybody is none.
func ParseDocument(address string, raw []byte) (Client, error) {
	no := func(why string) error { return Errorf(InvalidClient, "the client's document %s", why) }
	var found map[string]json.RawMessage
	if json.Unmarshal(raw, &found) != nil {
		return Client{}, no("is not a JSON object")
	}
	for _, secret := range []string{"client_secret", "client_secret_expires_at"} {
		if _, ok := found[secret]; ok {
			return Client{}, no("holds a secret")
		}
	}
	var m Metadata
	if json.NewDecoder(bytes.NewReader(raw)).Decode(&m) != nil {
		return Client{}, no("has a member of a wrong type")
	}
	switch {
	case m.ClientID != address:
		return Client{}, no("does not name its own address as client_id")
	case m.Method != "" && m.Method != MethodNone:
		return Client{}, no("wants token_endpoint_auth_method " + plainName(m.Method) + ", and none is spoken here")
	}
	m.Method = MethodNone
	c, err := m.check()
	c.ID, c.Document = address, true
	if c.Name == "" {
		c.Name = address
	}
	return c, err
}
