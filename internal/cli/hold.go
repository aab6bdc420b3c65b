package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/client"
)

func (s *session) hold() *cobra.Command {
	return family("hold", "Reserve money for use without a plan, and settle it",
		s.holdPlace(), s.holdList(), s.holdBegin(), s.holdCapture(), s.holdRelease(), s.holdResolve(), s.holdRefund(), s.holdAllow())
}

// spending are the flags that say what is spent, for whom.
type spending struct {
	run, category, amount, currency string
	labels                          []string
}

func (f *spending) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.amount, "amount", "", "the most it can cost: 0.20 or \"0.20 USD\"")
	cmd.Flags().StringVar(&f.currency, "currency", "USD", "currency of an amount that names none")
	cmd.Flags().StringVar(&f.run, "run", "", "run to spend for (a platform names one; an agent has its own)")
	cmd.Flags().StringVar(&f.category, "category", "", "category whose budget covers it too")
	cmd.Flags().StringArrayVar(&f.labels, "label", nil, "name=value, beside the labels of run and project; may be repeated")
}

func (f *spending) money(cmd *cobra.Command) (purser.Money, error) {
	if f.amount == "" {
		return purser.Money{}, misused(cmd, "%s needs --amount", cmd.CommandPath())
	}
	m, err := amount(f.amount, f.currency)
	if err == nil && m.IsZero() {
		return m, misused(cmd, "--amount must be above 0")
	}
	return m, err
}

// partOf is an amount of a hold that is there. Nothing has no currency, so that it fits
// every hold.
func partOf(text, currency string) (purser.Money, error) {
	m, err := amount(text, currency)
	if m.IsZero() {
		m.Currency = ""
	}
	return m, err
}

func (s *session) holdPlace() *cobra.Command {
	var in purser.PlaceHold
	var what spending
	cmd := s.changing(&cobra.Command{
		Use: "place PROVIDER", Short: "Reserve money for something that is about to be used", Args: needs("PROVIDER"),
		Long: "Reserve money within every budget that covers it. Begin the hold before anything acts on it, then capture what it has cost.",
		Example: "  purser hold place models/large --amount 0.20\n" +
			"  purser hold place printer --order \"100 leaflets\" --amount 9",
	})
	what.flags(cmd)
	cmd.Flags().StringVar(&in.Target, "order", "", "what exactly is ordered, once; left out: metered use")
	cmd.Flags().Int64Var(&in.LifetimeSeconds, "lifetime", 0, "seconds until it expires (default 3600)")
	cmd.RunE = does(s, func(ctx context.Context, args []string) (h purser.Hold, err error) {
		if cmd.Flags().Changed("lifetime") && in.LifetimeSeconds <= 0 {
			return h, misused(cmd, "--lifetime must be above 0")
		}
		money, err := what.money(cmd)
		if err != nil {
			return h, err
		}
		in.Provider, in.Run, in.Category, in.Labels = args[0], what.run, what.category, what.labels
		in.AmountMinor, in.Currency = money.Amount, money.Currency
		if in.Target != "" {
			in.Kind = purser.KindOrder
		}
		ctx, c, err := s.keyedClient(ctx)
		if err != nil {
			return h, err
		}
		return c.PlaceHold(ctx, in)
	}, holdShown)
	return cmd
}

func (s *session) charge() *cobra.Command {
	var what spending
	cmd := s.changing(&cobra.Command{
		Use: "charge PROVIDER", Short: "Reserve and spend at once, for metered use", Args: needs("PROVIDER"),
		Example: "  purser charge models/large --amount 0.02",
	})
	what.flags(cmd)
	cmd.RunE = does(s, func(ctx context.Context, args []string) (h purser.Hold, err error) {
		money, err := what.money(cmd)
		if err != nil {
			return h, err
		}
		ctx, c, err := s.keyedClient(ctx)
		if err != nil {
			return h, err
		}
		return c.ChargeUsage(ctx, purser.ChargeUsage{
			Run: what.run, Provider: args[0], Category: what.category, Labels: what.labels, AmountMinor: money.Amount, Currency: money.Currency,
		})
	}, holdShown)
	return cmd
}

