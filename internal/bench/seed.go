package bench

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/client"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// tenant is an organization that was written straight into the database: set_up
// makes only the first one.
type tenant struct {
	lane  Lane
	token string // the owner's
}

// plenty is a limit that no load reaches, in minor units.
const plenty = 1 << 50

// seedTenants makes n organizations with an owner, a project, a run, an agent and
// limits on five levels each.
func seedTenants(ctx context.Context, database string, n int) ([]tenant, error) {
	s, err := store.Open(ctx, store.Config{Database: database, Now: time.Now})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	all := make([]tenant, n)
	for i := range all {
		if all[i], err = seedTenant(ctx, s, i); err != nil {
			return nil, fmt.Errorf("making organization %d: %w", i, err)
		}
	}
	return all, nil
}

func seedTenant(ctx context.Context, s *store.Store, i int) (t tenant, err error) {
	now := time.Now()
	id := map[string]string{}
	for _, prefix := range []string{
		purser.PrefixOrganization, purser.PrefixPerson, purser.PrefixAgent, purser.PrefixProject, purser.PrefixRun, purser.PrefixToken,
	} {
		if id[prefix], err = purser.NewID(prefix, now, rand.Reader); err != nil {
			return t, err
		}
	}
	org, person, run := id[purser.PrefixOrganization], id[purser.PrefixPerson], id[purser.PrefixRun]
	err = s.Write(ctx, func(q *db.Queries) error {
		return q.InsertOrganization(ctx, db.InsertOrganizationParams{
			ID: org, Name: fmt.Sprintf("Measured %d", i), Timezone: "UTC", CreatedAt: store.Micro(now),
		})
	})
	if err != nil {
		return t, err
	}
	t.lane.Run = run
	return t, s.Turn(ctx, org, func(turn *store.Turn) error {
		at, end := store.Micro(turn.Now), store.Micro(turn.Now.Add(24*time.Hour))
		err := turn.InsertPerson(ctx, db.InsertPersonParams{
			Organization: org, ID: person, Name: "Owner", Email: fmt.Sprintf("owner%d@bench.example", i), Role: string(purser.Owner), Kdf: "{}", CreatedAt: at,
		})
		if err != nil {
			return err
		}
		if _, err := turn.InsertProject(ctx, db.InsertProjectParams{Organization: org, ID: id[purser.PrefixProject], Name: "measured", CreatedAt: at}); err != nil {
			return err
		}
		err = turn.InsertAgent(ctx, db.InsertAgentParams{Organization: org, ID: id[purser.PrefixAgent], Name: "load", Person: person, CreatedAt: at})
		if err != nil {
			return err
		}
		err = turn.InsertRun(ctx, db.InsertRunParams{
			Organization: org, ID: run, Project: id[purser.PrefixProject], Agent: id[purser.PrefixAgent], Person: person, Currency: "USD",
			Providers: "[]", Reveal: "[]", Labels: "[]", CreatedAt: at, ExpiresAt: end,
		})
		if err != nil {
			return err
		}
		for _, level := range [][3]string{
			{"organization", org, "month"}, {"project", id[purser.PrefixProject], "month"}, {"provider", Provider, "month"}, {"category", Category, "month"}, {"run", run, "run"},
		} {
			err := turn.SetBudget(ctx, db.SetBudgetParams{
				Organization: org, Scope: level[0], Target: level[1], Period: level[2], Currency: "USD", LimitMinor: plenty,
			})
			if err != nil {
				return err
			}
		}
		issue := func(kind seal.Kind, of purser.ActorKind, principal, run string) (string, error) {
			token, err := seal.NewToken(kind, rand.Reader)
			if err != nil {
				return "", err
			}
			tok, err := purser.NewID(purser.PrefixToken, now, rand.Reader)
			if err != nil {
				return "", err
			}
			return token.Reveal(), turn.InsertToken(ctx, db.InsertTokenParams{
				Organization: org, ID: tok, Hash: hex.EncodeToString(seal.HashToken(token)), Kind: string(of), Principal: principal, Run: run,
				CreatedAt: at, ExpiresAt: end,
			})
		}
		if t.lane.Token, err = issue(seal.AgentToken, purser.Agent, id[purser.PrefixAgent], run); err != nil {
			return err
		}
		t.token, err = issue(seal.PersonToken, purser.Person, person, "")
		return err
	})
}

// turns sums, over all organizations, how many turns were taken and how many
// records were written in them.
func turns(ctx context.Context, s *store.Store) (taken, records int64, err error) {
	all, err := s.Read().Organizations(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("counting turns: %w", err)
	}
	for _, o := range all {
		if o.ID != store.Installation {
			taken, records = taken+o.Turn, records+o.Seq
		}
	}
	return taken, records, nil
}

// person is a client with the owner's token of an organization that was seeded.
// All share their connections: a thousand clients would keep a thousand open.
func (t tenant) person(url string, shared *http.Client) (*client.Client, error) {
	return client.New(client.Config{URL: url, Token: t.token, HTTPClient: shared})
}
