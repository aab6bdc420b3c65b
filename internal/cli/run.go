package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/purser-dev/purser"
)

func (s *session) run() *cobra.Command {
	return family("run", "Bound one piece of work by one agent: budget, time, providers",
		s.runCreate(), s.runList(), s.runShow(), s.runExtend(), s.runEnd())
}

func (s *session) runCreate() *cobra.Command {
	var in purser.CreateRun
	var budget, threshold, currency string
	cmd := s.changing(&cobra.Command{
		Use: "create", Short: "Make a run and its agent's token, shown once; asks for your signature", Args: needs(),
		Example: "  purser run create --budget 20 --expires 2h\n  purser run create --budget \"50.00 EUR\" --agent builder --provider local",
	})
	f := cmd.Flags()
	f.StringVar(&in.Project, "project", "", "project, by name or identifier (default: of .purser.yaml)")
	f.StringVar(&budget, "budget", "", "most that the run may spend: 20, 20.00 or \"20.00 USD\"")
	f.StringVar(&currency, "currency", "USD", "currency of amounts that name none")
	f.StringVar(&in.Expires, "expires", "", "how long it lives, at most 720h (default: 2h)")
	f.StringVar(&threshold, "threshold", "", "a step above it needs a person (default: 10.00)")
	f.StringVar(&in.Agent, "agent", "", "name of the agent; made when new (default: agent)")
	f.StringArrayVar(&in.Providers, "provider", nil, "only this provider; may be repeated (default: every registered one)")
	f.StringVar(&in.Purpose, "purpose", "", "what it is for, in your words")
	f.StringArrayVar(&in.Reveal, "reveal", nil, "credential class that the agent may have: runtime or operator")
	cmd.RunE = does(s, func(ctx context.Context, _ []string) (run madeRun, err error) {
		if budget == "" {
			return run, misused(cmd, "purser run create needs --budget")
		}
		if in.Budget, err = amount(budget, currency); err != nil {
			return run, err
		}
		if threshold != "" {
			most, err := amount(threshold, in.Budget.Currency)
			if err != nil {
				return run, err
			}
			in.Threshold = &most
		}
		if in.Project, err = s.needsProject(in.Project); err != nil {
			return run, err
		}
		ctx, c, err := s.keyedClient(ctx)
		if err != nil {
			return run, err
		}
		run.Run, err = signed(ctx, s, c, "create_run", in, func(in *purser.CreateRun, a *purser.Signature) { in.Act = a }, c.CreateRun)
		run.Replay = run.Token == ""
		return run, err
	}, func(p *page, v madeRun) {
		showRun(p, v.Run)
		p.line("")
		if v.Replay {
			p.line("This key made the run before. Its token was shown then, once, and nobody can show it again.")
			p.line("next, if it is lost: purser run end %s, then purser run create with another --key, or without one", v.ID)
			return
		}
		p.line("The agent's token, shown this once:")
		p.line("  export PURSER_URL=%s PURSER_TOKEN=%s", s.address(), v.Token)
	})
	return cmd
}

// madeRun is a run as it was made. The same key gives the answer of then again, without
// the token; a program is told so, because it cannot go on.
type madeRun struct {
	purser.Run
	Replay bool `json:"replay,omitempty"`
}

func (s *session) runList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List runs", Args: needs(), Example: "  purser run list",
		RunE: does(s, func(ctx context.Context, _ []string) (purser.List[purser.Run], error) {
			c, err := s.client()
			if err != nil {
				return purser.List[purser.Run]{}, err
			}
			return all(ctx, c.ListRuns)
		}, func(p *page, v purser.List[purser.Run]) {
			if len(v.Items) == 0 {
				p.line("There is no run. next: purser run create --budget 20")
				return
			}
			runTable(p, v.Items)
		}),
	}
}

func runTable(p *page, runs []purser.Run) {
	var rows [][]string
	for _, r := range runs {
		rows = append(rows, []string{r.ID, r.State, r.ProjectName, r.AgentName, r.Budget.Limit.String(), minor(r.Budget.Left, r.Budget), clock(r.ExpiresAt)})
	}
	p.table([]string{"RUN", "STATE", "PROJECT", "AGENT", "BUDGET", "LEFT", "EXPIRES"}, rows)
}

func showRun(p *page, r purser.Run) {
	runTable(p, []purser.Run{r})
	if r.Purpose != "" {
		p.line("purpose: %q", r.Purpose)
	}
	if len(r.Labels) > 0 {
		p.line("labels: %s", strings.Join(r.Labels, ", "))
	}
	p.line("a step above %s needs a person", r.Threshold)
	if r.Paused != nil {
		p.line("paused: %s%s", r.Paused.Detail, hinted(r.Paused.Hint))
	}
	if len(r.Budgets) > 0 {
		budgetTable(p, append([]purser.BudgetLine{r.Budget}, r.Budgets...))
	}
	showOrders(p, r.Orders)
}

func (s *session) runShow() *cobra.Command {
	return &cobra.Command{
		Use: "show [RUN]", Short: "Show a run with its budgets and orders; an agent's default is its own", Args: needs("[RUN]"),
		Example: "  purser run show run_01jd...",
		RunE: does(s, func(ctx context.Context, args []string) (run purser.Run, err error) {
			c, err := s.client()
			if err != nil {
				return run, err
			}
			return c.ShowRun(ctx, purser.RunRef{Run: first(args)})
		}, showRun),
	}
}

func (s *session) runExtend() *cobra.Command {
	var in purser.ExtendRun
	var budget, currency string
	cmd := s.changing(&cobra.Command{
		Use: "extend RUN", Short: "Give a run more time or money; asks for your signature", Args: needs("RUN"),
		Example: "  purser run extend run_01jd... --expires 4h\n  purser run extend run_01jd... --budget 40",
	})
	cmd.Flags().StringVar(&in.Expires, "expires", "", "how long from now it lives")
	cmd.Flags().StringVar(&budget, "budget", "", "the new limit in all")
	cmd.Flags().StringVar(&currency, "currency", "USD", "currency of an amount that names none")
	cmd.RunE = does(s, func(ctx context.Context, args []string) (run purser.Run, err error) {
		if in.Run = args[0]; in.Expires == "" && budget == "" {
			return run, misused(cmd, "purser run extend needs --expires or --budget")
		}
		if budget != "" {
			limit, err := amount(budget, currency)
			if err != nil {
				return run, err
			}
			in.Budget = &limit
		}
		ctx, c, err := s.keyedClient(ctx)
		if err != nil {
			return run, err
		}
		return signed(ctx, s, c, "extend_run", in, func(in *purser.ExtendRun, a *purser.Signature) { in.Act = a }, c.ExtendRun)
	}, showRun)
	return cmd
}

func (s *session) runEnd() *cobra.Command {
	return s.changing(&cobra.Command{
		Use: "end [RUN]", Short: "End a run; its token stops working", Args: needs("[RUN]"),
		Example: "  purser run end run_01jd...",
		RunE: does(s, func(ctx context.Context, args []string) (run purser.Run, err error) {
			ctx, c, err := s.keyedClient(ctx)
			if err != nil {
				return run, err
			}
			return c.EndRun(ctx, purser.RunRef{Run: first(args)})
		}, showRun),
	})
}

// first is the first argument, or nothing.
func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// amount reads money as typed.
func amount(text, currency string) (purser.Money, error) {
	m, err := purser.ParseMoney(text, currency)
	if err != nil {
		return m, purser.Errorf(purser.InvalidRequest, "%v", err)
	}
	return m, nil
}

// clock shows a time where the person is.
func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04")
}