func (s *session) holdList() *cobra.Command {
	var run string
	cmd := &cobra.Command{
		Use: "list", Short: "List holds that are not over", Args: needs(), Example: "  purser hold list",
		RunE: does(s, func(ctx context.Context, _ []string) (purser.List[purser.Hold], error) {
			c, err := s.client()
			if err != nil {
				return purser.List[purser.Hold]{}, err
			}
			return all(ctx, func(ctx context.Context, p purser.Page) (purser.List[purser.Hold], error) {
				return c.ListHolds(ctx, purser.AskHolds{Run: run, Page: p})
			})
		}, func(p *page, v purser.List[purser.Hold]) { holdTable(p, v.Items) }),
	}
	cmd.Flags().StringVar(&run, "run", "", "of this run only")
	return cmd
}

func (s *session) holdBegin() *cobra.Command {
	return s.onHold("begin", "Ask leave to act on a hold, now", func(ctx context.Context, c *client.Client, id string) (purser.Hold, error) {
		return c.BeginHold(ctx, purser.BeginHold{Hold: id})
	})
}

func (s *session) holdRelease() *cobra.Command {
	return s.onHold("release", "Give back what a hold still covers", func(ctx context.Context, c *client.Client, id string) (purser.Hold, error) {
		return c.ReleaseHold(ctx, purser.HoldRef{Hold: id})
	})
}

func (s *session) holdResolve() *cobra.Command {
	var captured, currency string
	cmd := s.onHold("resolve", "Say what a hold has cost beside what was captured of it, and that nothing more will be; asks for a signature if its effect began",
		func(ctx context.Context, c *client.Client, id string) (h purser.Hold, err error) {
			var cost purser.Money
			if captured != "" {
				if cost, err = partOf(captured, currency); err != nil {
					return h, err
				}
			}
			in := purser.ResolveHold{Hold: id, CapturedMinor: cost.Amount, Currency: cost.Currency}
			if h, err = c.ResolveHold(ctx, in); purser.CodeOf(err) != purser.NeedsPerson {
				return h, err
			}
			s.tellCost(ctx, c, in)
			return signed(ctx, s, c, "resolve_hold", in, func(in *purser.ResolveHold, a *purser.Signature) { in.Act = a }, c.ResolveHold)
		})
	cmd.Flags().StringVar(&captured, "captured", "", "what was spent of what is left of it, in addition to what was captured before: 0.12 or \"0.12 USD\"; the rest goes back (default: nothing was)")
	cmd.Flags().StringVar(&currency, "currency", "USD", "currency of an amount that names none")
	return cmd
}

// tellCost tells a person what the hold will have cost in all, before they sign for it.
// A hold that is not found is told by its resolving.
func (s *session) tellCost(ctx context.Context, c *client.Client, in purser.ResolveHold) {
	open, _ := all(ctx, func(ctx context.Context, p purser.Page) (purser.List[purser.Hold], error) {
		return c.ListHolds(ctx, purser.AskHolds{Page: p})
	})
	for _, h := range open.Items {
		money := func(minor int64) purser.Money { return purser.Money{Amount: minor, Currency: h.Currency} }
		if h.ID == in.Hold && (in.Currency == "" || in.Currency == h.Currency) {
			s.note("%s: %s was captured before and %s is left of it; captured now, in addition: %s; in all: %s",
				h.ID, money(h.CapturedMinor), money(h.LeftMinor), money(in.CapturedMinor), money(h.CapturedMinor+in.CapturedMinor))
		}
	}
}

// onHold is a command about one hold.
func (s *session) onHold(verb, short string, call func(context.Context, *client.Client, string) (purser.Hold, error)) *cobra.Command {
	return s.changing(&cobra.Command{
		Use: verb + " HOLD", Short: short, Args: needs("HOLD"), Example: "  purser hold " + verb + " hld_01jd...",
		RunE: does(s, func(ctx context.Context, args []string) (h purser.Hold, err error) {
			ctx, c, err := s.keyedClient(ctx)
			if err != nil {
				return h, err
			}
			return call(ctx, c, args[0])
		}, holdShown),
	})
}

