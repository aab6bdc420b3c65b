package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/client"
)

func (s *session) people() *cobra.Command {
	return family("people", "See, invite and remove people, and ask two for what is dear",
		s.peopleList(), s.peopleInvite(), s.peopleRole(), s.peopleRemove(), s.peopleTwo())
}

func (s *session) peopleList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List people", Args: needs(), Example: "  purser people list",
		RunE: does(s, func(ctx context.Context, _ []string) (purser.List[purser.PersonInfo], error) {
			c, err := s.client()
			if err != nil {
				return purser.List[purser.PersonInfo]{}, err
			}
			return c.ListPeople(ctx, purser.None{})
		}, func(p *page, v purser.List[purser.PersonInfo]) { peopleTable(p, v.Items) }),
	}
}

func peopleTable(p *page, people []purser.PersonInfo) {
	var rows [][]string
	for _, x := range people {
		signs := fmt.Sprintf("%d passkeys", x.Passkeys)
		if x.Passphrase {
			signs += ", passphrase"
		}
		rows = append(rows, []string{x.ID, x.Name, x.Email, string(x.Role), signs})
	}
	p.table([]string{"PERSON", "NAME", "E-MAIL", "ROLE", "SIGNS WITH"}, rows)
}

func (s *session) peopleInvite() *cobra.Command {
	var in purser.Invite
	cmd := s.changing(&cobra.Command{
		Use: "invite ROLE", Short: "Make a link with which one person joins; a signed act of an owner", Args: needs("ROLE"),
		Long:    "Make a link with which one person joins as owner, approver or viewer. It works once and is shown once; whoever opens it makes a passkey.",
		Example: "  purser people invite approver",
	})
	cmd.Flags().StringVar(&in.Expires, "expires", "", "how long it works: 24h (default 72h)")
	cmd.RunE = does(s, func(ctx context.Context, args []string) (i purser.Invitation, err error) {
		in.Role = purser.Role(args[0])
		ctx, c, err := s.keyedClient(ctx)
		if err != nil {
			return i, err
		}
		return signed(ctx, s, c, "invite", in, func(in *purser.Invite, a *purser.Signature) { in.Act = a }, c.Invite)
	}, func(p *page, v purser.Invitation) {
		p.line("Send this link to the person; it works once, until %s:", clock(v.ExpiresAt))
		p.line("  %s", v.Link)
	})
	return cmd
}

func (s *session) peopleRole() *cobra.Command {
	return s.changing(&cobra.Command{
		Use: "role PERSON ROLE", Short: "Change what a person may do; a signed act of an owner", Args: needs("PERSON", "ROLE"),
		Example: "  purser people role per_01jd... viewer",
		RunE: does(s, func(ctx context.Context, args []string) (x purser.PersonInfo, err error) {
			ctx, c, err := s.keyedClient(ctx)
			if err != nil {
				return x, err
			}
			in := purser.SetRole{Person: args[0], Role: purser.Role(args[1])}
			return signed(ctx, s, c, "set_role", in, func(in *purser.SetRole, a *purser.Signature) { in.Act = a }, c.SetRole)
		}, func(p *page, v purser.PersonInfo) { peopleTable(p, []purser.PersonInfo{v}) }),
	})
}

func (s *session) peopleRemove() *cobra.Command {
	return s.changing(&cobra.Command{
		Use: "remove PERSON", Short: "Remove a person with sessions, passkeys and runs; a signed act of an owner", Args: needs("PERSON"),
		Example: "  purser people remove per_01jd...",
		RunE: does(s, func(ctx context.Context, args []string) (out purser.Accepted, err error) {
			ctx, c, err := s.keyedClient(ctx)
			if err != nil {
				return out, err
			}
			in := purser.RemovePerson{Person: args[0]}
			return signed(ctx, s, c, "remove_person", in, func(in *purser.RemovePerson, a *purser.Signature) { in.Act = a }, c.RemovePerson)
		}, func(p *page, _ purser.Accepted) { p.line("Removed. What the person did stays on the record.") }),
	})
}

func (s *session) peopleTwo() *cobra.Command {
	var in purser.SetTwoPeople
	var currency string
	cmd := s.changing(&cobra.Command{
		Use: "two [AMOUNT]", Short: "Show or set the amount above which two people must approve", Args: needs("[AMOUNT]"),
		Long:    "Show the amounts above which two different people must approve a plan, or set one. Setting it, either way, is a signed act of an owner.",
		Example: "  purser people two\n  purser people two 50\n  purser people two 0 --off",
	})
	cmd.Flags().StringVar(&currency, "currency", "USD", "currency of an amount that names none")
	cmd.Flags().BoolVar(&in.Off, "off", false, "one person is enough again, in this currency")
	cmd.RunE = does(s, func(ctx context.Context, args []string) (out purser.TwoPeople, err error) {
		c, err := s.client()
		if err != nil {
			return out, err
		}
		if len(args) == 0 {
			return c.TwoPeople(ctx, purser.None{})
		}
		if in.Above, err = amount(args[0], currency); err != nil {
			return out, err
		}
		if ctx, err = s.keyed(ctx, c); err != nil {
			return out, err
		}
		return signed(ctx, s, c, "set_two_people", in, func(in *purser.SetTwoPeople, a *purser.Signature) { in.Act = a }, c.SetTwoPeople)
	}, func(p *page, v purser.TwoPeople) {
		if len(v.Above) == 0 {
			p.line("One person's yes is enough for any amount.")
			return
		}
		var amounts []string
		for _, m := range v.Above {
			amounts = append(amounts, m.String())
		}
		p.line("Two people must approve above %s, and in any other currency.", strings.Join(amounts, ", "))
	})
	return cmd
}

