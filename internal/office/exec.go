package office

import (
	"context"
	"fmt"
	"slices"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/catalog"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// Classes of credentials. Who holds an operator's credential can change or delete
// what runs; a runtime one lets a program use it.
const (
	ClassRuntime  = "runtime"
	ClassOperator = "operator"
)

// Exec hands out credentials for the environment of a child process. It is a
// reveal: a person signs for it; an agent gets the classes that its run allows,
// which are none by default (RULES 1, 4). Either way it is recorded.
func (o *Office) Exec(ctx context.Context, by purser.Actor, in purser.Exec) (purser.Variables, error) {
	out := purser.Variables{Env: map[string]string{}, Masked: []string{}}
	rows, err := o.execRows(ctx, by, in)
	if err != nil {
		return out, err
	}
	err = o.turn(ctx, by.Organization, func(t *store.Turn) error {
		r := recordOf(by, "exec", in.Resource)
		allowed, err := o.revealed(ctx, t, by)
		if err != nil {
			return err
		}
		if by.Kind == purser.Person {
			if r.Attach, err = o.signed(ctx, t, by, "exec", in, in.Act); err != nil {
				return o.refuseAct(t, by, "exec", in.Resource, err)
			}
		}
		if by.Kind == purser.Agent {
			if no, err := o.stopForAny(ctx, t, by, rows, allowed); err != nil {
				return err
			} else if no != nil {
				return o.refuse(t, r, no)
			}
		}
		for _, row := range rows {
			if err := o.reveal(ctx, t, row, allowed, &out); err != nil {
				return err
			}
		}
		if len(out.Env) == 0 && len(out.Masked) > 0 {
			return o.refuse(t, r, purser.Errorf(purser.NeedsPerson, "the run allows no credential of this kind").
				WithHint("a person can allow them: purser run create --reveal runtime"))
		}
		r.Detail = map[string]string{"revealed": fmt.Sprint(len(out.Env)), "withheld": fmt.Sprint(len(out.Masked))}
		t.Record(r)
		return nil
	})
	if err != nil {
		return purser.Variables{}, err
	}
	return out, nil
}

func (o *Office) execRows(ctx context.Context, by purser.Actor, in purser.Exec) ([]db.Resource, error) {
	q := o.Store.Read()
	if in.Resource != "" {
		row, err := o.resource(ctx, q, by, purser.ResourceRef{Resource: in.Resource, Project: in.Project, Env: in.Env})
		if err == nil && by.Kind == purser.Agent && row.Project != by.Project {
			err = purser.Errorf(purser.Forbidden, "the resource belongs to another project")
		}
		return []db.Resource{row}, err
	}
	p, err := o.project(ctx, q, by, in.Project)
	if err != nil {
		return nil, err
	}
	env, err := environment(in.Env)
	if err != nil {
		return nil, err
	}
	return q.Resources(ctx, db.ResourcesParams{Organization: by.Organization, Project: p.ID, Env: env})
}

// revealed are the classes that the actor may have.
func (o *Office) revealed(ctx context.Context, t *store.Turn, by purser.Actor) ([]string, error) {
	if by.Kind == purser.Person {
		return []string{ClassRuntime, ClassOperator}, nil
	}
	run, err := t.Run(ctx, db.RunParams{Organization: t.Org, ID: by.Run})
	if err != nil {
		return nil, err
	}
	return fromJSON[[]string](run.Reveal)
}

// stopForAny finds a stop of whoever asks, or of a resource whose credentials it would get.
func (o *Office) stopForAny(ctx context.Context, t *store.Turn, by purser.Actor, rows []db.Resource, allowed []string) (*purser.Error, error) {
	given := []db.Resource{{}} // its own
	for _, row := range rows {
		if alive(row) && slices.Contains(allowed, row.Class) {
			given = append(given, row)
		}
	}
	for _, row := range given {
		if no, err := o.stopFor(ctx, t, by, row); err != nil || no != nil {
			return no, err
		}
	}
	return nil, nil
}

// reveal opens one resource's credentials into the environment.
func (o *Office) reveal(ctx context.Context, t *store.Turn, row db.Resource, allowed []string, out *purser.Variables) error {
	if !alive(row) {
		return nil
	}
	name, err := o.variables(ctx, t.Queries, row.Provider, row.Service, row.Name)
	if err != nil {
		return err
	}
	access, err := o.accessOf(row)
	if err != nil {
		return err
	}
	for key, value := range access {
		variable := name(key)
		switch {
		case !catalog.SafeVariable(variable): // a provider may not set PATH or LD_PRELOAD
		case !slices.Contains(allowed, row.Class):
			out.Masked = append(out.Masked, variable)
		case out.Env[variable] != "" && out.Env[variable] != value:
			return purser.Errorf(purser.InvalidState, "two resources both set %s", variable).WithHint("name one: purser exec --resource RES -- CMD")
		default:
			out.Env[variable] = value
		}
	}
	slices.Sort(out.Masked)
	return nil
}

// classOf is the class of a service's credentials, decided once, when they come:
// what deploys is an operator's, and so is anything of a service that its provider
// does not list.
func (o *Office) classOf(ctx context.Context, q *db.Queries, provider, service string) (string, error) {
	all, err := o.entries(ctx, q, provider)
	if err != nil {
		return "", err
	}
	for _, e := range all {
		if e.Ref.Service == service && !o.Deployer.Takes(e.Categories, e.Outputs) {
			return ClassRuntime, nil
		}
	}
	return ClassOperator, nil
}
