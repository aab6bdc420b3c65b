package config

import (
	"fmt"
	"reflect"
	"strings"
)

// Explained is one setting as it is in force.
type Explained struct {
	Key    string `json:"key"`
	Value  string `json:"value"`  // without passwords
	Source string `json:"source"` // "default", "file PATH", "environment (NAME)" or "flags"
	Help   string `json:"help"`
}

// Explain lists every setting in the order of the example file, for doctor.
func (c *Config) Explain() []Explained {
	return append([]Explained(nil), c.explained...)
}

// show fills in the values once all are derived.
func (c *Config) show() {
	for i, s := range settings(c) {
		value := fmt.Sprint(s.field.Interface())
		if s.field.Kind() == reflect.Slice {
			value = strings.ReplaceAll(strings.Trim(value, "[]"), " ", ", ")
		}
		c.explained[i].Value = value
	}
}

// Example is a file with every setting as a comment, made from the struct, so
// that it cannot say anything else. docs/purser.example.yaml is a copy.
func Example() string {
	var b strings.Builder
	b.WriteString("# Settings of Purser. Each is shown with its default; remove the # to set it.\n" +
		"# The environment wins over this file (PURSER_LOG_LEVEL is log.level), flags win over both.\n")
	var groups []string // that the last line was in
	for _, s := range settings(new(Config)) {
		path := strings.Split(s.key, ".")
		name, path := path[len(path)-1], path[:len(path)-1]
		indent := strings.Repeat("  ", len(path))
		if len(path) == 0 {
			b.WriteString("\n")
		}
		for i, g := range path {
			if i < len(groups) && groups[i] == g {
				continue
			}
			groups = groups[:min(i, len(groups))]
			if i == 0 {
				b.WriteString("\n")
			}
			fmt.Fprintf(&b, "%s%s:\n", strings.Repeat("  ", i), g)
			groups = append(groups, g)
		}
		fmt.Fprintf(&b, "%s# %s\n", indent, s.help)
		fmt.Fprintf(&b, "%s#%s\n", indent, strings.TrimRight(name+": "+s.def, " "))
	}
	return b.String()
}
