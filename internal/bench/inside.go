package bench

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/office"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/store"
)

// inside is the load without HTTP and without a server's process: callers here ask
// an office here, which knows each of them already. The server beside it does
// nothing meanwhile.
func (m *measurement) inside(ctx context.Context, o Order) (found Load, err error) {
	s, err := store.Open(ctx, store.Config{Database: strings.TrimPrefix(m.house.Database, "sqlite:"), Now: time.Now})
	if err != nil {
		return found, err
	}
	defer s.Close()
	box, seed, err := m.house.keys(ctx, s)
	if err != nil {
		return found, err
	}
	of, err := office.New(ctx, office.Config{
		Store: s, Box: box, AuditSeed: seed, PublicURL: func() string { return m.house.URL }, Now: time.Now, Random: rand.Reader,
		Defaults: office.Defaults{ProviderMonth: purser.Money{Amount: plenty, Currency: "USD"}, OrdersPerHour: 1 << 30, StopDeadline: 10 * time.Second},
	})
	if err != nil {
		return found, err
	}
	defer of.Close()
	actors := make([]purser.Actor, len(o.Lanes))
	for i, lane := range o.Lanes {
		if actors[i], err = of.Authenticate(ctx, lane.Token, ""); err != nil {
			return found, fmt.Errorf("knowing the agent of run %s: %w", lane.Run, err)
		}
	}
	l := &load{Order: o, found: Load{Codes: map[string]int64{}}}
	l.measureInside(ctx, of, actors)
	return l.found, ctx.Err()
}

func (l *load) measureInside(ctx context.Context, of *office.Office, actors []purser.Actor) {
	var group sync.WaitGroup
	callers := make([]*caller, l.Callers)
	began := time.Now()
	from, until := began.Add(l.Warm), began.Add(l.Warm+l.For)
	for i := range callers {
		c := l.caller(i)
		callers[i] = c
		group.Go(func() {
			for n := i; ctx.Err() == nil; n += l.Callers {
				sent := time.Now()
				if sent.After(until) {
					return
				}
				by := actors[n%len(actors)]
				by.Key = newKey()
				_, err := of.ChargeUsage(ctx, by, purser.ChargeUsage{
					Provider: Provider, Category: Category, AmountMinor: 1 + c.rnd.Int64N(9), Currency: "USD",
				})
				if answered := time.Now(); answered.After(from) && !answered.After(until) {
					c.tell(err, answered.Sub(sent))
				}
			}
		})
	}
	group.Wait()
	l.sum(callers)
}

// tell counts an outcome in process as count does one over HTTP.
func (c *caller) tell(err error, took time.Duration) {
	if err != nil {
		c.codes[string(purser.CodeOf(err))]++
		return
	}
	c.yes++
	c.slow = append(c.slow, int32(min(took, time.Hour)/time.Microsecond))
}

// keys opens the key file of the house and the seed of its log's signatures, as the
// server does, so that what is written here is read there.
func (h *House) keys(ctx context.Context, s *store.Store) (seal.Box, []byte, error) {
	box, err := seal.LoadKeyFile(filepath.Join(h.Dir, "key"), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	const name = "audit_seed"
	text, err := s.Read().InstallationValue(ctx, name)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the audit key: %w", err)
	}
	sealed, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the audit key: %w", err)
	}
	seed, err := box.Open(sealed, seal.Context(store.Installation, "installation", name, "value"))
	return box, seed, err
}
