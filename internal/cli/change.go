package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/client"
	"github.com/purser-dev/purser/internal/question"
)

// change is update, upgrade and downgrade: one command in three directions.
func (s *session) change(name, short string, call func(*client.Client, context.Context, purser.UpdateResource) (purser.Plan, error)) *cobra.Command {
	var in purser.UpdateResource
	var ceiling, currency string
	var set []string
	cmd := s.changing(&cobra.Command{
		Use: name + " RESOURCE", Short: short, Args: needs("RESOURCE"),
		Long:    short + ". It is planned like a purchase: what it costs is held first, and a person is asked where a person must be.",
		Example: "  purser " + name + " site --service local/hosting:pro\n  purser " + name + " res_01jd... --service local/hosting:pro --set region=eu --dry-run",
	})
	f := cmd.Flags()
	becomes := "what it becomes: a service of the same provider"
	if name == "update" {
		becomes += " (default: the same)"
	}
	f.StringVar(&in.Service, "service", "", becomes)
	f.StringArrayVar(&set, "set", nil, "configuration, KEY=VALUE")
	f.StringVar(&ceiling, "ceiling", "", "most it may cost where the price is no number")
	f.StringVar(&currency, "currency", "USD", "currency of amounts that name none")
	f.StringVar(&in.Purpose, "purpose", "", "what it is for; shown to the person who approves, quoted")
	f.StringVar(&in.Run, "run", "", "run (default: the agent's own; a person's opens one)")
	f.BoolVar(&in.DryRun, "dry-run", false, "show the plan and change nothing")
	cmd.RunE = does(s, func(ctx context.Context, args []string) (plan purser.Plan, err error) {
		in.Resource = args[0]
		if in.Configuration, err = settings(set); err != nil {
			return plan, err
		}
		if ceiling != "" {
			most, err := amount(ceiling, currency)
			if err != nil {
				return plan, err
			}
			in.Ceiling = &most
		}
		if in.Project, err = s.projectOf(in.Resource, in.Project); err != nil {
			return plan, err
		}
		ctx, c, err := s.keyedClient(ctx)
		if err != nil {
			return plan, err
		}
		if plan, err = call(c, ctx, in); err != nil || in.DryRun {
			return plan, err
		}
		return s.ended(ctx, c, plan)
	}, s.showBought(&in.DryRun))
	return place(cmd, &in.Project, &in.Env)
}

// settings reads KEY=VALUE pairs.
func settings(pairs []string) (map[string]any, error) {
	if len(pairs) == 0 {
		return nil, nil
	}
	out := map[string]any{}
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, purser.Errorf(purser.InvalidRequest, "--set %q is not of the form key=value", pair).WithHint("--set domain=superseal.club")
		}
		out[key] = value
	}
	return out, nil
}

// projectOf is the project in which a name is looked up; an identifier needs none.
func (s *session) projectOf(resource, named string) (string, error) {
	if named == "" && purser.ValidID(purser.PrefixResource, resource) {
		return "", nil
	}
	return s.project(named)
}

func (s *session) rotate() *cobra.Command {
	var in purser.ResourceRef
	cmd := s.changing(&cobra.Command{
		Use: "rotate RESOURCE", Short: "Replace a resource's credentials", Args: needs("RESOURCE"),
		Example: "  purser rotate notes\n  purser rotate res_01jd...",
		RunE: does(s, func(ctx context.Context, args []string) (v purser.Rotation, err error) {
			in.Resource = args[0]
			if in.Project, err = s.projectOf(in.Resource, in.Project); err != nil {
				return v, err
			}
			ctx, c, err := s.keyedClient(ctx)
			if err != nil {
				return v, err
			}
			return c.Rotate(ctx, in)
		}, func(p *page, v purser.Rotation) {
			switch {
			case !v.Rotated:
				p.line("%s does not offer it; the credential of %s stays as it is", v.Resource.Provider, v.Resource.Name)
			case v.PreviousValidUntil != nil:
				p.line("%s has new credentials; the old ones work until %s", v.Resource.Name, clock(*v.PreviousValidUntil))
			default:
				p.line("%s has new credentials; the old ones are dead", v.Resource.Name)
			}
		}),
	})
	return place(cmd, &in.Project, &in.Env)
}

