package store

import (
	"context"
	"fmt"
	"slices"

	"github.com/purser-dev/purser"
)

// effectsAtOnce is how many rows a statement of InsertStopEffects has at most: more save little.
const effectsAtOnce = 64

var insertEffects = insertInto("stop_effects", "organization, stop, n, kind, target, state", "ttittt", "")

// InsertStopEffects notes what is to follow a new stop, each with its number in the list. Many
// are one statement: each order that did not begin is one of them, an agent may have
// placed thousands, and the stop is acknowledged after all are written.
func (t *Turn) InsertStopEffects(ctx context.Context, stop string, effects []purser.StopEffect) error {
	n := int64(0)
	for some := range slices.Chunk(effects, effectsAtOnce) {
		r := newRows(insertEffects.kinds, false)
		for _, e := range some {
			r.text(t.Org, stop).integer(n).text(e.Kind, e.Target, e.State)
			n++
		}
		if err := t.send(ctx, insertEffects.of(r, nil)); err != nil {
			return fmt.Errorf("noting what follows a stop: %w", err)
		}
	}
	return nil
}
