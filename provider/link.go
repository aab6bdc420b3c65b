package provider

import (
	"encoding/json"
	"slices"

	"github.com/purser-dev/purser/app"
)

// link takes an existing instance over (12.4). It is a create whose work is done
// by another hook, and which first asks for the instance.
func (c *call) link() error {
	if err := c.createProofs(); err != nil {
		return err
	}
	if c.p.cfg.Hooks.Link == nil {
		return Errorf(app.CodeUnsupportedOperation, "linking existing resources is not offered")
	}
	in, err := c.createInput(true)
	if err != nil {
		return err
	}
	return c.createOnce(in)
}

// required names the members that a JSON Schema requires.
func required(schema []byte) []string {
	var s struct {
		Required []string `json:"required"`
	}
	if json.Unmarshal(schema, &s) != nil {
		return nil
	}
	return s.Required
}

// missing are the required members that were not given, or given empty.
func missing(schema []byte, given map[string]any) []string {
	return slices.DeleteFunc(required(schema), func(name string) bool {
		value, ok := given[name]
		return ok && value != nil && value != ""
	})
}
