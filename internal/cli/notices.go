package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/purser-dev/purser"
)

func (s *session) notices() *cobra.Command {
	return family("notices", "See what people were told, and choose", s.noticesList(), s.noticesSet(), s.noticesTest())
}

func (s *session) noticesList() *cobra.Command {
	var in purser.Page
	cmd := &cobra.Command{
		Use: "list", Short: "List what people were told, newest first, and what became of it", Args: needs(), Example: "  purser notices list --limit 20",
		RunE: does(s, func(ctx context.Context, _ []string) (out purser.Notices, err error) {
			c, err := s.client()
			if err != nil {
				return out, err
			}
			return c.ListNotices(ctx, in)
		}, showNotices),
	}
	cmd.Flags().IntVar(&in.Limit, "limit", 0, "how many (default 50, at most 200)")
	return cmd
}

func (s *session) noticesSet() *cobra.Command {
	var in purser.SetNotices
	var by []string
	var organization bool
	cmd := s.changing(&cobra.Command{
		Use: "set [KIND...]", Short: "Choose of which kinds you are told, and by which ways", Args: cobra.ArbitraryArgs,
		Long: "Choose of which kinds you are told, and by which ways; without a kind, of all that have no choice of their own. With --organization\n" +
			"an owner chooses for the webhook, and for people who chose nothing. Whoever a change touches is told of it.",
		Example: "  purser notices set --by none budget_threshold\n  purser notices set --organization --by webhook",
	})
	cmd.Flags().StringSliceVar(&by, "by", nil, "mail, webhook (of the organization), or none")
	cmd.Flags().BoolVar(&organization, "organization", false, "choose for the organization")
	cmd.RunE = does(s, func(ctx context.Context, args []string) (out purser.Notices, err error) {
		if len(by) == 0 {
			return out, misused(cmd, "purser notices set needs --by")
		}
		in.Kinds, in.Ways = args, by
		if len(by) == 1 && by[0] == "none" {
			in.Ways = []string{}
		}
		if organization {
			in.Who = "organization"
		}
		ctx, c, err := s.keyedClient(ctx)
		if err != nil {
			return out, err
		}
		return c.SetNotices(ctx, in)
	}, func(p *page, v purser.Notices) { choiceTable(p, v) })
	return cmd
}

func (s *session) noticesTest() *cobra.Command {
	return s.changing(&cobra.Command{
		Use: "test", Short: "Send yourself a test by every way, now", Args: needs(), Example: "  purser notices test",
		RunE: does(s, func(ctx context.Context, _ []string) (out purser.Notice, err error) {
			ctx, c, err := s.keyedClient(ctx)
			if err != nil {
				return out, err
			}
			out, err = c.TestNotices(ctx, purser.None{})
			if err != nil {
				return out, err
			}
			for _, d := range out.Deliveries {
				if d.State != "done" {
					bad := purser.Errorf(purser.Unavailable, "%s did not take the test: %s", d.Way, d.Error).
						WithHint("correct notices.* in the settings and restart; it is tried again for a day")
					return out, &failure{error: bad, data: out, text: func(p *page) { showDeliveries(p, out) }}
				}
			}
			return out, nil
		}, showDeliveries),
	})
}

func showDeliveries(p *page, n purser.Notice) {
	for _, d := range n.Deliveries {
		line := d.Way + ": " + d.State
		if d.Error != "" {
			line += " (" + d.Error + ")"
		}
		p.line("%s", line)
	}
}

func showNotices(p *page, v purser.Notices) {
	var rows [][]string
	for _, n := range v.Items {
		rows = append(rows, []string{clock(n.CreatedAt), n.Kind, n.Subject, delivered(n)})
	}
	p.table([]string{"WHEN", "KIND", "WHAT", "TOLD"}, rows)
	p.line("")
	choiceTable(p, v)
}

// delivered sums up what became of a notice.
func delivered(n purser.Notice) string {
	var words []string
	for _, d := range n.Deliveries {
		word := d.Way + " " + d.State
		if d.State == "waiting" && d.Error != "" {
			word += " (" + d.Error + ")"
		}
		words = append(words, word)
	}
	if len(words) == 0 {
		return "nobody"
	}
	return strings.Join(words, ", ")
}

func choiceTable(p *page, v purser.Notices) {
	if len(v.Ways) == 0 {
		p.line("The server has no way to tell anybody: set notices.smtp.host or notices.webhook.url.")
	} else {
		p.line("ways of this server: %s", strings.Join(v.Ways, ", "))
	}
	var rows [][]string
	for _, c := range v.Choices {
		ways := strings.Join(c.Ways, ", ")
		if ways == "" {
			ways = "none"
		}
		rows = append(rows, []string{c.Who, c.Kind, ways})
	}
	if len(rows) > 0 {
		p.table([]string{"WHO", "KIND", "BY"}, rows)
	}
	p.line("kinds: %s", strings.Join(v.Kinds, ", "))
}