func (s *session) link() *cobra.Command {
	var in purser.LinkProvider
	var set []string
	cmd := s.changing(&cobra.Command{
		Use: "link PROVIDER", Short: "Plan and apply the linking of an account at a provider", Args: needs("PROVIDER"),
		Long:    "Link an account at a provider. What is shared and which terms are accepted stands in the plan, and a person approves it.",
		Example: "  purser link local\n  purser link vendor --set region=EU",
	})
	cmd.Flags().StringArrayVar(&set, "set", nil, "configuration of the account, KEY=VALUE")
	cmd.Flags().StringVar(&in.Run, "run", "", "run (default: the agent's own; a person's opens one)")
	cmd.Flags().BoolVar(&in.DryRun, "dry-run", false, "show the plan and link nothing")
	cmd.RunE = does(s, func(ctx context.Context, args []string) (plan purser.Plan, err error) {
		in.Provider = args[0]
		if in.Configuration, err = settings(set); err != nil {
			return plan, err
		}
		if in.Project, err = s.project(in.Project); err != nil {
			return plan, err
		}
		ctx, c, err := s.keyedClient(ctx)
		if err != nil {
			return plan, err
		}
		if plan, err = c.Link(ctx, in); err != nil || in.DryRun {
			return plan, err
		}
		return s.ended(ctx, c, plan)
	}, s.showBought(&in.DryRun))
	return place(cmd, &in.Project, &in.Env)
}

func (s *session) unlink() *cobra.Command {
	var in purser.UnlinkProvider
	cmd := s.changing(&cobra.Command{
		Use: "unlink PROVIDER", Short: "Plan and apply forgetting the account at a provider", Args: needs("PROVIDER"),
		Long: "Forget the account at a provider. What lives there stays there, and cannot be managed until it is linked again; so a\n" +
			"person approves it.",
		Example: "  purser unlink local",
	})
	cmd.Flags().StringVar(&in.Run, "run", "", "run (default: the agent's own; a person's opens one)")
	cmd.Flags().StringVar(&in.Purpose, "purpose", "", "what it is for; shown to the person who approves, quoted")
	cmd.Flags().BoolVar(&in.DryRun, "dry-run", false, "show the plan and forget nothing")
	cmd.RunE = does(s, func(ctx context.Context, args []string) (plan purser.Plan, err error) {
		in.Provider = args[0]
		if in.Project, err = s.project(in.Project); err != nil {
			return plan, err
		}
		ctx, c, err := s.keyedClient(ctx)
		if err != nil {
			return plan, err
		}
		if plan, err = c.Unlink(ctx, in); err != nil || in.DryRun {
			return plan, err
		}
		return s.ended(ctx, c, plan)
	}, s.showBought(&in.DryRun))
	return place(cmd, &in.Project, &in.Env)
}

func (s *session) open() *cobra.Command {
	var in purser.OpenLink
	cmd := &cobra.Command{
		Use: "open PROVIDER", Short: "Print a page of a provider on which you are signed in; asks for your signature", Args: needs("PROVIDER"),
		Long:    "Print a single-use page of a provider. Whoever opens it is signed in there, so it asks for the passphrase.",
		Example: "  purser open local\n  purser open vendor --path /billing",
	}
	cmd.Flags().StringVar(&in.Purpose, "purpose", "", "which page (default: dashboard)")
	cmd.Flags().StringVar(&in.Path, "path", "", "where on it, beginning with /")
	cmd.RunE = does(s, func(ctx context.Context, args []string) (v purser.Link, err error) {
		in.Provider = args[0]
		c, err := s.client()
		if err != nil {
			return v, err
		}
		return signedIfAsked(ctx, s, c, "open", in, func(in *purser.OpenLink, a *purser.Signature) { in.Act = a }, c.Open)
	}, func(p *page, v purser.Link) { p.line("%s", v.URL) })
	return cmd
}

func (s *session) proposeOpen() *cobra.Command {
	var in purser.ProposeOpen
	cmd := s.changing(&cobra.Command{
		Use: "propose-open PROVIDER", Short: "Ask the people to open a page of a provider", Args: needs("PROVIDER"),
		Long: "Ask the people to open a page of a provider, as an agent does: whoever opens it is signed in there, so the link goes to a\n" +
			"person only. They are told the command to type.",
		Example: "  purser propose-open vendor --path /billing --why 'the card has to be replaced'",
	})
	cmd.Flags().StringVar(&in.Page, "page", "", "which page (default: dashboard)")
	cmd.Flags().StringVar(&in.Path, "path", "", "where on it, beginning with /")
	cmd.Flags().StringVar(&in.Why, "why", "", "why it should be opened; shown quoted")
	cmd.RunE = does(s, func(ctx context.Context, args []string) (v purser.Accepted, err error) {
		in.Provider = args[0]
		ctx, c, err := s.keyedClient(ctx)
		if err != nil {
			return v, err
		}
		return c.ProposeOpen(ctx, in)
	}, func(p *page, _ purser.Accepted) { p.line("the people are told") })
	return cmd
}

