package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"

	"github.com/purser-dev/purser"
)

// projectFileName is the one file that `purser init` writes. It names no server
// and holds no secret, so it is committed.
const projectFileName = ".purser.yaml"

type projectFile struct {
	Version int    `yaml:"version" json:"version"`
	Project string `yaml:"project" json:"project"` // identifier
	Name    string `yaml:"name" json:"name"`
	path    string
}

// findProject walks up from where the command was typed.
func (s *session) findProject() (projectFile, error) {
	for dir := s.Dir; ; dir = filepath.Dir(dir) {
		path := filepath.Join(dir, projectFileName)
		text, err := os.ReadFile(path)
		switch {
		case err == nil:
			return parseProject(path, text)
		case !errors.Is(err, fs.ErrNotExist):
			return projectFile{}, fmt.Errorf("reading %s: %w", path, err)
		case dir == filepath.Dir(dir):
			return projectFile{}, nil
		}
	}
}

func parseProject(path string, text []byte) (projectFile, error) {
	p := projectFile{path: path}
	if err := yaml.Unmarshal(text, &p); err != nil || p.Version != 1 || p.Project == "" {
		return p, purser.Errorf(purser.InvalidRequest, "%s is not a project file of version 1", path).
			WithHint("remove it and type: purser init NAME")
	}
	return p, nil
}

// project is the one that was typed, or that of the folder. Under an agent's
// token none is needed: its run belongs to one.
func (s *session) project(typed string) (string, error) {
	if typed != "" {
		return typed, nil
	}
	p, err := s.findProject()
	return p.Project, err
}

// needsProject is for operations that have no project of their own.
func (s *session) needsProject(typed string) (string, error) {
	p, err := s.project(typed)
	if err == nil && p == "" {
		err = purser.Errorf(purser.InvalidRequest, "there is no %s here or above, so the project is not known", projectFileName).
			WithHint("purser init NAME")
	}
	return p, err
}