func (s *session) holdCapture() *cobra.Command {
	var sum, currency string
	var final, made bool
	cmd := s.onAmount("capture", "Say what the effect of a begun hold has cost", &sum, &currency, func(ctx context.Context, c *client.Client, id string, part purser.Money) (purser.Hold, error) {
		switch {
		case part.IsZero() && made:
			return purser.Hold{}, purser.Errorf(purser.InvalidRequest, "--amount must be above 0, where it was captured already")
		case part.IsZero() && !final:
			return purser.Hold{}, purser.Errorf(purser.InvalidRequest, "--amount 0 goes with --final: nothing more was used")
		}
		return c.CaptureHold(ctx, purser.CaptureHold{Hold: id, AmountMinor: part.Amount, Currency: part.Currency, Final: final, Made: made})
	})
	cmd.Flags().BoolVar(&final, "final", false, "nothing more will follow: the rest goes back")
	cmd.Flags().BoolVar(&made, "made", false, "it was captured already: above the hold too, which stops the run (platforms)")
	return cmd
}

func (s *session) holdRefund() *cobra.Command {
	var sum, currency string
	cmd := s.onAmount("refund", "Record that captured money was given back (platforms)", &sum, &currency, func(ctx context.Context, c *client.Client, id string, part purser.Money) (purser.Hold, error) {
		if part.IsZero() {
			return purser.Hold{}, purser.Errorf(purser.InvalidRequest, "--amount must be above 0")
		}
		return c.RefundHold(ctx, purser.RefundHold{Hold: id, AmountMinor: part.Amount, Currency: part.Currency})
	})
	cmd.Long = "Record that captured money was given back, with the token of the platform that captured it. What an agent captured itself stays\n" +
		"used, whatever comes back of it: a person can raise the limits instead."
	return cmd
}

// onAmount is a command about an amount of one hold.
func (s *session) onAmount(verb, short string, sum, currency *string, call func(context.Context, *client.Client, string, purser.Money) (purser.Hold, error)) *cobra.Command {
	cmd := s.changing(&cobra.Command{
		Use: verb + " HOLD", Short: short, Args: needs("HOLD"), Example: "  purser hold " + verb + " hld_01jd... --amount 0.12",
	})
	cmd.Flags().StringVar(sum, "amount", "", "how much: 0.12 or \"0.12 USD\"")
	cmd.Flags().StringVar(currency, "currency", "USD", "currency of an amount that names none")
	cmd.RunE = does(s, func(ctx context.Context, args []string) (h purser.Hold, err error) {
		if *sum == "" {
			return h, misused(cmd, "%s needs --amount", cmd.CommandPath())
		}
		money, err := partOf(*sum, *currency)
		if err != nil {
			return h, err
		}
		ctx, c, err := s.keyedClient(ctx)
		if err != nil {
			return h, err
		}
		return call(ctx, c, args[0], money)
	}, holdShown)
	return cmd
}

func (s *session) holdAllow() *cobra.Command {
	in := purser.AllowRepeat{}
	var sum, currency string
	cmd := s.changing(&cobra.Command{
		Use: "allow-repeat RUN", Short: "Say that an order may come once more, from the same provider; asks for a signature", Args: needs("RUN"),
		Example: "  purser hold allow-repeat run_01jd... --provider printer --order \"100 leaflets\" --amount 9",
	})
	cmd.Flags().StringVar(&in.Provider, "provider", "", "where it was ordered, and may be once more")
	cmd.Flags().StringVar(&in.Target, "order", "", "what exactly is ordered again")
	cmd.Flags().StringVar(&sum, "amount", "", "its amount: 9 or \"9.00 USD\"")
	cmd.Flags().StringVar(&currency, "currency", "USD", "currency of an amount that names none")
	cmd.RunE = does(s, func(ctx context.Context, args []string) (out purser.Accepted, err error) {
		if in.Provider == "" || in.Target == "" || sum == "" {
			return out, misused(cmd, "%s needs --provider, --order and --amount", cmd.CommandPath())
		}
		money, err := amount(sum, currency)
		if err != nil {
			return out, err
		}
		in.Run, in.AmountMinor, in.Currency = args[0], money.Amount, money.Currency
		ctx, c, err := s.keyedClient(ctx)
		if err != nil {
			return out, err
		}
		return signedIfAsked(ctx, s, c, "allow_repeat", in, func(in *purser.AllowRepeat, a *purser.Signature) { in.Act = a }, c.AllowRepeat)
	}, func(p *page, _ purser.Accepted) { p.line("The order may come once more, within a day.") })
	return cmd
}

