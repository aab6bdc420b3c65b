package office

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// A fresh challenge is one that nobody needs to remember until it is answered, so
// that strangers who ask for many fill no table: random bytes, an end, and a code
// over them, the purpose and the subject that only this installation can make.
const (
	freshRandom = 16
	freshSize   = freshRandom + 8 + sha256.Size
)

func (o *Office) fresh(purpose, subject string) (challenge []byte, notAfter time.Time, err error) {
	challenge = make([]byte, freshRandom, freshSize)
	if _, err := io.ReadFull(o.Random, challenge); err != nil {
		return nil, notAfter, fmt.Errorf("reading randomness: %w", err)
	}
	notAfter = o.Now().Add(o.Defaults.SignTTL).UTC().Truncate(time.Microsecond)
	challenge = binary.BigEndian.AppendUint64(challenge, uint64(notAfter.UnixMicro()))
	return append(challenge, o.code(challenge, purpose, subject)...), notAfter, nil
}

func (o *Office) code(head []byte, purpose, subject string) []byte {
	key := sha256.Sum256(append([]byte("purser fresh challenge v1\x00"), o.AuditSeed...))
	m := hmac.New(sha256.New, key[:])
	m.Write(head)
	fmt.Fprintf(m, "%q %q", purpose, subject)
	return m.Sum(nil)
}

// isFresh reads a challenge that fresh made for this purpose and subject.
func (o *Office) isFresh(text, purpose, subject string) (challenge []byte, notAfter int64, err error) {
	challenge, err = fromBase64(text)
	if err != nil || len(challenge) != freshSize || !hmac.Equal(challenge[freshSize-sha256.Size:], o.code(challenge[:freshSize-sha256.Size], purpose, subject)) {
		return nil, 0, purser.Errorf(purser.WrongSignature, "it answers no question of this server").WithHint("load the page again")
	}
	if notAfter = int64(binary.BigEndian.Uint64(challenge[freshRandom:])); store.Micro(o.Now()) > notAfter {
		return nil, 0, purser.Errorf(purser.WrongSignature, "the time to answer is over").WithHint("load the page again")
	}
	return challenge, notAfter, nil
}

// useUp lets a fresh challenge count once.
func useUp(ctx context.Context, t *store.Turn, challenge []byte, purpose, person string, notAfter int64) error {
	n, err := t.SpendChallenge(ctx, db.SpendChallengeParams{
		Organization: t.Org, Nonce: base64.RawURLEncoding.EncodeToString(challenge), Operation: purpose, Approver: person, NotAfter: notAfter, UsedAt: store.Micro(t.Now),
	})
	if err == nil && n != 1 {
		err = purser.Errorf(purser.WrongSignature, "the passkey's answer was used before").WithHint("load the page again")
	}
	return err
}
