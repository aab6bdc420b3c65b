package api

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"
)

// uploadClaims are in an upload token: who uploads what, until when. Token is the id
// of the API token that opened the session, so that revoking it ends the upload too.
type uploadClaims struct {
	Account string `json:"account"`
	Script  string `json:"script"`
	Session string `json:"session"`
	Token   string `json:"tok"`
	Expires int64  `json:"exp"` // seconds, RFC 7519
}

// Tokens are JWTs (RFC 7519) with this one header, signed with HMAC-SHA-256. No
// other header is accepted, so the algorithm is not the sender's choice.
var tokenHeader = base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`))

func signToken(key []byte, c uploadClaims) (string, error) {
	payload, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	signed := tokenHeader + "." + base64.RawURLEncoding.EncodeToString(payload)
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac(key, signed)), nil
}

// readToken answers false for a token that is not ours or has expired.
func readToken(key []byte, token string, now time.Time) (uploadClaims, bool) {
	var c uploadClaims
	at := strings.LastIndexByte(token, '.')
	if at < 0 || !strings.HasPrefix(token, tokenHeader+".") {
		return c, false
	}
	signature, err := base64.RawURLEncoding.DecodeString(token[at+1:])
	if err != nil || !hmac.Equal(signature, mac(key, token[:at])) {
		return c, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(token[len(tokenHeader)+1 : at])
	if err != nil || json.Unmarshal(payload, &c) != nil {
		return c, false
	}
	return c, now.Unix() < c.Expires
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