func (s *session) passkey() *cobra.Command {
	return family("passkey", "See, add and revoke your passkeys", s.passkeyList(), s.passkeyAdd(), s.passkeyRevoke())
}

func (s *session) passkeyList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List your passkeys", Args: needs(), Example: "  purser passkey list",
		RunE: does(s, func(ctx context.Context, _ []string) (purser.Passkeys, error) {
			c, err := s.client()
			if err != nil {
				return purser.Passkeys{}, err
			}
			return c.ListPasskeys(ctx, purser.None{})
		}, func(p *page, v purser.Passkeys) {
			passkeyTable(p, v.Items)
			p.line("%d recovery codes are left.", v.RecoveryCodes)
			if len(v.Items) == 0 {
				p.line("next: purser passkey add")
			}
		}),
	}
}

func passkeyTable(p *page, keys []purser.Passkey) {
	var rows [][]string
	for _, k := range keys {
		used := "never"
		if k.UsedAt != nil {
			used = clock(*k.UsedAt)
		}
		rows = append(rows, []string{k.ID, k.Name, clock(k.CreatedAt), used})
	}
	p.table([]string{"PASSKEY", "NAME", "MADE", "USED"}, rows)
}

func (s *session) passkeyAdd() *cobra.Command {
	return s.changing(&cobra.Command{
		Use: "add", Short: "Make a link with which a browser makes a passkey for you; a signed act", Args: needs(),
		Long:    "Make a link, good for fifteen minutes and once, with which a browser makes a passkey for you. It is how who has a passphrase gets a first one.",
		Example: "  purser passkey add",
		RunE: does(s, func(ctx context.Context, _ []string) (k purser.Passkey, err error) {
			ctx, c, err := s.keyedClient(ctx)
			if err != nil {
				return k, err
			}
			return signed(ctx, s, c, "add_passkey", purser.AddPasskey{}, func(in *purser.AddPasskey, a *purser.Signature) { in.Act = a }, c.AddPasskey)
		}, func(p *page, v purser.Passkey) {
			p.line("Open this link in a browser, within fifteen minutes; it works once:")
			p.line("  %s", v.Link)
		}),
	})
}

func (s *session) passkeyRevoke() *cobra.Command {
	return s.changing(&cobra.Command{
		Use: "revoke PASSKEY", Short: "Revoke a passkey; it never signs again", Args: needs("PASSKEY"),
		Example: "  purser passkey revoke psk_01jd...",
		RunE: does(s, func(ctx context.Context, args []string) (k purser.Passkey, err error) {
			ctx, c, err := s.keyedClient(ctx)
			if err != nil {
				return k, err
			}
			return c.RevokePasskey(ctx, purser.PasskeyRef{Passkey: args[0]})
		}, func(p *page, v purser.Passkey) { p.line("Revoked %s (%s).", v.ID, v.Name) }),
	})
}

func (s *session) sessions() *cobra.Command {
	return family("session", "See and end where you are signed in", s.sessionList(), s.sessionRevoke())
}

func (s *session) sessionList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List where you are signed in", Args: needs(), Example: "  purser session list",
		RunE: does(s, func(ctx context.Context, _ []string) (purser.List[purser.Session], error) {
			c, err := s.client()
			if err != nil {
				return purser.List[purser.Session]{}, err
			}
			return c.ListSessions(ctx, purser.None{})
		}, func(p *page, v purser.List[purser.Session]) {
			var rows [][]string
			for _, x := range v.Items {
				kind := x.Kind
				if x.Current {
					kind += " (this)"
				}
				rows = append(rows, []string{x.ID, kind, clock(x.CreatedAt), clock(x.ExpiresAt), x.Label})
			}
			p.table([]string{"SESSION", "KIND", "SINCE", "UNTIL", "CALLS ITSELF"}, rows)
		}),
	}
}

func (s *session) sessionRevoke() *cobra.Command {
	return s.changing(&cobra.Command{
		Use: "revoke SESSION", Short: "End a session", Args: needs("SESSION"), Example: "  purser session revoke tok_01jd...",
		RunE: does(s, func(ctx context.Context, args []string) (x purser.Session, err error) {
			ctx, c, err := s.keyedClient(ctx)
			if err != nil {
				return x, err
			}
			return c.RevokeSession(ctx, purser.SessionRef{Session: args[0]})
		}, func(p *page, v purser.Session) { p.line("Ended %s.", v.ID) }),
	})
}

// checkPasskeys looks whether the settings would put the server under a name at
// which its passkeys do not work (RULES 23).
func checkPasskeys(ctx context.Context, c *client.Client, publicURL string) (says string, err error) {
	asked, err := c.AskSignIn(ctx, purser.AskSignIn{})
	if err != nil {
		return "", err
	}
	host, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(publicURL, "https://"), "http://"), ":")
	if host != "" && host != asked.RP && !strings.HasSuffix(host, "."+asked.RP) {
		return "", purser.Errorf(purser.InvalidState, "passkeys are for %s, and the settings say %s: none would work after the next start", asked.RP, publicURL)
	}
	return "they are for " + asked.RP, nil
}
