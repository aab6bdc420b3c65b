package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/client"
)

func (s *session) stop() *cobra.Command {
	var in purser.Stop
	cmd := s.changing(&cobra.Command{
		Use: "stop SCOPE [ID]", Short: "Stop spending in a scope, at once", Args: needs("SCOPE", "[ID]"),
		Long: "Stop spending of a run, agent, provider, project or the organization, at once. The answer says what could not be stopped.\n" +
			"An agent may stop its own run and itself. Only a person resumes.",
		Example: "  purser stop run run_01jd... --reason \"it loops\"\n  purser stop organization --reason \"a token leaked\"",
	})
	cmd.Flags().StringVar(&in.Reason, "reason", "", "why, for the record; a stop needs none")
	cmd.RunE = does(s, func(ctx context.Context, args []string) (stop purser.StopInfo, err error) {
		in.Scope, in.ID = args[0], first(args[1:])
		ctx, c, err := s.keyedClient(ctx)
		if err != nil {
			return stop, err
		}
		if in.Scope == purser.ScopeOrganization && in.ID != "" {
			if in.ID, err = ownOrganization(ctx, c, in.ID); err != nil {
				return stop, err
			}
		}
		slow := time.AfterFunc(silence, func() { s.note("the server has not acknowledged the stop yet; it refuses meanwhile, if it hears us") })
		stop, err = c.Stop(ctx, in)
		slow.Stop()
		if err != nil {
			return stop, err
		}
		if stop.LiftedAt != nil { // its key was used for a stop of before
			return stop, purser.Errorf(purser.InvalidState, "nothing is stopped: this key's stop %s was lifted at %s", stop.ID, clock(*stop.LiftedAt)).
				WithHint("stop it again with another --key, or without one")
		}
		if stop.Scope == purser.ScopeProvider && !payee(ctx, c, stop.Target) {
			s.note("no provider is registered as %q, and no budget names it: is that how it is paid? purser status tells the names", stop.Target)
		}
		return followed(ctx, c, stop), nil
	}, showStop)
	cmd.AddCommand(s.stopList(), s.stopShow())
	return cmd
}

// payee reports whether somebody is known who is paid under a name: who is paid is taken
// as it is written, so a slip of the pen stops nobody. Who cannot be looked for is known.
func payee(ctx context.Context, c *client.Client, name string) bool {
	providers, err := c.ListProviders(ctx, purser.None{})
	if err != nil || slices.ContainsFunc(providers.Items, func(p purser.ProviderInfo) bool { return p.Name == name }) {
		return true
	}
	budgets, err := c.ListBudgets(ctx, purser.None{})
	return err != nil || slices.ContainsFunc(budgets.Items, func(b purser.BudgetLine) bool { return b.Scope == purser.ScopeProvider && b.ID == name })
}

func (s *session) stopList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List stops that are in force", Args: needs(), Example: "  purser stop list",
		RunE: does(s, func(ctx context.Context, _ []string) (purser.List[purser.StopInfo], error) {
			c, err := s.client()
			if err != nil {
				return purser.List[purser.StopInfo]{}, err
			}
			return c.ListStops(ctx, purser.None{})
		}, func(p *page, v purser.List[purser.StopInfo]) {
			if len(v.Items) == 0 {
				p.line("No stop is in force.")
				return
			}
			stopTable(p, v.Items)
		}),
	}
}

func (s *session) stopShow() *cobra.Command {
	return &cobra.Command{
		Use: "show STOP", Short: "Show a stop, what it could not stop, and what became of each revocation", Args: needs("STOP"),
		Example: "  purser stop show stp_01jd...",
		RunE: does(s, func(ctx context.Context, args []string) (stop purser.StopInfo, err error) {
			c, err := s.client()
			if err != nil {
				return stop, err
			}
			return c.ShowStop(ctx, purser.StopRef{Stop: args[0]})
		}, showStop),
	}
}

