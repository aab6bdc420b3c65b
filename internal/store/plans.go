package store

import (
	"context"
	"fmt"
	"strings"
)

// PlansAtOnce is how many plans VoidPlans takes; fewer are filled up, so that there is one
// text of it.
const PlansAtOnce = 32

// VoidPlans marks those of some plans as void that wait or may start, and counts them. It
// is one statement, since a turn is short (RULES 20), and written by hand as Turns is. The
// state as an expression keeps SQLite from walking all plans that wait, by their index.
func (t *Turn) VoidPlans(ctx context.Context, ids []string) (n int64, err error) {
	if len(ids) == 0 || len(ids) > PlansAtOnce {
		return 0, fmt.Errorf("voiding %d plans at once", len(ids))
	}
	places, args := make([]string, PlansAtOnce), make([]any, PlansAtOnce+1)
	args[0] = t.Org
	for i := range places {
		places[i], args[i+1] = fmt.Sprintf("$%d", i+2), ids[min(i, len(ids)-1)]
	}
	err = t.send(ctx, []Stmt{{
		Text: "UPDATE plans SET state = 'void', error = '' WHERE organization = $1 AND id IN (" + strings.Join(places, ", ") +
			") AND state || '' IN ('needs_approval', 'ready') RETURNING 1",
		Args: args,
		Each: func(func(...any) error) error { n++; return nil },
	}})
	return n, err
}
