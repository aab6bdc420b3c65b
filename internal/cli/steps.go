package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/client"
	"github.com/purser-dev/purser/internal/folder"
)

// step is one step as typed or as read from a plan file.
type step struct {
	purser.StepRequest
	dir string // folder to deploy there
}

// setting is a flag of the form key=value that belongs to the service before it
// on the command line; before the first service it belongs to all.
type setting struct {
	flags  *pflag.FlagSet
	name   string
	values []placed
}

type placed struct {
	after int // how many services were typed before it
	text  string
}

func (v *setting) String() string { return "" }
func (v *setting) Type() string   { return v.name }
func (v *setting) Set(text string) error {
	if text == "" {
		return errEmpty
	}
	v.values = append(v.values, placed{v.flags.NArg(), text})
	return nil
}

// stepFlags are the flags that describe steps.
type stepFlags struct{ set, dir, name, ceiling *setting }

func newStepFlags(f *pflag.FlagSet) stepFlags {
	flag := func(name, kind, usage string) *setting {
		v := &setting{flags: f, name: kind}
		f.Var(v, name, usage+"; of the service before it, or of all when before the first")
		return v
	}
	return stepFlags{
		set:     flag("set", "KEY=VALUE", "configuration"),
		dir:     flag("dir", "DIR", "folder to deploy, for a service that takes files"),
		name:    flag("name", "NAME", "name of the resource"),
		ceiling: flag("ceiling", "AMOUNT", "most it may cost where the price is no number"),
	}
}

// steps joins services and flags.
func (f stepFlags) steps(services []string, currency string) ([]step, error) {
	steps := make([]step, len(services))
	for i, ref := range services {
		st := &steps[i]
		st.Service = ref
		for _, text := range f.set.of(i) {
			key, value, ok := strings.Cut(text, "=")
			if !ok || key == "" {
				return nil, purser.Errorf(purser.InvalidRequest, "--set %q is not of the form key=value", text).WithHint("--set domain=superseal.club")
			}
			if st.Configuration == nil {
				st.Configuration = map[string]any{}
			}
			st.Configuration[key] = value
		}
		st.dir, st.Name = f.dir.last(i), f.name.last(i)
		if text := f.ceiling.last(i); text != "" {
			most, err := amount(text, currency)
			if err != nil {
				return nil, err
			}
			st.Ceiling = &most
		}
	}
	return steps, nil
}

// of lists the values for service i, those for all first, so that its own win.
func (v *setting) of(i int) (values []string) {
	for _, after := range []int{0, i + 1} {
		for _, p := range v.values {
			if p.after == after {
				values = append(values, p.text)
			}
		}
	}
	return values
}

func (v *setting) last(i int) string {
	values := v.of(i)
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

// typed turns the texts of --set into the types of the services' schemas: a
// command line knows only texts, and a schema may ask for a number. What the
// schema does not settle stays a text; the server checks all of it.
func typed(ctx context.Context, c *client.Client, steps []step) error {
	wanted := map[string]bool{}
	for _, st := range steps {
		if len(st.Configuration) > 0 {
			wanted[st.Service] = true
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	schemas := map[string]map[string]any{}
	for service, err := range every(ctx, func(ctx context.Context, page purser.Page) (purser.List[purser.Service], error) {
		return c.Catalog(ctx, purser.Catalog{Page: page})
	}) {
		if err != nil {
			return err
		}
		if wanted[service.Ref] {
			schemas[service.Ref] = service.Configuration
		}
	}
	for _, st := range steps {
		properties, _ := schemas[st.Service]["properties"].(map[string]any)
		for key, value := range st.Configuration {
			property, _ := properties[key].(map[string]any)
			converted, err := convert(key, value, property["type"])
			if err != nil {
				return err
			}
			st.Configuration[key] = converted
		}
	}
	return nil
}

// convert reads a text as the type that a schema names.
func convert(key string, value, kind any) (any, error) {
	text, isText := value.(string)
	if !isText {
		return value, nil
	}
	var converted any = text
	var err error
	switch kind {
	case "integer":
		converted, err = strconv.ParseInt(text, 10, 64)
	case "number":
		converted = json.Number(text)
		_, err = strconv.ParseFloat(text, 64)
	case "boolean":
		converted, err = strconv.ParseBool(text)
	case "array", "object":
		err = json.Unmarshal([]byte(text), &converted)
	}
	if err != nil {
		return nil, purser.Errorf(purser.InvalidRequest, "--set %s=%s: the service wants %v", key, text, kind)
	}
	return converted, nil
}

// stageAll uploads the folders of the steps and fills in their manifests.
func (s *session) stageAll(ctx context.Context, c *client.Client, steps []step) ([]purser.StepRequest, error) {
	requests := make([]purser.StepRequest, len(steps))
	for i, st := range steps {
		if st.dir != "" {
			staged, err := s.stage(ctx, c, st.dir)
			if err != nil {
				return nil, err
			}
			st.Manifest = staged.Manifest
		}
		requests[i] = st.StepRequest
	}
	return requests, nil
}

// stage walks a folder and uploads what the server lacks.
func (s *session) stage(ctx context.Context, c *client.Client, dir string) (purser.Staged, error) {
	f, err := folder.Walk(ctx, s.path(dir))
	if err != nil {
		return purser.Staged{}, err
	}
	for _, w := range f.Warnings {
		s.note("warning: %s", w)
	}
	staged, err := c.Stage(ctx, f.Stage())
	if err != nil {
		return purser.Staged{}, fmt.Errorf("naming the files of %s: %w", dir, err)
	}
	if len(staged.Missing) > 0 {
		s.note("uploading %d of %d files", len(staged.Missing), len(f.Files))
		if err := f.Send(ctx, c, staged.Missing); err != nil {
			return purser.Staged{}, fmt.Errorf("uploading the files of %s: %w", dir, err)
		}
	}
	return staged, nil
}
