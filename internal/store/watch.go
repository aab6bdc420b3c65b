package store

import (
	"context"
	"fmt"
	"strings"
)

// turnsAtOnce is how many organizations one question names; fewer are filled up,
// so that there is one text of it.
const turnsAtOnce = 32

// Turns reads how many turns each of some organizations has had. It is written by
// hand because sqlc knows no list that both databases take.
func (s *Store) Turns(ctx context.Context, orgs []string) (map[string]int64, error) {
	out := make(map[string]int64, len(orgs))
	for len(orgs) > 0 {
		n := min(len(orgs), turnsAtOnce)
		args := make([]any, turnsAtOnce)
		for i := range args {
			args[i] = orgs[min(i, n-1)]
		}
		orgs = orgs[n:]
		rows, err := s.reader.QueryContext(ctx, turnsQuery(), args...)
		if err != nil {
			return nil, fmt.Errorf("reading turns: %w", err)
		}
		for rows.Next() {
			var org string
			var turn int64
			if err := rows.Scan(&org, &turn); err != nil {
				_ = rows.Close()
				return nil, fmt.Errorf("reading turns: %w", err)
			}
			out[org] = turn
		}
		if err := rows.Err(); err != nil {
			return nil, fmt.Errorf("reading turns: %w", err)
		}
	}
	return out, nil
}

func turnsQuery() string {
	places := make([]string, turnsAtOnce)
	for i := range places {
		places[i] = fmt.Sprintf("$%d", i+1)
	}
	return "SELECT id, turn FROM organizations WHERE id IN (" + strings.Join(places, ", ") + ")"
}
