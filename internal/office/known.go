package office

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/purser-dev/purser"
)

const knownMost = 100_000

// known are credentials that were read a while ago, by the hash of the token. What is
// kept of one never changes while it lives.
type known struct {
	mu  sync.RWMutex
	all map[[sha256.Size]byte]knownActor
}

type knownActor struct {
	by purser.Actor
	at time.Time
}

// Known finds the holder of a credential that was authenticated at most so long ago.
// It may have been revoked since.
func (o *Office) Known(bearer string, ago time.Duration) (purser.Actor, bool) {
	hash := hashBearer(bearer)
	o.known.mu.RLock()
	k, ok := o.known.all[hash]
	o.known.mu.RUnlock()
	now := o.Now()
	return k.by, ok && now.Sub(k.at) < ago && (k.by.ExpiresAt == nil || now.Before(*k.by.ExpiresAt))
}

func (o *Office) remember(bearer string, by purser.Actor) {
	o.known.mu.Lock()
	defer o.known.mu.Unlock()
	if o.known.all == nil || len(o.known.all) >= knownMost {
		o.known.all = map[[sha256.Size]byte]knownActor{}
	}
	o.known.all[hashBearer(bearer)] = knownActor{by, o.Now()}
}

// hashBearer copies a token of usual length to the stack only.
func hashBearer(bearer string) [sha256.Size]byte {
	var room [128]byte
	return sha256.Sum256(append(room[:0], bearer...))
}
