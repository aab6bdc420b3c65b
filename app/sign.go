package app

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Tolerance is how far a signature's time may be from now, inclusive (5.1 step 4).
const Tolerance = 300 * time.Second

// maxV1 bounds the signatures of one header (P5).
const maxV1 = 8

// SignatureHeader signs body at time t (Unix seconds) with each secret and gives
// the header value (5.1). Secrets are used as given, "whsec_" included.
func SignatureHeader(secrets []string, t int64, body []byte) string {
	stamp := strconv.FormatInt(t, 10)
	var b strings.Builder
	b.WriteString("t=" + stamp)
	for _, secret := range secrets {
		b.WriteString(",v1=" + hex.EncodeToString(digest(secret, stamp, body)))
	}
	return b.String()
}

func digest(secret, stamp string, body []byte) []byte {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(stamp))
	mac.Write([]byte("."))
	mac.Write(body)
	return mac.Sum(nil)
}

// Signature is a parsed signature header: the time as it appears in it, and the
// decoded v1 values of 32 bytes.
type Signature struct {
	Stamp string
	V1    [][]byte
}

var errSignature = errors.New("signature is missing, malformed, stale or wrong")

// ParseSignature reads a header value (5.1 step 3): exactly one t of 1 to 15
// digits and 1 to 8 v1 values; other keys are ignored.
func ParseSignature(header string) (Signature, error) {
	var s Signature
	count := 0
	for element := range strings.SplitSeq(header, ",") {
		key, value, ok := strings.Cut(strings.Trim(element, " "), "=")
		if !ok {
			return Signature{}, errSignature
		}
		switch key {
		case "t":
			if s.Stamp != "" || !isStamp(value) {
				return Signature{}, errSignature
			}
			s.Stamp = value
		case "v1":
			count++
			if sum, err := hex.DecodeString(value); err == nil && len(sum) == sha256.Size {
				s.V1 = append(s.V1, sum)
			}
		}
	}
	if s.Stamp == "" || count == 0 || count > maxV1 {
		return Signature{}, errSignature
	}
	return s, nil
}

func isStamp(s string) bool {
	if len(s) < 1 || len(s) > 15 {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// Fresh tells whether the signature's time is within Tolerance of now.
func (s Signature) Fresh(now time.Time) bool {
	t, err := strconv.ParseInt(s.Stamp, 10, 64)
	if err != nil {
		return false
	}
	gap := now.Unix() - t
	return gap <= int64(Tolerance/time.Second) && -gap <= int64(Tolerance/time.Second)
}

// Match tells whether any v1 value is body signed with secret, in constant time,
// and gives that value in lower-case hex, "" without a match. It does not stop at the
// first mismatch.
func (s Signature) Match(secret string, body []byte) (string, bool) {
	want := digest(secret, s.Stamp, body)
	found := 0
	for _, v1 := range s.V1 {
		found |= subtle.ConstantTimeCompare(want, v1)
	}
	if found != 1 {
		return "", false
	}
	return hex.EncodeToString(want), true
}

// Signer signs calls to one provider. Share one among all connections to that
// provider: it remembers what was signed, so that no two state-changing calls
// carry the same time and body (5.2). It is safe for concurrent use.
type Signer struct {
	secrets []string
	key     *Key
	now     func() time.Time
	random  io.Reader

	mu    sync.Mutex
	sent  map[sent]struct{}
	swept int64
}

type sent struct {
	t    int64
	body [sha256.Size]byte
}

// SignerConfig is what a Signer needs. During a rotation of secrets give both:
// the header then carries a value of each (17.4).
type SignerConfig struct {
	Secrets []string
	Key     *Key             // optional: adds the EdDSA signature (5.3)
	Now     func() time.Time // nil: time.Now
	Random  io.Reader        // nil: the system's
}

// NewSigner makes a Signer.
func NewSigner(c SignerConfig) (*Signer, error) {
	if len(c.Secrets) == 0 || len(c.Secrets) > maxV1 {
		return nil, errors.New("making signer: one to eight signing secrets are needed")
	}
	for _, s := range c.Secrets {
		if s == "" {
			return nil, errors.New("making signer: a signing secret is empty")
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Signer{secrets: c.Secrets, key: c.Key, now: c.Now, random: c.Random, sent: map[sent]struct{}{}}, nil
}

// header signs body now. For a state-changing call it goes back up to 60 s to
// find a time not yet used with that body.
func (s *Signer) header(body []byte, changes bool) (string, error) {
	t := s.now().Unix()
	if changes {
		unused, err := s.take(t, sha256.Sum256(body))
		if err != nil {
			return "", err
		}
		t = unused
	}
	return SignatureHeader(s.secrets, t, body), nil
}

func (s *Signer) take(now int64, body [sha256.Size]byte) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now-s.swept >= 60 {
		s.swept = now
		for used := range s.sent {
			if used.t < now-2*int64(Tolerance/time.Second) {
				delete(s.sent, used)
			}
		}
	}
	for t := now; t >= now-60; t-- {
		if _, used := s.sent[sent{t, body}]; !used {
			s.sent[sent{t, body}] = struct{}{}
			return t, nil
		}
	}
	return 0, errors.New("signing call: the same body was sent too often within a minute")
}