// holdShown shows a hold as a decision left it. Whoever asks again under the same key gets
// the answer of then, and must not take it for leave to act now.
func holdShown(p *page, h purser.Hold) {
	holdTable(p, []purser.Hold{h})
	if h.Replay {
		p.line("this key was decided before: the hold as it was then, and no permission to act")
	}
}

// holdTable has a column for what few holds have only where one has it.
func holdTable(p *page, holds []purser.Hold) {
	over := slices.ContainsFunc(holds, func(h purser.Hold) bool { return h.OverrunMinor != 0 })
	back := slices.ContainsFunc(holds, func(h purser.Hold) bool { return h.RefundedMinor != 0 })
	header := []string{"HOLD", "STATE", "PROVIDER", "AMOUNT", "CAPTURED"}
	if over {
		header = append(header, "OVERRUN")
	}
	if back {
		header = append(header, "REFUNDED")
	}
	var rows [][]string
	for _, h := range holds {
		money := func(minor int64) string { return purser.Money{Amount: minor, Currency: h.Currency}.String() }
		row := []string{h.ID, h.State, h.Provider, money(h.AmountMinor), money(h.CapturedMinor)}
		if over {
			row = append(row, money(h.OverrunMinor))
		}
		if back {
			row = append(row, money(h.RefundedMinor))
		}
		ends := "-"
		if h.ExpiresAt != nil {
			ends = clock(*h.ExpiresAt)
		}
		rows = append(rows, append(row, money(h.LeftMinor), ends))
	}
	p.table(append(header, "LEFT", "EXPIRES"), rows)
	for _, h := range holds {
		if h.OverrunMinor != 0 {
			p.line("%s: the overrun is in no budget; it stopped run %s, which only a person resumes", h.ID, h.Run)
		}
	}
}

func (s *session) platform() *cobra.Command {
	return family("platform", "Programs that meter what agents spend", s.platformCreate(), s.platformList(), s.platformRevoke())
}

func (s *session) platformCreate() *cobra.Command {
	return s.changing(&cobra.Command{
		Use: "create NAME", Short: "Register one; asks for a signature, shows its token once", Args: needs("NAME"),
		Example: "  purser platform create gateway",
		RunE: does(s, func(ctx context.Context, args []string) (v madePlatform, err error) {
			ctx, c, err := s.keyedClient(ctx)
			if err != nil {
				return v, err
			}
			v.PlatformInfo, err = signedIfAsked(ctx, s, c, "create_platform", purser.CreatePlatform{Name: args[0]},
				func(in *purser.CreatePlatform, a *purser.Signature) { in.Act = a }, c.CreatePlatform)
			v.Replay = v.Token == ""
			return v, err
		}, func(p *page, v madePlatform) {
			platformTable(p, []purser.PlatformInfo{v.PlatformInfo})
			if v.Replay {
				p.line("This key made the platform before. Its token was shown then, once, and nobody can show it again.")
				p.line("next, if it is lost: purser platform revoke %s, then purser platform create with another --key, or without one", v.ID)
				return
			}
			p.line("Its token, shown once: %s", v.Token)
		}),
	})
}

