package purser

import (
	"encoding/binary"
	"fmt"
	"io"
	"regexp"
	"time"
)

// The prefixes of identifiers tell what they name.
const (
	PrefixOrganization = "org"
	PrefixPerson       = "per"
	PrefixAgent        = "agt"
	PrefixProject      = "prj"
	PrefixRun          = "run"
	PrefixProvider     = "prv"
	PrefixConnection   = "con"
	PrefixPlan         = "pln"
	PrefixApproval     = "apr"
	PrefixOrder        = "ord"
	PrefixHold         = "hld"
	PrefixCharge       = "chg"
	PrefixResource     = "res"
	PrefixSubscription = "sub"
	PrefixStop         = "stp"
	PrefixToken        = "tok"
	PrefixNotice       = "ntc"
	PrefixPasskey      = "psk"
	PrefixInvitation   = "inv"
	PrefixPlatform     = "plt"
	PrefixRepeat       = "rpt"
	PrefixKey          = "key" // idempotency keys of our own clients
)

// crockford is the base32 alphabet of TypeID: lower case, without i, l, o, u.
const crockford = "0123456789abcdefghjkmnpqrstvwxyz"

var idForm = regexp.MustCompile(`^[a-z]{3}_[0-9a-hjkmnp-tv-z]{26}$`)

// NewID makes prefix_ and a UUIDv7 (RFC 9562) in 26 characters of Crockford's
// base32: sortable by time of making, and safe in a URL, a shell and a file name.
func NewID(prefix string, now time.Time, random io.Reader) (string, error) {
	var u [16]byte
	if _, err := io.ReadFull(random, u[6:]); err != nil {
		return "", fmt.Errorf("making an identifier: %w", err)
	}
	ms := uint64(now.UnixMilli())
	binary.BigEndian.PutUint16(u[0:], uint16(ms>>32))
	binary.BigEndian.PutUint32(u[2:], uint32(ms))
	u[6] = u[6]&0x0f | 0x70
	u[8] = u[8]&0x3f | 0x80
	room := make([]byte, 0, 32)
	digits := base32(u)
	return string(append(append(append(room, prefix...), '_'), digits[:]...)), nil
}

// base32 writes 128 bits as 26 digits; the first digit carries three bits.
func base32(u [16]byte) [26]byte {
	hi, lo := binary.BigEndian.Uint64(u[:8]), binary.BigEndian.Uint64(u[8:])
	var out [26]byte
	for i := len(out) - 1; i >= 0; i-- {
		out[i] = crockford[lo&31]
		lo = lo>>5 | hi<<59
		hi >>= 5
	}
	return out
}

// ValidID reports whether s has the form of an identifier with this prefix.
func ValidID(prefix, s string) bool {
	return idForm.MatchString(s) && s[:3] == prefix
}

// ValidKey reports whether s can be an idempotency key: 1 to 255 visible ASCII
// characters.
func ValidKey(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 255
}
