package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/purser-dev/purser"
)

// planFile is what `purser plan -f` reads.
type planFile struct {
	Purpose string     `yaml:"purpose"`
	Steps   []fileStep `yaml:"steps"`
}

type fileStep struct {
	Service string         `yaml:"service"`
	Name    string         `yaml:"name"`
	Set     map[string]any `yaml:"set"`
	Ceiling string         `yaml:"ceiling"`
	Dir     string         `yaml:"dir"` // relative to the file
	Meant   bool           `yaml:"meant"`
}

// planFileLimit bounds a plan file, in bytes.
const planFileLimit = 1 << 20

// readPlanFile reads steps from YAML. A fault is named with its line and column.
func readPlanFile(path, currency string) (purpose string, steps []step, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", nil, purser.Errorf(purser.InvalidRequest, "%s cannot be opened", path).WithHint("name a file that is there: purser plan -f FILE").WithCause(err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, planFileLimit+1))
	if err != nil || len(text) > planFileLimit {
		return "", nil, purser.Errorf(purser.InvalidRequest, "%s cannot be read, or is larger than %d bytes", path, planFileLimit).WithCause(err)
	}
	file, err := parsePlanFile(path, text)
	if err != nil {
		return "", nil, err
	}
	for i, fs := range file.Steps {
		st := step{StepRequest: purser.StepRequest{Service: fs.Service, Name: fs.Name, Configuration: fs.Set, Meant: fs.Meant}, dir: fs.Dir}
		if fs.Ceiling != "" {
			most, err := amount(fs.Ceiling, currency)
			if err != nil {
				return "", nil, fmt.Errorf("reading step %d of %s: %w", i+1, path, err)
			}
			st.Ceiling = &most
		}
		if st.dir != "" && !filepath.IsAbs(st.dir) {
			st.dir = filepath.Join(filepath.Dir(path), st.dir)
		}
		steps = append(steps, st)
	}
	return file.Purpose, steps, nil
}

func parsePlanFile(path string, text []byte) (planFile, error) {
	var file planFile
	var tree yaml.Node
	if err := yaml.Unmarshal(text, &tree); err != nil {
		return file, malformed(path, text, err)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return file, malformed(path, text, err)
	}
	if len(file.Steps) == 0 {
		return file, purser.Errorf(purser.InvalidRequest, "%s has no steps", path).WithHint("write:  steps: [{service: local/hosting:static, dir: site}]")
	}
	for i, st := range file.Steps {
		if st.Service == "" {
			at := stepNode(&tree, i)
			return file, purser.Errorf(purser.InvalidRequest, "%s:%d:%d: step %d names no service", path, at.Line, at.Column, i+1).
				WithHint("purser catalog")
		}
	}
	return file, nil
}

// stepNode finds where step i stands.
func stepNode(tree *yaml.Node, i int) *yaml.Node {
	for _, document := range tree.Content {
		for k := 0; k+1 < len(document.Content); k += 2 {
			if document.Content[k].Value == "steps" && i < len(document.Content[k+1].Content) {
				return document.Content[k+1].Content[i]
			}
		}
	}
	return tree
}

var yamlLine = regexp.MustCompile(`line (\d+)(?:, column (\d+))?: (.*)`)

// malformed names the place of a fault. The library gives the line; the column
// is where the text of that line begins, which is where a person looks.
func malformed(path string, text []byte, err error) error {
	m := yamlLine.FindStringSubmatch(err.Error())
	if m == nil {
		return purser.Errorf(purser.InvalidRequest, "%s:1:1: %s", path, err.Error()).WithHint("write:  steps: [{service: local/hosting:static, dir: site}]")
	}
	line, _ := strconv.Atoi(m[1]) // the pattern allows digits only
	column, _ := strconv.Atoi(m[2])
	if lines := bytes.Split(text, []byte("\n")); column == 0 && line >= 1 && line <= len(lines) {
		at := lines[line-1]
		column = len(at) - len(bytes.TrimLeft(at, " \t")) + 1
	}
	return purser.Errorf(purser.InvalidRequest, "%s:%d:%d: %s", path, line, max(column, 1), m[3]).
		WithHint("keys of a step: service, name, set, ceiling, dir, meant")
}
