package cli

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/client"
)

// deviceAsks is a sign-in that waits for a person, as --json shows it.
type deviceAsks struct {
	State        string `json:"state"` // waiting
	UserCode     string `json:"user_code"`
	Page         string `json:"verification_uri"`
	CompletePage string `json:"verification_uri_complete"`
	Resume       string `json:"resume"` // purser login --resume
}

// pendingLogin is a sign-in that waits, as it is kept in the file: the device's code is
// a secret, so what is typed later is only its name.
type pendingLogin struct {
	Server    string    `json:"server"`
	Code      string    `json:"code"`
	Interval  int64     `json:"interval"` // seconds
	ExpiresAt time.Time `json:"expires_at"`
}

// byDevice signs in with a code that a person confirms in a browser (RFC 8628).
func (s *session) byDevice(ctx context.Context, c *client.Client, resume string) (signedIn, error) {
	if resume != "" {
		return s.resumeDevice(ctx, c, resume)
	}
	asked, err := c.AskDevice(ctx, s.deviceName())
	if err != nil {
		return signedIn{}, err
	}
	p := pendingLogin{Server: s.address(), Code: asked.DeviceCode, Interval: asked.Interval, ExpiresAt: s.Now().Add(time.Duration(asked.ExpiresIn) * time.Second).UTC().Truncate(time.Second)}
	resume, err = s.keepPending(p)
	if err != nil {
		return signedIn{}, err
	}
	if s.json {
		return signedIn{Server: p.Server, ExpiresAt: p.ExpiresAt, deviceAsks: &deviceAsks{
			State: "waiting", UserCode: asked.UserCode, Page: asked.Page, CompletePage: asked.CompletePage, Resume: resume,
		}}, nil
	}
	s.note("Open %s in a browser and enter the code %s", asked.Page, asked.UserCode)
	s.note("  or open %s and compare it", asked.CompletePage)
	s.note("It is good until %s. Waiting; to wait again later: purser login --resume %s", p.ExpiresAt.Local().Format("15:04:05"), resume)
	return s.awaitDevice(ctx, c, resume, p)
}

// deviceName is what the person reads of this device.
func (s *session) deviceName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "a machine without a name"
	}
	if user := s.getenv("USER"); user != "" {
		host = user + " at " + host
	}
	return "purser of " + host
}

func (s *session) resumeDevice(ctx context.Context, c *client.Client, resume string) (signedIn, error) {
	known, err := s.credentials()
	if err != nil {
		return signedIn{}, err
	}
	p, ok := known.Pending[resume]
	if !ok {
		return signedIn{}, purser.Errorf(purser.NotFound, "no sign-in waits here under %q", resume).WithHint("purser login")
	}
	if p.Server != s.address() {
		return signedIn{}, purser.Errorf(purser.InvalidRequest, "this sign-in is for %s, not for %s", p.Server, s.address()).
			WithHint("purser login --server %s --resume %s", p.Server, resume)
	}
	return s.awaitDevice(ctx, c, resume, p)
}

// awaitDevice asks until there is an answer, as seldom as the server wants.
func (s *session) awaitDevice(ctx context.Context, c *client.Client, resume string, p pendingLogin) (signedIn, error) {
	every := max(time.Duration(p.Interval)*time.Second, time.Second)
	for {
		got, err := c.RedeemDevice(ctx, p.Code)
		var e *purser.Error
		switch code := purser.CodeOf(err); {
		case err == nil:
			return s.stored(got, "")
		case code == purser.AuthorizationPending, code == purser.Unavailable, code == purser.Overloaded:
		case code == purser.TooManyTries && errors.As(err, &e):
			every = max(every, e.RetryAfter)
		default:
			if forgotten := s.rewrite(func(k *credentials) { delete(k.Pending, resume) }); forgotten != nil {
				s.note("%v", forgotten)
			}
			return signedIn{}, err
		}
		if s.Now().After(p.ExpiresAt.Add(every)) {
			return signedIn{}, purser.Errorf(purser.ExpiredToken, "the code was not confirmed in time").WithHint("purser login")
		}
		select {
		case <-ctx.Done():
			return signedIn{}, ctx.Err()
		case <-time.After(every):
		}
	}
}

// keepPending stores a sign-in that waits, and gives it a name that is no secret.
func (s *session) keepPending(p pendingLogin) (string, error) {
	var b [8]byte
	if _, err := io.ReadFull(s.Random, b[:]); err != nil {
		return "", fmt.Errorf("reading randomness: %w", err)
	}
	name := "login_" + hex.EncodeToString(b[:])
	return name, s.rewrite(func(k *credentials) {
		for other, old := range k.Pending {
			if s.Now().After(old.ExpiresAt) {
				delete(k.Pending, other)
			}
		}
		if k.Pending == nil {
			k.Pending = map[string]pendingLogin{}
		}
		k.Pending[name] = p
	})
}

func (s *session) whoami() *cobra.Command {
	return &cobra.Command{
		Use: "whoami", Short: "Tell which credential is held: a person's, a platform's, or an agent's, and of which run", Args: needs(), Example: "  purser whoami",
		RunE: does(s, func(ctx context.Context, _ []string) (purser.WhoAmI, error) {
			c, err := s.client()
			if err != nil {
				return purser.WhoAmI{}, err
			}
			return c.Whoami(ctx, purser.None{})
		}, func(p *page, v purser.WhoAmI) {
			where := "in " + v.OrganizationName + " at " + s.address()
			switch v.Kind {
			case purser.Agent:
				p.line("an agent's token: %s (%s), run %s, %s", v.Name, v.ID, v.Run, where)
				p.line("it buys within its run, and approves nothing")
				if v.Scope != "" {
					p.line("scope: %s", v.Scope)
				}
			case purser.Platform:
				p.line("a platform's token: %s (%s), %s", v.Name, v.ID, where)
				p.line("it spends in any run, and settles what it spent")
			default:
				p.line("a %s's token: %s (%s), %s, %s", v.Kind, v.Name, v.ID, v.Role, where)
				p.line("it reads, proposes and reduces; to loosen a control needs a signature")
			}
			if v.ExpiresAt != nil {
				p.line("until %s", v.ExpiresAt.UTC().Format("2006-01-02 15:04 MST"))
			}
		}),
	}
}