func (s *session) adopt() *cobra.Command {
	var in purser.Adopt
	cmd := s.changing(&cobra.Command{
		Use: "adopt PROVIDER ID --service SERVICE", Short: "Plan and apply taking in a resource that is at a provider already", Args: needs("PROVIDER", "ID"),
		Long: "Take in a resource that is at the provider already, by its exact identifier there. It is read back; nothing is bought.\n" +
			"Its credentials become ours to hand out, so a person approves it.",
		Example: "  purser adopt local res_7fd2 --service local/mail:inbox --name inbox",
	})
	cmd.Flags().StringVar(&in.Service, "service", "", "the provider's service it is one of")
	cmd.Flags().StringVar(&in.Name, "name", "", "its name here (default: after the service)")
	cmd.Flags().StringVar(&in.Run, "run", "", "run (default: the agent's own; a person's opens one)")
	cmd.Flags().StringVar(&in.Purpose, "purpose", "", "what it is for; shown to the person who approves, quoted")
	cmd.Flags().BoolVar(&in.DryRun, "dry-run", false, "show the plan and take nothing in")
	cmd.RunE = does(s, func(ctx context.Context, args []string) (plan purser.Plan, err error) {
		in.Provider, in.ProviderID = args[0], args[1]
		if in.Service == "" {
			return plan, misused(cmd, "which service is it? --service SERVICE")
		}
		if in.Project, err = s.project(in.Project); err != nil {
			return plan, err
		}
		ctx, c, err := s.keyedClient(ctx)
		if err != nil {
			return plan, err
		}
		if plan, err = c.Adopt(ctx, in); err != nil || in.DryRun {
			return plan, err
		}
		return s.ended(ctx, c, plan)
	}, s.showBought(&in.DryRun))
	return place(cmd, &in.Project, &in.Env)
}

func (s *session) agree() *cobra.Command {
	return &cobra.Command{
		Use: "consent ORDER", Short: "Print the page on which you agree with a provider", Args: needs("ORDER"),
		Long:    "Print the page on which you sign in at a provider and agree, for an order that waits for it. It opens once, within five minutes.",
		Example: "  purser consent ord_01jd...",
		RunE: does(s, func(ctx context.Context, args []string) (v purser.Link, err error) {
			c, err := s.client()
			if err != nil {
				return v, err
			}
			return c.ConsentPage(ctx, args[0])
		}, func(p *page, v purser.Link) { p.line("%s", v.URL) }),
	}
}

func (s *session) inform() *cobra.Command {
	var set []string
	cmd := s.changing(&cobra.Command{
		Use: "inform ORDER", Short: "Answer what a provider asked for; asks for your signature", Args: needs("ORDER"),
		Long: "Answer what a provider asked for before it goes on with an order. Each question is asked on the terminal, or answered by\n" +
			"--set. It hands data out, so it asks for the passphrase.",
		Example: "  purser inform ord_01jd...\n  purser inform ord_01jd... --set company=Analytical",
	})
	cmd.Flags().StringArrayVar(&set, "set", nil, "an answer, KEY=VALUE; nothing else is asked then")
	cmd.RunE = does(s, func(ctx context.Context, args []string) (v purser.Order, err error) {
		ctx, c, err := s.keyedClient(ctx)
		if err != nil {
			return v, err
		}
		order, err := c.ShowOrder(ctx, purser.OrderRef{Order: args[0]})
		if err != nil {
			return v, err
		}
		if len(order.Questions) == 0 {
			return v, purser.Errorf(purser.InvalidState, "the provider of order %s asks for nothing", order.ID).WithHint("purser status")
		}
		in := purser.Inform{Order: order.ID}
		if in.Information, err = s.answers(ctx, order, set); err != nil {
			return v, err
		}
		return signed(ctx, s, c, "inform", in, func(in *purser.Inform, a *purser.Signature) { in.Act = a }, c.Inform)
	}, func(p *page, v purser.Order) { p.line("order %s is %s", v.ID, v.State) })
	return cmd
}

