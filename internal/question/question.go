// Package question turns a provider's JSON Schema into the questions of a form, and what a person typed into the values that it wants. It does no I/O.
package question

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/catalog"
)

// JSON is the type of a question whose answer is typed as JSON: what the schema
// leaves open, or nests.
const JSON = "json"

// maxText bounds each text of a provider, in bytes; maxQuestions and maxChoices how
// much of a schema becomes a form. More than that nobody answers.
const (
	maxText      = 300
	maxQuestions = 50
	maxChoices   = 100
)

// Of gives the questions of a schema (APP 9.8, 12.1), in the order in which it names
// them. What is required and not described is asked for as JSON.
func Of(schema []byte) ([]purser.Question, error) {
	var s app.Schema
	if err := json.Unmarshal(schema, &s); err != nil {
		return nil, fmt.Errorf("reading a schema: %w", err)
	}
	names, err := ordered(schema)
	if err != nil {
		return nil, err
	}
	formats := formatsOf(schema)
	for _, name := range s.Required {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) > maxQuestions {
		return nil, fmt.Errorf("reading a schema: it asks %d things", len(names))
	}
	questions := make([]purser.Question, len(names))
	for i, name := range names {
		q := ask(name, s.Properties[name])
		q.Required = slices.Contains(s.Required, name)
		if q.Type == "string" {
			q.Format = formats[name]
		}
		questions[i] = q
	}
	return questions, nil
}

func ask(name string, p app.Property) purser.Question {
	q := purser.Question{
		Name: name, Title: catalog.Plain(p.Title, maxText), Description: catalog.Plain(p.Description, maxText), Type: JSON,
		Minimum: p.Minimum.String(), Maximum: p.Maximum.String(), Pattern: catalog.Plain(p.Pattern, maxText), Default: typed(p.Default),
	}
	if slices.Contains([]string{"string", "integer", "number", "boolean"}, p.Type) {
		q.Type = p.Type
	}
	if p.MinLength != nil {
		q.MinLength = *p.MinLength
	}
	if p.MaxLength != nil {
		q.MaxLength = *p.MaxLength
	}
	if len(p.Enum) <= maxChoices {
		for _, choice := range p.Enum {
			q.Choices = append(q.Choices, typed(choice))
		}
	}
	return q
}

// typed is a value as a person would type it.
func typed(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return catalog.Plain(v, maxText)
	}
	text, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(text)
}

// ordered are the names of a schema's properties as they stand in its text.
func ordered(schema []byte) ([]string, error) {
	top, err := app.Object(schema)
	if err != nil {
		return nil, fmt.Errorf("reading a schema: %w", err)
	}
	properties, there := top["properties"]
	if !there {
		return nil, nil
	}
	dec := json.NewDecoder(bytes.NewReader(properties))
	if _, err := dec.Token(); err != nil {
		return nil, fmt.Errorf("reading a schema: %w", err)
	}
	var names []string
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("reading a schema: %w", err)
		}
		text, _ := name.(string)
		if !slices.Contains(names, text) {
			names = append(names, text)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, fmt.Errorf("reading a schema: %w", err)
		}
	}
	return names, nil
}

func formatsOf(schema []byte) map[string]string {
	var s struct {
		Properties map[string]struct {
			Format string `json:"format"`
		} `json:"properties"`
	}
	_ = json.Unmarshal(schema, &s) // odd formats are none
	formats := map[string]string{}
	for name, p := range s.Properties {
		formats[name] = catalog.Plain(p.Format, 40)
	}
	return formats
}

