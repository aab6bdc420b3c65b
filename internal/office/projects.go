package office

import (
	"context"
	"regexp"
	"strings"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/guard"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

var nameForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// CreateProject makes a project; a second one of the same name is the same one.
func (o *Office) CreateProject(ctx context.Context, by purser.Actor, in purser.CreateProject) (purser.Project, error) {
	if !nameForm.MatchString(in.Name) {
		return purser.Project{}, purser.Errorf(purser.InvalidRequest, "%q is not a project's name: up to 63 of a-z, 0-9 and -, not - at the ends", in.Name)
	}
	return once(ctx, o, by, "create_project", in, func(t *store.Turn) (purser.Project, error) {
		id, err := o.newID(purser.PrefixProject)
		if err != nil {
			return purser.Project{}, err
		}
		made, err := t.InsertProject(ctx, db.InsertProjectParams{Organization: t.Org, ID: id, Name: in.Name, CreatedAt: store.Micro(t.Now)})
		if err != nil {
			return purser.Project{}, err
		}
		row, err := t.ProjectByName(ctx, db.ProjectByNameParams{Organization: t.Org, Name: in.Name})
		if err != nil {
			return purser.Project{}, err
		}
		if made > 0 {
			t.Record(recordOf(by, "create_project", row.ID))
		}
		return showProject(row)
	})
}

func showProject(p db.Project) (purser.Project, error) {
	labels, err := fromJSON[[]string](p.Labels)
	return purser.Project{ID: p.ID, Name: p.Name, Labels: labels, CreatedAt: store.Time(p.CreatedAt)}, err
}

// ListProjects lists projects by identifier, which is by age.
func (o *Office) ListProjects(ctx context.Context, by purser.Actor, in purser.Page) (purser.List[purser.Project], error) {
	out := purser.List[purser.Project]{Items: []purser.Project{}}
	limit, err := page(in, named(purser.PrefixProject))
	if err != nil {
		return out, err
	}
	var rows []db.Project
	if by.Kind == purser.Agent {
		rows = make([]db.Project, 1)
		rows[0], err = o.project(ctx, o.Store.Read(), by, "")
	} else {
		rows, err = o.Store.Read().Projects(ctx, db.ProjectsParams{Organization: by.Organization, After: in.Cursor, RowLimit: limit + 1})
	}
	if err != nil {
		return out, err
	}
	shown := cut(rows, limit, func(p db.Project) db.Project { return p }, func(p db.Project) string { return p.ID })
	out.NextCursor = shown.NextCursor
	for _, row := range shown.Items {
		p, err := showProject(row)
		if err != nil {
			return out, err
		}
		out.Items = append(out.Items, p)
	}
	return out, nil
}

// project finds a project by identifier or name; an agent's is that of its run.
func (o *Office) project(ctx context.Context, q *db.Queries, by purser.Actor, named string) (db.Project, error) {
	if by.Kind == purser.Agent {
		own, err := q.Project(ctx, db.ProjectParams{Organization: by.Organization, ID: by.Project})
		if err == nil && named != "" && named != own.ID && named != own.Name {
			return own, purser.Errorf(purser.Forbidden, "the run belongs to project %s, not to %s", own.Name, named)
		}
		return own, notFound(err, "project", by.Project)
	}
	if named == "" {
		return db.Project{}, purser.Errorf(purser.InvalidRequest, "which project?").WithHint("purser init NAME, in the project's folder")
	}
	var row db.Project
	var err error
	if strings.HasPrefix(named, purser.PrefixProject+"_") {
		row, err = q.Project(ctx, db.ProjectParams{Organization: by.Organization, ID: named})
	} else {
		row, err = q.ProjectByName(ctx, db.ProjectByNameParams{Organization: by.Organization, Name: named})
	}
	if missing(err) {
		return row, purser.Errorf(purser.NotFound, "no project is called %q here", named).WithHint("purser init %s", guard.Word(named))
	}
	return row, err
}

// inProduction reports whether an environment may be seen by customers: all are,
// but those that are known for work in progress.
func inProduction(env string) bool {
	switch env {
	case "development", "dev", "test", "testing", "staging", "preview":
		return false
	}
	return true
}

// environment reads an environment's name; empty is development (CONTROLS C15).
func environment(env string) (string, error) {
	if env == "" {
		return "development", nil
	}
	if !nameForm.MatchString(env) {
		return "", purser.Errorf(purser.InvalidRequest, "%q is not an environment's name", env)
	}
	return env, nil
}
