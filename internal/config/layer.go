package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"

	"github.com/purser-dev/purser/internal/edit"
)

const prefix = "PURSER_"

// elsewhere lists the variables with our prefix that are no settings. One that
// ends with _ stands for all that begin with it.
var elsewhere = []string{
	"PURSER_CONFIG",       // where the file is; read before there is a Config
	"PURSER_TOKEN",        // an agent's or a person's credential, for the command line
	"PURSER_URL",          // the server that the command line talks to
	"PURSER_REQUIRE",      // see package testneed
	"PURSER_TEST_",        // for tests
	"PURSER_POSTGRES_BIN", // see package testpg
}

// layer is what one source says, with keys in full: "log.level".
type layer struct {
	name   string
	values map[string]any
}

// source names the place of one setting, for people.
func (l layer) source(s setting) string {
	switch l.name {
	case "environment":
		return "environment (" + s.env() + ")"
	default:
		return l.name
	}
}

// read loads the sources, weakest first. What cannot be read at all is a fault
// and leaves its layer empty, so that the faults of the others are named too.
func read(from Sources, f *faults) []layer {
	var layers []layer
	if from.File != "" {
		layers = append(layers, readFile(from.File, f))
	}
	layers = append(layers, readEnviron(from.Environ, f), readFlags(from.Flags, f))
	return layers
}

func readFile(path string, f *faults) layer {
	name := "file " + path
	k := koanf.New(".")
	if err := k.Load(file.Provider(path), yaml.Parser()); err != nil {
		f.add(name, "%v", plain(err))
		return layer{name: name}
	}
	return known(layer{name, k.All()}, f)
}

// plain drops the path, which the source already names.
func plain(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

func readEnviron(environ []string, f *faults) layer {
	keys := map[string]string{}
	for _, s := range settings(new(Config)) {
		keys[s.env()] = s.key
	}
	k := koanf.New(".")
	err := k.Load(env.Provider(".", env.Opt{
		Prefix:      prefix,
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(name, value string) (string, any) {
			if value == "" || isElsewhere(name) {
				return "", nil
			}
			key, ok := keys[name]
			if !ok {
				f.add("environment", "%s is not a setting; the nearest is %s", name, nearest(name, slices.Collect(maps.Keys(keys))))
			}
			return key, value
		},
	}), nil)
	if err != nil {
		f.add("environment", "%v", err)
	}
	return layer{"environment", k.All()}
}

func isElsewhere(name string) bool {
	return slices.ContainsFunc(elsewhere, func(e string) bool {
		return name == e || strings.HasSuffix(e, "_") && strings.HasPrefix(name, e)
	})
}

func readFlags(flags map[string]any, f *faults) layer {
	k := koanf.New(".")
	for key, value := range flags {
		if err := k.Set(key, value); err != nil {
			f.add("flags", "%s: %v", key, err)
		}
	}
	return known(layer{"flags", k.All()}, f)
}

// known names every key of the layer that is no setting. A group with nothing in
// it is fine: that is what is left when all its lines are comments.
func known(l layer, f *faults) layer {
	var keys []string
	for _, s := range settings(new(Config)) {
		keys = append(keys, s.key)
	}
	for _, key := range slices.Sorted(maps.Keys(l.values)) {
		if slices.Contains(keys, key) {
			continue
		}
		members := slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return !strings.HasPrefix(k, key+".") })
		switch {
		case len(members) == 0:
			f.add(l.name, "%s is not a setting; the nearest is %s", key, nearest(key, keys))
		case !empty(l.values[key]):
			f.add(l.name, "%s is a group of settings: %s", key, strings.Join(members, ", "))
		}
	}
	return l
}

func empty(v any) bool {
	m, group := v.(map[string]any)
	return v == nil || group && len(m) == 0
}

// nearest finds the word with the fewest letters to change; the first in
// alphabetical order when several are as near.
func nearest(word string, words []string) string {
	slices.Sort(words)
	return slices.MinFunc(words, func(a, b string) int { return edit.Distance(word, a) - edit.Distance(word, b) })
}

// faults collects what is wrong in all sources.
type faults []string

func (f *faults) add(source, format string, args ...any) {
	*f = append(*f, source+": "+fmt.Sprintf(format, args...))
}
