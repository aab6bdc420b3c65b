package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/client"
	"github.com/purser-dev/purser/provider/providertest"
)

// conformed is what the suite found.
type conformed struct {
	Provider string                `json:"provider"` // its base URL
	Profile  string                `json:"profile"`
	Passed   int                   `json:"passed"`
	Failed   int                   `json:"failed"`
	Skipped  int                   `json:"skipped"`
	Unknown  []string              `json:"unknown,omitempty"` // patterns of --only that name no case
	Results  []providertest.Result `json:"results"`
}

// conformanceFlags are what is typed beside the URL.
type conformanceFlags struct {
	secret, profile, input, junit string
	record                        string // name of the provider at a server of ours
	only                          []string
	interop                       bool
}

func (s *session) conformance() *cobra.Command {
	var f conformanceFlags
	cmd := &cobra.Command{
		Use: "conformance URL", Short: "Tell a provider's author what its APP does wrong", Args: needs("URL"),
		Long: "Run the conformance suite of APP 0.1d against a provider, by the URL of its manifest or by its base URL.\n\n" +
			"The suite makes accounts and resources there, and removes the resources. Each failure shows the request, what was expected and by\n" +
			"which section, and what came instead. What the manifest does not tell (payment tokens, an email that has an account, test hooks)\n" +
			"comes from a JSON file, see --input; a case that lacks what it needs is skipped and says so. Nothing goes through a server of Purser.",
		Example: "  purser conformance http://localhost:7801/manifest.json --secret-file secret.txt\n" +
			"  purser conformance https://vendor.example/app/ --secret-file secret.txt --only 'A*,R50' --junit report.xml",
	}
	cmd.Flags().StringVar(&f.secret, "secret-file", "", "file with the signing secret that the provider knows (needed, but for --profile generic)")
	cmd.Flags().StringVar(&f.profile, "profile", providertest.Purser, "how to show oneself: purser, stripe or generic")
	cmd.Flags().StringVar(&f.input, "input", "", "JSON file with what the manifest does not tell, e.g. {\"payment_token\": \"...\", \"existing_email\": \"...\"}")
	cmd.Flags().StringSliceVar(&f.only, "only", nil, "run only these cases, e.g. A*,R50")
	cmd.Flags().StringVar(&f.junit, "junit", "", "also write a JUnit XML report to this file")
	cmd.Flags().BoolVar(&f.interop, "interop", false, "tolerate what other implementations are known to do")
	cmd.Flags().StringVar(&f.record, "record", "", "keep the result with this provider at the server; asks for the passphrase")
	cmd.RunE = does(s, func(ctx context.Context, args []string) (conformed, error) {
		if f.record != "" && len(f.only) > 0 {
			return conformed{}, misused(cmd, "only a whole run is recorded: --record goes without --only")
		}
		c, err := s.conformanceConfig(ctx, cmd, args[0], f)
		if err != nil {
			return conformed{}, err
		}
		v, err := s.conform(ctx, c, f.junit)
		if f.record != "" && len(v.Results) > 0 {
			if kept := s.keepConformance(ctx, f.record, v); kept != nil {
				return v, kept
			}
		}
		return v, err
	}, showConformed)
	return cmd
}

