package cli

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/client"
	"github.com/purser-dev/purser/internal/consent"
)

// signedIn is what login shows; the token itself stays in the file.
type signedIn struct {
	Server       string    `json:"server"`
	Organization string    `json:"organization,omitempty"`
	Person       string    `json:"person,omitempty"`
	Name         string    `json:"name,omitempty"`
	ExpiresAt    time.Time `json:"expires_at"`
	Stored       string    `json:"stored,omitempty"` // the file that was written
	*deviceAsks
}

func (s *session) login() *cobra.Command {
	var in purser.SetUp
	var resume string
	cmd := &cobra.Command{
		Use: "login", Short: "Sign in as a person, on this machine",
		Long: "Sign in as a person. A code and an address are printed; open the address in any browser where you are signed in, and confirm the code.\n" +
			"With --json the code is printed and the command ends; purser login --resume TOKEN waits for the answer.\n" +
			"With --email a passphrase is asked on the terminal instead. It never leaves this machine: it makes a key that signs the server's challenge.\n" +
			"The token that is stored may read, propose and reduce; whatever loosens a control asks for a passkey or the passphrase again.",
		Example: "  purser login\n  purser login --json\n  purser login --email ada@example.com\n  purser login --setup CODE --organization Analytical --name Ada --email ada@example.com",
		Args:    needs(),
	}
	f := cmd.Flags()
	f.StringVar(&in.Code, "setup", "", "the single-use code that the first start of the server printed")
	f.StringVar(&in.Organization, "organization", "", "with --setup: a name for the organization")
	f.StringVar(&in.Name, "name", "", "with --setup: your name")
	f.StringVar(&in.Email, "email", "", "your e-mail address: sign in with the passphrase, on this terminal")
	f.StringVar(&in.Timezone, "timezone", "", "with --setup: IANA name; months begin and end there (default: UTC)")
	f.StringVar(&resume, "resume", "", "wait for the answer to a code that was printed before")
	cmd.RunE = does(s, func(ctx context.Context, _ []string) (signedIn, error) {
		c, err := s.clientWith("") // a stored token that ran out must not stand in the way
		if err != nil {
			return signedIn{}, err
		}
		if in.Code == "" && in.Email == "" {
			return s.byDevice(ctx, c, resume)
		}
		enter := s.signIn
		if in.Code != "" {
			enter = s.setUp
		}
		got, err := enter(ctx, c, in)
		if err != nil {
			return signedIn{}, err
		}
		return s.stored(got, in.Email)
	}, func(p *page, v signedIn) {
		p.line("Signed in at %s as %s.", v.Server, v.Name)
		p.line("wrote %s (mode 600, until %s)", v.Stored, v.ExpiresAt.Format("2006-01-02 15:04 MST"))
		p.line("next: purser init NAME")
	})
	return cmd
}

func (s *session) stored(got purser.SignedIn, email string) (signedIn, error) {
	if err := s.keep(credential{Token: got.Token, Email: email, ExpiresAt: got.ExpiresAt}); err != nil {
		return signedIn{}, err
	}
	path, err := s.credentialsFile()
	return signedIn{
		Server: s.address(), Organization: got.Organization, Person: got.Person, Name: got.Name,
		ExpiresAt: got.ExpiresAt.UTC(), Stored: path,
	}, err
}

// fill asks for what was not typed.
func (s *session) fill(ctx context.Context, value *string, what, prompt string) (err error) {
	if *value == "" {
		*value, err = s.ask(ctx, what, prompt)
	}
	if err == nil && *value == "" {
		err = purser.Errorf(purser.InvalidRequest, "%s is needed", what)
	}
	return err
}

func (s *session) setUp(ctx context.Context, c *client.Client, in purser.SetUp) (purser.SignedIn, error) {
	for _, q := range []struct {
		value        *string
		what, prompt string
	}{
		{&in.Organization, "the name of the organization", "Name of the organization: "},
		{&in.Name, "your name", "Your name: "},
		{&in.Email, "your e-mail address", "Your e-mail address: "},
	} {
		if err := s.fill(ctx, q.value, q.what, q.prompt); err != nil {
			return purser.SignedIn{}, err
		}
	}
	passphrase, err := s.newPassphrase(ctx)
	if err != nil {
		return purser.SignedIn{}, err
	}
	defer clear(passphrase)
	if in.KDF, in.PublicKey, err = consent.NewKey(passphrase, s.Random); err != nil {
		return purser.SignedIn{}, err
	}
	return c.SetUp(ctx, in)
}

func (s *session) newPassphrase(ctx context.Context) ([]byte, error) {
	const what = "a new passphrase"
	first, err := s.askSecret(ctx, what, "New passphrase (12 characters or more): ")
	if err != nil {
		return nil, err
	}
	again, err := s.askSecret(ctx, what, "The same passphrase again: ")
	if err != nil {
		return nil, err
	}
	defer clear(again)
	if !bytes.Equal(first, again) {
		clear(first)
		return nil, purser.Errorf(purser.InvalidRequest, "the two passphrases differ").WithHint("type the same command again")
	}
	return first, nil
}

func (s *session) signIn(ctx context.Context, c *client.Client, in purser.SetUp) (purser.SignedIn, error) {
	if in.Email == "" {
		if known, err := s.credentials(); err == nil {
			in.Email = known.Servers[s.address()].Email
		}
	}
	if err := s.fill(ctx, &in.Email, "your e-mail address", "Your e-mail address: "); err != nil {
		return purser.SignedIn{}, err
	}
	challenge, err := c.AskSignIn(ctx, purser.AskSignIn{Email: in.Email})
	if err != nil {
		return purser.SignedIn{}, err
	}
	signature, err := s.consent(c).SignIn(ctx, challenge)
	if err != nil {
		return purser.SignedIn{}, err
	}
	return c.SignIn(ctx, purser.SignIn{Email: in.Email, Act: signature})
}

func (s *session) logout() *cobra.Command {
	return &cobra.Command{
		Use: "logout", Short: "End the stored sign-in, here and at the server", Args: needs(),
		Example: "  purser logout",
		RunE: does(s, func(ctx context.Context, _ []string) (purser.Accepted, error) {
			known, err := s.credentials()
			if err != nil {
				return purser.Accepted{}, err
			}
			token := known.Servers[s.address()].Token
			if token == "" {
				return purser.Accepted{}, purser.Errorf(purser.NotSignedIn, "there is no stored sign-in for %s", s.address()).WithHint("purser login")
			}
			c, err := s.clientWith(token)
			if err != nil {
				return purser.Accepted{}, err
			}
			if _, err = c.SignOut(ctx, purser.SignOut{}); err != nil && purser.CodeOf(err) != purser.NotSignedIn {
				return purser.Accepted{}, fmt.Errorf("ending the sign-in at the server: %w", err)
			}
			return purser.Accepted{OK: true}, s.keep(credential{})
		}, func(p *page, _ purser.Accepted) { p.line("Signed out of %s.", s.address()) }),
	}
}