// Read turns what a person typed into the value that the question wants. An empty
// line is the default; given is false when there is none and the answer may stay out.
// The error is a sentence for the person.
func Read(q purser.Question, text string) (value any, given bool, err error) {
	if text == "" {
		text = q.Default
	}
	if text == "" {
		if q.Required {
			return nil, false, fmt.Errorf("%s must be answered", q.Name)
		}
		return nil, false, nil
	}
	if value, err = convert(q, text); err != nil {
		return nil, false, err
	}
	if len(q.Choices) > 0 && !slices.Contains(q.Choices, typed(value)) {
		return nil, false, fmt.Errorf("%s must be one of %s", q.Name, strings.Join(q.Choices, ", "))
	}
	if err := formatted(q, text); err != nil {
		return nil, false, err
	}
	only := app.Service{Configuration: app.Schema{Properties: map[string]app.Property{q.Name: bounds(q)}}}
	if _, faults := app.Configure(only, map[string]any{q.Name: value}); len(faults) > 0 {
		return nil, false, errors.New(strings.Join(faults, "; "))
	}
	return value, true, nil
}

// bounds is what of a question app.Configure can check.
func bounds(q purser.Question) app.Property {
	p := app.Property{Minimum: json.Number(q.Minimum), Maximum: json.Number(q.Maximum), Pattern: q.Pattern}
	if q.Type != JSON {
		p.Type = q.Type
	}
	if q.MinLength > 0 {
		p.MinLength = &q.MinLength
	}
	if q.MaxLength > 0 {
		p.MaxLength = &q.MaxLength
	}
	return p
}

// Typed is a text as the type that a schema names, or the text itself where it is none.
func Typed(kind, text string) any {
	if !slices.Contains([]string{"integer", "number", "boolean"}, kind) {
		return text
	}
	v, err := convert(purser.Question{Type: kind}, text)
	if err != nil {
		return text
	}
	return v
}

func convert(q purser.Question, text string) (any, error) {
	switch q.Type {
	case "string":
		return text, nil
	case "integer":
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s must be a whole number", q.Name)
		}
		return json.Number(strconv.FormatInt(n, 10)), nil
	case "number":
		if _, err := strconv.ParseFloat(text, 64); err != nil || !json.Valid([]byte(text)) {
			return nil, fmt.Errorf("%s must be a number", q.Name)
		}
		return json.Number(text), nil
	case "boolean":
		switch strings.ToLower(text) {
		case "true", "yes", "y":
			return true, nil
		case "false", "no", "n":
			return false, nil
		}
		return nil, fmt.Errorf("%s must be yes or no", q.Name)
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil || dec.More() { // a plain word is meant as a text
		return text, nil
	}
	return v, nil
}

// formatted checks the formats that are known; others say nothing that could be wrong.
func formatted(q purser.Question, text string) error {
	bad := false
	switch q.Format {
	case "email":
		a, err := mail.ParseAddress(text)
		bad = err != nil || a.Address != text
	case "uri", "url":
		u, err := url.Parse(text)
		bad = err != nil || !u.IsAbs() || u.Host == "" && u.Opaque == ""
	case "date":
		_, err := time.Parse(time.DateOnly, text)
		bad = err != nil
	case "date-time":
		_, err := time.Parse(time.RFC3339, text)
		bad = err != nil
	}
	if bad {
		return fmt.Errorf("%s must be of the form %s", q.Name, example[q.Format])
	}
	return nil
}

var example = map[string]string{
	"email": "ann@example.org", "uri": "https://example.org/", "url": "https://example.org/", "date": "2026-05-31", "date-time": "2026-05-31T12:00:00Z",
}

// Faults holds answers against a schema, all at once: each fault is a sentence that
// names its member. The server decides by it, whatever a form has checked before.
func Faults(schema []byte, answers map[string]any) ([]string, error) {
	questions, err := Of(schema)
	if err != nil {
		return nil, err
	}
	var s app.Schema
	if err := json.Unmarshal(schema, &s); err != nil {
		return nil, fmt.Errorf("reading a schema: %w", err)
	}
	_, faults := app.Configure(app.Service{Configuration: s}, answers)
	for _, q := range questions {
		text, isText := answers[q.Name].(string)
		if !isText {
			continue
		}
		if err := formatted(q, text); err != nil {
			faults = append(faults, err.Error())
		}
	}
	slices.Sort(faults)
	return faults, nil
}
