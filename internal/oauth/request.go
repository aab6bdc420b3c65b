package oauth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// The scopes: what a client's token may do of what its run allows. To stop itself
// needs none.
const (
	ScopeRead  = "read"  // see its run, its plans, the catalog and the money
	ScopeSpend = "spend" // plan, buy and change within the run
)

// Scopes are all of them.
var Scopes = []string{ScopeRead, ScopeSpend}

// Request is an authorization request that can be put before a person.
type Request struct {
	Client    string // identifier
	Redirect  string
	State     string
	Challenge string // of PKCE, S256
	Scope     string // of Scopes, separated by spaces
	Resource  string // whose token it will be (RFC 8707)
}

// Once reads each parameter of a request once. OAuth 2.1 refuses repeated ones:
// two readers would take two different ones.
func Once(values url.Values) (func(string) string, error) {
	for name, list := range values {
		if len(list) > 1 {
			if name == "resource" {
				return nil, Errorf(InvalidTarget, "a token is for one resource")
			}
			return nil, Errorf(InvalidRequest, "a parameter is given more than once")
		}
	}
	return values.Get, nil
}

var (
	challengeText = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)
	verifierText  = regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`)
)

// ParseRequest reads the parameters of an authorization request of a client whose
// redirect URI was found right already: its errors may be sent there.
func ParseRequest(get func(string) string, client Client, redirect string, resources []string) (Request, error) {
	r := Request{Client: client.ID, Redirect: redirect, State: get("state"), Challenge: get("code_challenge")}
	switch {
	case get("request") != "" || get("request_uri") != "":
		return r, Errorf(RequestNotSupported, "parameters come in the query only")
	case get("response_type") != "code":
		return r, Errorf(UnsupportedResponse, "response_type is code")
	case get("response_mode") != "" && get("response_mode") != "query":
		return r, Errorf(InvalidRequest, "response_mode is query")
	case len(r.State) > 1024:
		return r, Errorf(InvalidRequest, "state has at most 1024 characters")
	case r.Challenge == "":
		return r, Errorf(InvalidRequest, "PKCE is needed: code_challenge is missing")
	case get("code_challenge_method") != "S256":
		return r, Errorf(InvalidRequest, "code_challenge_method is S256; plain and none are refused")
	case !ValidChallenge(r.Challenge):
		return r, Errorf(InvalidRequest, "code_challenge is not a SHA-256 as base64url")
	}
	var err error
	if r.Resource, err = ParseResource(get("resource"), resources); err != nil {
		return r, err
	}
	r.Scope, err = ParseScope(get("scope"), Scopes)
	return r, err
}

// ValidChallenge reports whether text can be a code challenge of the method S256.
func ValidChallenge(text string) bool {
	_, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return err == nil && challengeText.MatchString(text)
}

// Verifies reports whether a PKCE verifier is the one of a challenge.
func Verifies(verifier, challenge string) bool {
	sum := sha256.Sum256([]byte(verifier))
	return verifierText.MatchString(verifier) &&
		subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(challenge)) == 1
}

// ParseScope takes of what is asked the scopes that may be had; nothing asked is
// all of them. What is not known is left out, and the answer says what was given
// (RFC 6749 3.3); to be left with nothing is an error.
func ParseScope(asked string, may []string) (string, error) {
	if strings.TrimSpace(asked) == "" {
		return strings.Join(may, " "), nil
	}
	var have []string
	for _, s := range may {
		if slices.Contains(strings.Fields(asked), s) {
			have = append(have, s)
		}
	}
	if len(have) == 0 {
		return "", Errorf(InvalidScope, "the scopes here are %s", strings.Join(Scopes, " and "))
	}
	return strings.Join(have, " "), nil
}

// ParseResource finds the resource that is asked for. None asked is the first one,
// which is the whole server.
func ParseResource(asked string, resources []string) (string, error) {
	if asked == "" {
		return resources[0], nil
	}
	// A client may write the server's own address with or without the last slash.
	if slices.Contains(resources, strings.TrimSuffix(asked, "/")) {
		return strings.TrimSuffix(asked, "/"), nil
	}
	return "", Errorf(InvalidTarget, "the resources here are %s", strings.Join(resources, ", "))
}

// Resources are what tokens are made for: the whole server, or one of its doors.
func Resources(origin string) []string { return []string{origin, origin + "/mcp", origin + "/v1"} }

// Covers reports whether a token for resource may be shown at a path of the server.
func Covers(resource, origin, path string) bool {
	if resource == origin {
		return true
	}
	door, ok := strings.CutPrefix(resource, origin)
	return ok && (path == door || strings.HasPrefix(path, door+"/"))
}