// answers are what is told for an order: what --set gives, else what a person types.
func (s *session) answers(ctx context.Context, order purser.Order, set []string) (map[string]any, error) {
	if len(set) == 0 {
		return s.form(ctx, order.Questions)
	}
	given, err := settings(set)
	if err != nil {
		return nil, err
	}
	told := map[string]any{}
	for _, q := range order.Questions {
		text, there := given[q.Name].(string)
		delete(given, q.Name)
		if !there && q.Default == "" && !q.Required {
			continue
		}
		value, answered, err := question.Read(q, text)
		if err != nil {
			return nil, purser.Errorf(purser.InvalidRequest, "%s", err)
		}
		if answered {
			told[q.Name] = value
		}
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		return nil, purser.Errorf(purser.InvalidRequest, "the provider does not ask for %q", name).WithHint("purser inform %s", order.ID)
	}
	return told, nil
}

// form asks each question on the terminal, and again until its answer fits.
func (s *session) form(ctx context.Context, questions []purser.Question) (map[string]any, error) {
	t, err := s.person("what the provider asks for")
	if err != nil {
		var names []string
		for _, q := range questions {
			names = append(names, "--set "+q.Name+"=…")
		}
		return nil, purser.Errorf(purser.NeedsPerson, "the provider asks for %d things", len(questions)).WithHint("%s", strings.Join(names, " "))
	}
	defer t.Close()
	told := map[string]any{}
	for _, q := range questions {
		for {
			text, err := t.Line(ctx, prompt(q))
			if err != nil {
				return nil, err
			}
			value, answered, err := question.Read(q, text)
			if err != nil {
				t.Note(err.Error())
				continue
			}
			if answered {
				told[q.Name] = value
			}
			break
		}
	}
	return told, nil
}

// prompt is a question on one line of a terminal; its words are the provider's.
func prompt(q purser.Question) string {
	text := q.Title
	if text == "" {
		text = q.Name
	}
	if q.Description != "" {
		text += fmt.Sprintf(" (%s)", q.Description)
	}
	switch {
	case len(q.Choices) > 0:
		text += ", one of " + strings.Join(q.Choices, ", ")
	case q.Type == "boolean":
		text += ", yes or no"
	case q.Type != "string" && q.Type != question.JSON:
		text += ", " + q.Type
	case q.Format != "":
		text += ", " + q.Format
	}
	if !q.Required {
		text += ", optional"
	}
	if q.Default != "" {
		text += fmt.Sprintf(" [%s]", q.Default)
	}
	return text + ": "
}

func (s *session) providerShow() *cobra.Command {
	return &cobra.Command{
		Use: "show PROVIDER", Short: "Show a provider with its last conformance", Args: needs("PROVIDER"), Example: "  purser provider show local",
		RunE: does(s, func(ctx context.Context, args []string) (v purser.ProviderInfo, err error) {
			c, err := s.client()
			if err != nil {
				return v, err
			}
			return c.ShowProvider(ctx, purser.ProviderRef{Provider: args[0]})
		}, showProvider),
	}
}

func showProvider(p *page, v purser.ProviderInfo) {
	providerTable(p, []purser.ProviderInfo{v})
	if v.Account != "" {
		p.line("account %s", v.Account)
	}
	if v.Conformance == nil {
		p.line("conformance: untested; purser conformance URL --secret-file F --record %s", v.Name)
		return
	}
	verdict := "failed"
	if v.Conformance.Passed {
		verdict = "passed"
	}
	p.line("conformance: %s on %s; an order may be sent again after a lost answer: %v", verdict, clock(v.Conformance.At), v.Conformance.SafeResend)
	var rows [][]string
	for _, name := range slices.Sorted(maps.Keys(v.Conformance.Operations)) {
		rows = append(rows, []string{name, v.Conformance.Operations[name]})
	}
	p.table([]string{"OPERATION", "RESULT"}, rows)
}

func (s *session) providerRemove() *cobra.Command {
	return s.changing(&cobra.Command{
		Use: "remove PROVIDER", Short: "Forget a provider that nothing lives at", Args: needs("PROVIDER"), Example: "  purser provider remove vendor",
		RunE: does(s, func(ctx context.Context, args []string) (v purser.Accepted, err error) {
			ctx, c, err := s.keyedClient(ctx)
			if err != nil {
				return v, err
			}
			return c.RemoveProvider(ctx, purser.ProviderRef{Provider: args[0]})
		}, func(p *page, _ purser.Accepted) { p.line("forgotten") }),
	})
}