// ownOrganization takes the name by which a person knows their organization for leaving
// it out: there is no other that they could stop. A server that does not say in time
// what it is called gets the stop as it was typed.
func ownOrganization(ctx context.Context, c *client.Client, named string) (id string, err error) {
	asking, cancel := context.WithTimeout(ctx, 2*silence)
	defer cancel()
	who, err := c.Whoami(asking, purser.None{})
	switch {
	case err != nil:
		return named, nil
	case named == who.Organization || strings.EqualFold(named, who.OrganizationName):
		return "", nil
	}
	return "", purser.Errorf(purser.NotFound, "nothing is stopped: your organization is %q, not %q", who.OrganizationName, named).
		WithHint("leave the name out: purser stop organization")
}

// silence is how long a person who stops something is not told how it goes.
const silence = time.Second

// patience is how long stop looks after the revocations. The stop itself holds
// from its acknowledgement on.
const patience = 3 * time.Second

// followed looks what became of the revocations. What is still pending then is
// shown as that; a look that fails does not take the stop back.
func followed(ctx context.Context, c *client.Client, stop purser.StopInfo) purser.StopInfo {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for pending(stop) {
		select {
		case <-ctx.Done():
			return stop
		case <-time.After(100 * time.Millisecond):
		}
		seen, err := c.ShowStop(ctx, purser.StopRef{Stop: stop.ID})
		switch {
		case err == nil:
			stop = seen
		case purser.CodeOf(err) == purser.Stopped: // the asker's own token is among what ended
			return stop
		}
	}
	return stop
}

func pending(stop purser.StopInfo) bool {
	return slices.ContainsFunc(stop.Effects, func(e purser.StopEffect) bool { return e.State == "pending" })
}

func showStop(p *page, v purser.StopInfo) {
	stopTable(p, []purser.StopInfo{v})
	if v.LiftedAt == nil {
		p.line("no spend in this scope is accepted after record %d; plans in it are void, %d are marked so", v.Seq, v.Voided)
	} else {
		p.line("it was lifted, and stops nothing any more; %d plans were marked as void", v.Voided)
	}
	for _, o := range v.Open {
		p.line("could not be stopped: %s %s, %s, held %s", cmp.Or(o.Order, o.Hold), o.What, o.State, o.Held)
	}
	for _, e := range v.Effects {
		p.line("%s", strings.TrimSpace(fmt.Sprintf("%s %s: %s %s", e.Kind, e.Target, e.State, e.Detail)))
	}
	if pending(v) {
		p.line("what is pending is tried again; what became of it: purser stop show %s", v.ID)
	}
	if v.LiftedAt == nil {
		p.line("next: purser resume %s", v.ID)
	}
}

func stopTable(p *page, list []purser.StopInfo) {
	var rows [][]string
	for _, v := range list {
		state := "in force"
		if v.LiftedAt != nil {
			state = "lifted " + clock(*v.LiftedAt)
		}
		rows = append(rows, []string{v.ID, v.Scope + " " + v.Target, state, clock(v.At), fmt.Sprint(v.Epoch), v.Reason})
	}
	p.table([]string{"STOP", "OF", "STATE", "SINCE", "EPOCH", "REASON"}, rows)
}

func (s *session) resume() *cobra.Command {
	return s.changing(&cobra.Command{
		Use: "resume STOP", Short: "Lift a stop; asks for your signature. It revives nothing", Args: needs("STOP"),
		Example: "  purser resume stp_01jd...",
		RunE: does(s, func(ctx context.Context, args []string) (stop purser.StopInfo, err error) {
			ctx, c, err := s.keyedClient(ctx)
			if err != nil {
				return stop, err
			}
			return signed(ctx, s, c, "resume", purser.Resume{Stop: args[0]}, func(in *purser.Resume, a *purser.Signature) { in.Act = a }, c.Resume)
		}, showStop),
	})
}
