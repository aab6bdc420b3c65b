package office

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/purser-dev/purser"
)

// knownFor is how long a credential is taken from memory where the deciding turn
// looks at it again; what is kept of it never changes while it lives.
const (
	knownFor  = 10 * time.Second
	knownMost = 100_000
)

// known are credentials of spenders that were read a short time ago, by the hash
// of the token.
type known struct {
	mu  sync.RWMutex
	all map[[sha256.Size]byte]knownActor
}

type knownActor struct {
	by    purser.Actor
	until time.Time
}

// Known finds the holder of a credential that was authenticated a short time ago.
// It may have been revoked since: only an operation for Spenders, whose turn looks
// at the token again, may take it from here.
func (o *Office) Known(bearer string) (purser.Actor, bool) {
	hash := hashBearer(bearer)
	o.known.mu.RLock()
	k, ok := o.known.all[hash]
	o.known.mu.RUnlock()
	return k.by, ok && o.Now().Before(k.until)
}

// remember keeps a spender's credential for a short time.
func (o *Office) remember(bearer string, by purser.Actor) {
	if by.Kind != purser.Agent && by.Kind != purser.Platform {
		return
	}
	o.known.mu.Lock()
	defer o.known.mu.Unlock()
	if o.known.all == nil || len(o.known.all) >= knownMost {
		o.known.all = map[[sha256.Size]byte]knownActor{}
	}
	o.known.all[hashBearer(bearer)] = knownActor{by, o.Now().Add(knownFor)}
}

// hashBearer copies a token of usual length to the stack only.
func hashBearer(bearer string) [sha256.Size]byte {
	var room [128]byte
	return sha256.Sum256(append(room[:0], bearer...))
}
