package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"path"
	"reflect"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/form"
	"github.com/purser-dev/purser/internal/office"
)

// Document writes the OpenAPI 3.1 document of the operations and the streams.
func Document(ops []office.Operation, version string) ([]byte, error) {
	d := document{form.NewSchemas("#/components/schemas/"), &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title: "Purser", Version: version,
			Description: "A purser keeps an agent's money: budgets, plans, approvals, orders, stops and the record of all of them. " +
				"Amounts are integers in minor units; times are RFC 3339 in UTC; failures are RFC 9457 problems whose code programs can rely on.",
		},
		Components: &huma.Components{
			SecuritySchemes: map[string]*huma.SecurityScheme{"bearer": {Type: "http", Scheme: "bearer"}},
		},
	}}
	for _, op := range ops {
		d.add(op)
	}
	d.addStreams()
	d.api.Components.Schemas = d.schemas.Registry()
	text, err := json.Marshal(d.api)
	if err != nil {
		return nil, fmt.Errorf("writing the OpenAPI document: %w", err)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", "  "); err != nil {
		return nil, fmt.Errorf("writing the OpenAPI document: %w", err)
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

type document struct {
	schemas *form.Schemas
	api     *huma.OpenAPI
}

// who tells in words which credential an operation takes.
var who = map[purser.Who]string{
	purser.Anyone:     "Needs no credential.",
	purser.People:     "Needs a person's credential.",
	purser.Spenders:   "Needs an agent's or a platform's credential. An agent's that a stop or the end of its run took gets the answers of before, and says what a begun hold cost.",
	purser.Agents:     "Needs a person's or an agent's credential.",
	purser.Bearers:    "Needs a person's, an agent's or a platform's credential.",
	purser.Providers:  "Needs a provider's key.",
	purser.MayApprove: "Needs the credential of a person with the role owner or approver.",
	purser.Owners:     "Needs the credential of a person with the role owner.",
}

func (d document) add(op office.Operation) {
	o := d.operation(op.Method, op.Path, op.Name, op.Summary, op.Who)
	if op.Loosens {
		o.Description += " Loosens a control, at least in some cases: then a person signs it (operation ask_act)."
	}
	in := form.Members(op.In)
	taken := pathMembers(op.Path)
	for _, name := range taken {
		o.Parameters = append(o.Parameters, &huma.Param{Name: name, In: "path", Required: true, Schema: d.member(op.In, name)})
	}
	if op.Changes {
		longest := 255
		shortest := 1
		o.Parameters = append(o.Parameters, &huma.Param{
			Name: "Idempotency-Key", In: "header", Required: true,
			Description: "The same key never does the same thing twice.",
			Schema:      &huma.Schema{Type: huma.TypeString, MinLength: &shortest, MaxLength: &longest, Pattern: "^[!-~]+$"},
		})
	}
	if op.Method == http.MethodGet {
		for _, name := range slices.Sorted(maps.Keys(in)) {
			if !slices.Contains(taken, name) {
				o.Parameters = append(o.Parameters, &huma.Param{Name: name, In: "query", Required: !in[name].Optional, Schema: d.member(op.In, name)})
			}
		}
	} else if len(in) > len(taken) {
		o.RequestBody = d.body(op.In, taken)
	}
	o.Responses["200"] = &huma.Response{Description: "OK", Content: content("application/json", d.schemas.Of(op.Out))}
	d.api.AddOperation(o)
}

func (d document) operation(method, path, name, summary string, by purser.Who) *huma.Operation {
	o := &huma.Operation{
		Method: method, Path: path, OperationID: name, Summary: summary, Description: who[by],
		Responses: map[string]*huma.Response{
			"default": {Description: "A problem", Content: content("application/problem+json", d.problem())},
		},
	}
	if by != purser.Anyone {
		o.Security = []map[string][]string{{"bearer": {}}}
	}
	return o
}

func content(kind string, s *huma.Schema) map[string]*huma.MediaType {
	return map[string]*huma.MediaType{kind: {Schema: s}}
}

// schema is a struct's own schema, not the reference to it.
func (d document) schema(t reflect.Type) *huma.Schema {
	return d.schemas.Registry().Map()[path.Base(d.schemas.Of(t).Ref)]
}

func (d document) member(t reflect.Type, name string) *huma.Schema {
	return d.schema(t).Properties[name]
}

// body is the input without what the path names; where that leaves the whole
// struct, a reference says it.
func (d document) body(t reflect.Type, taken []string) *huma.RequestBody {
	s := d.schemas.Of(t)
	if len(taken) > 0 {
		rest := *d.schema(t)
		rest.Properties = maps.Clone(rest.Properties)
		maps.DeleteFunc(rest.Properties, func(name string, _ *huma.Schema) bool { return slices.Contains(taken, name) })
		rest.Required = slices.DeleteFunc(slices.Clone(rest.Required), func(name string) bool { return slices.Contains(taken, name) })
		s = &rest
	}
	return &huma.RequestBody{Required: len(d.required(t, taken)) > 0, Content: content("application/json", s)}
}

func (d document) required(t reflect.Type, taken []string) []string {
	return slices.DeleteFunc(slices.Clone(d.schema(t).Required), func(name string) bool { return slices.Contains(taken, name) })
}

// problem describes what each failure looks like, with the whole table of codes.
func (d document) problem() *huma.Schema {
	all := d.schemas.Registry().Map()
	if all["Problem"] == nil {
		s := *d.schema(reflect.TypeFor[purser.Error]())
		s.Properties = maps.Clone(s.Properties)
		var codes, classes []any
		for _, c := range purser.Codes() {
			codes = append(codes, string(c.Code))
			if !slices.Contains(classes, any(string(c.Class))) {
				classes = append(classes, string(c.Class))
			}
		}
		s.Properties["code"] = &huma.Schema{Type: huma.TypeString, Enum: codes}
		s.Properties["class"] = &huma.Schema{Type: huma.TypeString, Enum: classes, Description: "what the caller can do about it"}
		s.Properties["type"] = &huma.Schema{Type: huma.TypeString, Format: "uri"}
		s.Properties["title"] = &huma.Schema{Type: huma.TypeString}
		s.Properties["status"] = &huma.Schema{Type: huma.TypeInteger}
		s.Properties["retry_after"] = &huma.Schema{Type: huma.TypeInteger, Description: "seconds"}
		s.Required = []string{"type", "title", "status", "detail", "code", "class"}
		s.AdditionalProperties = true // RFC 9457 section 3.2: readers ignore what they do not know
		all["Problem"] = &s
	}
	return &huma.Schema{Ref: "#/components/schemas/Problem"}
}

func (d document) addStreams() {
	up := d.operation(http.MethodPost, "/v1/blobs", "put_blobs", "Upload the files that stage said are missing.", purser.Agents)
	up.Description += " The body is a tar stream of regular files, each named by the SHA-256 of its content in lower hexadecimal. Sending a file twice is harmless."
	binary := &huma.Schema{Type: huma.TypeString, ContentEncoding: "binary"}
	up.RequestBody = &huma.RequestBody{Required: true, Content: content("application/x-tar", binary)}
	up.Responses["200"] = &huma.Response{Description: "OK", Content: content("application/json", d.schemas.Of(reflect.TypeFor[Uploaded]()))}
	d.api.AddOperation(up)

	down := d.operation(http.MethodGet, "/v1/audit/export", "export_audit", "Export the whole audit log as JSON lines or OCSF events, or what was spent as FOCUS rows.", purser.People)
	down.Description += " A connection that breaks off means that the export is incomplete."
	in := reflect.TypeFor[purser.ExportAudit]()
	down.Parameters = []*huma.Param{{Name: "format", In: "query", Schema: d.member(in, "format")}, {Name: "log", In: "query", Schema: d.member(in, "log")}}
	down.Responses["200"] = &huma.Response{Description: "OK", Content: content("application/jsonl", &huma.Schema{Type: huma.TypeString})}
	down.Responses["200"].Content["text/csv"] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
	d.api.AddOperation(down)

	watch := d.operation(http.MethodGet, "/v1/events", "events", "Watch what happens, as server-sent events.", purser.Agents)
	watch.Description += " Each event's data is an Event, and its id the record's number: come back with Last-Event-ID, or after, and nothing is missed of the last " +
		"10,000 records. An event without data only says how far the stream has come. An agent is told of its own run and of stops that cover it."
	watch.Parameters = []*huma.Param{
		{Name: "after", In: "query", Schema: d.member(reflect.TypeFor[purser.AskEvents](), "after")},
		{Name: "Last-Event-ID", In: "header", Schema: &huma.Schema{Type: huma.TypeInteger}},
	}
	d.schemas.Of(reflect.TypeFor[purser.Event]())
	watch.Responses["200"] = &huma.Response{Description: "OK", Content: content("text/event-stream", &huma.Schema{Type: huma.TypeString})}
	d.api.AddOperation(watch)
}