// keepConformance has the server remember a run. A provider that passed the cases
// of duplicates may be sent an order again, so a person signs it (RULES 16).
func (s *session) keepConformance(ctx context.Context, name string, v conformed) error {
	in := purser.RecordConformance{
		Provider: name, Passed: v.Failed == 0 && v.Passed > 0, SafeResend: (providertest.Report{Results: v.Results}).SafeToResend(), Operations: byOperation(v.Results),
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	key, err := c.NewKey()
	if err != nil {
		return err
	}
	ctx = client.WithKey(ctx, key)
	_, err = signed(ctx, s, c, "record_conformance", in, func(in *purser.RecordConformance, a *purser.Signature) { in.Act = a }, c.RecordConformance)
	return err
}

// byOperation sums the cases up by what they are about: failed if one failed,
// passed if one passed, else skipped.
func byOperation(results []providertest.Result) map[string]string {
	about := map[byte]string{
		'S': "signatures and versions", 'A': "account requests", 'T': "token", 'R': "resources", 'U': "update", 'X': "rotate", 'D': "deep links",
		'L': "limits", 'C': "catalog", 'E': "end to end", 'G': "generic profile", 'Q': "quotes", 'F': "find", 'M': "many at once",
	}
	out := map[string]string{}
	for _, r := range results {
		name := about[r.ID[0]]
		if name == "" {
			name = "other"
		}
		if now := out[name]; now != providertest.Failed && (r.Outcome == providertest.Failed || now != providertest.Passed) {
			out[name] = r.Outcome
		}
	}
	return out
}

// conformanceConfig puts together the manifest, the input file, the flags and the
// catalog; what a person wrote wins over what the provider says.
func (s *session) conformanceConfig(ctx context.Context, cmd *cobra.Command, from string, f conformanceFlags) (c providertest.Config, err error) {
	if f.profile != providertest.Purser && f.profile != providertest.Stripe && f.profile != providertest.Generic {
		return c, misused(cmd, "--profile is purser, stripe or generic, not %q", f.profile)
	}
	if err := app.CheckURL(from); err != nil {
		return c, misused(cmd, "%q is not an https URL, or http of this machine", from)
	}
	c = s.described(ctx, from)
	if f.input != "" {
		text, err := os.ReadFile(s.path(f.input))
		if err != nil {
			return c, purser.Errorf(purser.InvalidRequest, "%s cannot be read", f.input).WithCause(err)
		}
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.DisallowUnknownFields() // a misspelt name would only skip cases
		if err := dec.Decode(&c); err != nil {
			return c, purser.Errorf(purser.InvalidRequest, "%s is not a JSON object of the suite's inputs: %v", f.input, err)
		}
	}
	c.Only, c.Interop = f.only, c.Interop || f.interop
	if cmd.Flags().Changed("profile") || c.Profile == "" {
		c.Profile = f.profile
	}
	if no := unmatched(c); len(no) > 0 && len(no) == len(c.Only) {
		return c, misused(cmd, "--only %s names no case of profile %s", strings.Join(no, ","), c.Profile)
	}
	if f.secret != "" {
		text, err := os.ReadFile(s.path(f.secret))
		if err != nil {
			return c, purser.Errorf(purser.InvalidRequest, "%s cannot be read", f.secret).WithCause(err)
		}
		c.SigningSecret = strings.TrimSpace(string(text))
	}
	if c.Profile == providertest.Generic {
		return c, nil
	}
	if c.SigningSecret == "" {
		return c, misused(cmd, "--secret-file is needed: the suite signs as an orchestrator that the provider knows")
	}
	found, err := providertest.Discover(ctx, c)
	var lost *app.Error
	switch {
	case err == nil:
		return found, nil
	case errors.As(err, &lost) && lost.HTTPStatus == 0:
		return c, purser.Errorf(purser.ProviderDown, "nothing answers at %s", c.BaseURL).WithCause(err).
			WithHint("is it up? give the URL of its manifest, or its base URL")
	}
	return c, nil // the suite itself tells what is wrong with the catalog
}

// unmatched are the patterns that name no case: a misspelt one only runs less.
func unmatched(c providertest.Config) []string {
	return slices.DeleteFunc(slices.Clone(c.Only), func(pattern string) bool {
		return slices.ContainsFunc(providertest.CaseIDs(), func(id string) bool {
			ok, err := path.Match(pattern, id)
			return err == nil && ok && (c.Profile == providertest.Generic) == strings.HasPrefix(id, "G")
		})
	})
}

// described reads a manifest; what is none is taken for a base URL.
func (s *session) described(ctx context.Context, from string) providertest.Config {
	if text, err := s.manifest(ctx, from); err == nil {
		if m, err := app.ParseManifest([]byte(text)); err == nil {
			return providertest.FromManifest(m)
		}
	}
	base := strings.TrimRight(from, "/") + "/"
	return providertest.Config{BaseURL: base, TokenURL: base + "oauth/token"}
}

func (s *session) conform(ctx context.Context, c providertest.Config, junit string) (conformed, error) {
	report := providertest.Run(ctx, c)
	v := conformed{
		Provider: c.BaseURL, Profile: c.Profile, Results: report.Results, Unknown: unmatched(c),
		Passed: len(report.IDs(providertest.Passed)), Failed: len(report.IDs(providertest.Failed)), Skipped: len(report.IDs(providertest.Skipped)),
	}
	if junit != "" {
		var b bytes.Buffer
		if err := report.WriteJUnit(&b); err != nil {
			return v, err
		}
		if err := writeFile(s.path(junit), b.Bytes(), 0o644); err != nil {
			return v, err
		}
	}
	if report.OK() {
		return v, nil
	}
	bad := purser.Errorf(purser.ProviderFailure, "%d of %d cases failed", v.Failed, v.Failed+v.Passed).
		WithHint("each failure above names the section of APP 0.1d; run one alone with --only ID")
	if v.Failed == 0 {
		bad = purser.Errorf(purser.InvalidRequest, "no case could run: %d were skipped", v.Skipped).WithHint("each says above what it needs: --input")
	}
	return v, &failure{error: bad, data: v, text: func(p *page) { showConformed(p, v) }}
}

func showConformed(p *page, v conformed) {
	for _, r := range v.Results {
		if r.Outcome == providertest.Passed {
			continue
		}
		p.line("%-7s %-4s %s (APP %s)", r.Outcome, r.ID, r.Title, r.Section)
		for line := range strings.SplitSeq(r.Detail, "\n") {
			p.line("        %s", line)
		}
	}
	for _, pattern := range v.Unknown {
		p.line("no case of this profile is named %s", pattern)
	}
	p.line("%s", fmt.Sprintf("%s: %d passed, %d failed, %d skipped", v.Provider, v.Passed, v.Failed, v.Skipped))
}