// madePlatform is to a platform what madeRun is to a run.
type madePlatform struct {
	purser.PlatformInfo
	Replay bool `json:"replay,omitempty"`
}

func (s *session) platformList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List platforms", Args: needs(), Example: "  purser platform list",
		RunE: does(s, func(ctx context.Context, _ []string) (purser.List[purser.PlatformInfo], error) {
			c, err := s.client()
			if err != nil {
				return purser.List[purser.PlatformInfo]{}, err
			}
			return c.ListPlatforms(ctx, purser.None{})
		}, func(p *page, v purser.List[purser.PlatformInfo]) { platformTable(p, v.Items) }),
	}
}

func (s *session) platformRevoke() *cobra.Command {
	return s.changing(&cobra.Command{
		Use: "revoke PLATFORM", Short: "Revoke a platform and its token", Args: needs("PLATFORM"), Example: "  purser platform revoke gateway",
		RunE: does(s, func(ctx context.Context, args []string) (v purser.PlatformInfo, err error) {
			ctx, c, err := s.keyedClient(ctx)
			if err != nil {
				return v, err
			}
			id, err := platformNamed(ctx, c, args[0])
			if err != nil {
				return v, err
			}
			return c.RevokePlatform(ctx, purser.PlatformRef{Platform: id})
		}, func(p *page, v purser.PlatformInfo) { platformTable(p, []purser.PlatformInfo{v}) }),
	})
}

// platformNamed is the identifier of the platform that a person means: by that, or by a
// name that one has. Of one name several may be revoked, and the one that is not is meant.
func platformNamed(ctx context.Context, c *client.Client, named string) (string, error) {
	if strings.HasPrefix(named, purser.PrefixPlatform+"_") {
		return named, nil
	}
	all, err := c.ListPlatforms(ctx, purser.None{})
	if err != nil {
		return "", err
	}
	var active, found []string
	for _, p := range all.Items {
		if p.Name != named {
			continue
		}
		found = append(found, p.ID)
		if p.RevokedAt == nil {
			active = append(active, p.ID)
		}
	}
	if len(active) > 0 {
		found = active
	}
	switch len(found) {
	case 0:
		return "", purser.Errorf(purser.NotFound, "no platform is called %q", named).WithHint("purser platform list")
	case 1:
		return found[0], nil
	}
	return "", purser.Errorf(purser.InvalidRequest, "%d platforms are called %q: %s", len(found), named, strings.Join(found, ", ")).
		WithHint("purser platform revoke %s", found[0])
}

func platformTable(p *page, platforms []purser.PlatformInfo) {
	var rows [][]string
	for _, v := range platforms {
		state := "active"
		if v.RevokedAt != nil {
			state = "revoked " + clock(*v.RevokedAt)
		}
		rows = append(rows, []string{v.ID, v.Name, state, clock(v.CreatedAt)})
	}
	p.table([]string{"PLATFORM", "NAME", "STATE", "MADE"}, rows)
}

func (s *session) label() *cobra.Command {
	return s.changing(&cobra.Command{
		Use: "label SCOPE ID [NAME=VALUE...]", Short: "Label a project or a run; each label may have a budget", Args: needs("SCOPE", "ID", "[NAME=VALUE...]"),
		Long:    "Put exactly these labels on a project or a run. Taking one away asks for a signature: what loses a label is not held to its budget any more.",
		Example: "  purser label project shop team=search\n  purser budget set label team=search --period day --limit 5",
		RunE: does(s, func(ctx context.Context, args []string) (v purser.Labelled, err error) {
			ctx, c, err := s.keyedClient(ctx)
			if err != nil {
				return v, err
			}
			in := purser.SetLabels{Scope: args[0], ID: args[1], Labels: append([]string{}, args[2:]...)}
			return signedIfAsked(ctx, s, c, "set_labels", in, func(in *purser.SetLabels, a *purser.Signature) { in.Act = a }, c.SetLabels)
		}, func(p *page, v purser.Labelled) { p.line("%s %s: %v", v.Scope, v.ID, v.Labels) }),
	})
}
