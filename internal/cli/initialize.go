package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/client"
)

// initialized is what init did.
type initialized struct {
	Project string `json:"project"`
	Name    string `json:"name"`
	File    string `json:"file"`
	Wrote   bool   `json:"wrote"` // false: it was there already
}

func (s *session) projects() *cobra.Command {
	return family("project", "Projects, which purser init makes", &cobra.Command{
		Use: "list", Short: "List projects with their labels", Args: needs(), Example: "  purser project list",
		RunE: does(s, func(ctx context.Context, _ []string) (purser.List[purser.Project], error) {
			c, err := s.client()
			if err != nil {
				return purser.List[purser.Project]{}, err
			}
			return all(ctx, c.ListProjects)
		}, func(p *page, v purser.List[purser.Project]) {
			if len(v.Items) == 0 {
				p.line("There is no project. next: purser init NAME, in the project's folder")
				return
			}
			var rows [][]string
			for _, x := range v.Items {
				rows = append(rows, []string{x.ID, x.Name, strings.Join(x.Labels, ", "), clock(x.CreatedAt)})
			}
			p.table([]string{"PROJECT", "NAME", "LABELS", "MADE"}, rows)
		}),
	})
}

func (s *session) initialize() *cobra.Command {
	return s.changing(&cobra.Command{
		Use: "init NAME", Short: "Make a project of this folder; writes .purser.yaml and nothing else",
		Example: "  purser init shop", Args: needs("NAME"),
		RunE: does(s, func(ctx context.Context, args []string) (initialized, error) {
			known, err := s.findProject()
			if err != nil {
				return initialized{}, err
			}
			if known.Name == args[0] {
				return initialized{Project: known.Project, Name: known.Name, File: known.path}, nil
			}
			path := filepath.Join(s.Dir, projectFileName)
			if known.path == path {
				return initialized{}, purser.Errorf(purser.AlreadyExists, "this folder is already the project %q", known.Name).
					WithHint("to begin anew: rm %s && purser init %s", projectFileName, args[0])
			}
			c, err := s.client()
			if err != nil {
				return initialized{}, err
			}
			project, err := s.makeProject(ctx, c, args[0])
			if err != nil {
				return initialized{}, err
			}
			text := fmt.Sprintf("# The Purser project of this folder. Commit this file; it holds no secret.\nversion: 1\nproject: %s\nname: %q\n", project.ID, project.Name)
			return initialized{project.ID, project.Name, path, true}, writeFile(path, []byte(text), 0o644)
		}, func(p *page, v initialized) {
			if !v.Wrote {
				p.line("This folder is the project %s already (%s).", v.Name, v.File)
				return
			}
			p.line("Project %s (%s).", v.Name, v.Project)
			p.line("wrote %s", v.File)
			p.line("next: purser run create --budget 20")
		}),
	})
}

// makeProject makes the project, or joins the one of that name: another
// checkout of the same work has made it.
func (s *session) makeProject(ctx context.Context, c *client.Client, name string) (purser.Project, error) {
	keyed, err := s.keyed(ctx, c)
	if err != nil {
		return purser.Project{}, err
	}
	project, err := c.CreateProject(keyed, purser.CreateProject{Name: name})
	if purser.CodeOf(err) != purser.AlreadyExists {
		return project, err
	}
	for p, err := range every(ctx, c.ListProjects) {
		if err != nil {
			return purser.Project{}, err
		}
		if p.Name == name {
			return p, nil
		}
	}
	return purser.Project{}, err
}
