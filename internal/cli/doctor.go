package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/client"
	"github.com/purser-dev/purser/internal/config"
)

// diagnosis is what doctor found.
type diagnosis struct {
	Healthy  bool               `json:"healthy"`
	Server   string             `json:"server"`
	Findings []finding          `json:"findings"`
	Settings []config.Explained `json:"settings"`
}

// finding is one thing that was looked at.
type finding struct {
	What string      `json:"what"`
	OK   bool        `json:"ok"`
	Says string      `json:"says"`
	Code purser.Code `json:"code,omitempty"` // of a fault
	Hint string      `json:"hint,omitempty"`
}

func (s *session) doctor() *cobra.Command {
	var dir, file string
	cmd := &cobra.Command{
		Use: "doctor", Short: "Look for what is wrong, and say what to type", Args: needs(), Example: "  purser doctor\n  purser doctor --json",
		RunE: does(s, func(ctx context.Context, _ []string) (diagnosis, error) {
			d := s.diagnose(ctx, dir, file)
			if d.Healthy {
				return d, nil
			}
			bad := &purser.Error{Detail: "something is wrong; each fault says what to type"}
			for _, f := range d.Findings {
				if !f.OK && bad.Code == "" {
					bad.Code, bad.Hint = f.Code, f.Hint
				}
			}
			return d, &failure{error: bad, data: d, text: func(p *page) { showDiagnosis(p, d) }}
		}, showDiagnosis),
	}
	cmd.Flags().StringVar(&dir, "dir", "", "data folder (default: PURSER_DIR, else the user's data folder)")
	cmd.Flags().StringVar(&file, "config", "", "settings file (default: PURSER_CONFIG)")
	return cmd
}

func (s *session) diagnose(ctx context.Context, dir, file string) diagnosis {
	d := diagnosis{Healthy: true, Server: s.address()}
	add := func(what, hint string, err error, good string, args ...any) {
		f := finding{What: what, OK: err == nil, Says: fmt.Sprintf(good, args...)}
		if err != nil {
			told := describe(ctx, err)
			f.Says, f.Code, f.Hint, d.Healthy = told.Detail, purser.Code(told.Code), hint, false
		}
		d.Findings = append(d.Findings, f)
	}
	cfg, err := s.settings(dir, file, nil)
	add("settings", "correct the setting that is named", err, "data folder %s, database %s", cfg.Dir, cfg.Database)
	if err == nil {
		d.Settings = cfg.Explain()
		add("data folder", "chmod 700 "+cfg.Dir, private(cfg.Dir), "only you can read it")
		for _, w := range cfg.Warnings {
			d.Findings = append(d.Findings, finding{What: "settings", OK: true, Says: w})
		}
	}
	c, err := s.client()
	next := "purser login"
	if token, set := s.lookenv("PURSER_TOKEN"); set && token == "" {
		next = "unset PURSER_TOKEN"
	}
	add("credential", next, err, "of PURSER_TOKEN, or in a file readable by you alone, or none")
	if err == nil {
		s.diagnoseServer(ctx, c, cfg.PublicURL, add)
	}
	if _, err := exec.LookPath("git"); err != nil {
		d.Findings = append(d.Findings, finding{What: "git", OK: true, Says: "not installed; folders are identified by their manifest alone"})
	}
	return d
}

func (s *session) diagnoseServer(ctx context.Context, c *client.Client, publicURL string, add func(what, hint string, err error, good string, args ...any)) {
	whole := ctx
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := c.Health(ctx)
	next := "purser up"
	var away *net.OpError
	if purser.CodeOf(err) == purser.Unavailable && !errors.As(err, &away) { // it is up, and said so itself
		next = "see to the server's database and its disk: its log has the cause"
	}
	add("server", next, err, "answers at %s", s.address())
	if err != nil {
		return
	}
	says, err := checkPasskeys(ctx, c, publicURL)
	add("passkeys", "set public_url back, or let each person sign in with a recovery code", err, "%s", says)
	who, err := c.Whoami(ctx, purser.None{})
	if purser.CodeOf(err) == purser.Forbidden { // a provider's key, say: to sign in would change nothing
		add("sign-in", "", nil, "a credential that may not ask who it is")
		return
	}
	add("sign-in", "purser login", err, "%s %s of %s", who.Kind, who.Name, who.OrganizationName)
	if err != nil || who.Kind != purser.Person {
		return
	}
	status, err := c.Status(ctx, purser.AskStatus{})
	diagnoseWitness(status, err, add)
	skew := time.Duration(status.ClockSkew) * time.Microsecond
	if err == nil && skew.Abs() > purser.MostClockSkew {
		err = purser.Errorf(purser.ClockUnsafe, "the server's clock and the database's differ by %v: nothing is spent", skew.Round(time.Second))
	}
	add("clocks", "set the clocks (NTP)", err, "the server's and the database's agree")
	told, err := c.ListNotices(ctx, purser.Page{Limit: 1})
	ways := "by no way: people see what waits only when they look"
	if len(told.Ways) > 0 {
		ways = "by " + strings.Join(told.Ways, " and ")
	}
	if err == nil && len(told.Untold) > 0 {
		err = purser.Errorf(purser.Unavailable, "%d notices of the last week reached nobody within a day; the last: %s: %s",
			len(told.Untold), told.Untold[0].Subject, delivered(told.Untold[0]))
	}
	add("notices", "purser notices test", err, "people are told %s", ways)
	walk, end := context.WithTimeout(whole, time.Minute) // a million decisions take seconds
	defer end()
	books, err := c.CheckBooks(walk, purser.None{})
	if err == nil && !books.OK {
		err = purser.Errorf(purser.BooksBroken, "%s", strings.Join(books.Faults, "; "))
	}
	add("books", "purser books check", err, "they balance (%d movements)", books.Movements)
}

// witnessPatience is how many failed tries in a row doctor calls a fault: a minute. A
// place that never kept anything is not waited for: it is more likely a wrong setting.
const witnessPatience = 6

// diagnoseWitness looks whether copies of the log's checkpoints leave this place.
func diagnoseWitness(status purser.Status, err error, add func(what, hint string, err error, good string, args ...any)) {
	if err != nil || len(status.Witnesses) == 0 {
		add("witness", "purser status", err, "none: set audit.witness.file or audit.witness.url, or nobody can tell that the log was rolled back")
		return
	}
	for _, w := range status.Witnesses {
		var failing error
		if w.Fails >= witnessPatience || w.Fails > 0 && w.Size == 0 {
			failing = purser.Errorf(purser.Unavailable, "%s", witnessed(w))
		}
		add("witness", "see to the place that audit.witness."+w.Place+" names, or correct the setting", failing, "%s", witnessed(w))
	}
}

// private says what is wrong with the data folder; one that is not there yet is fine.
func private(dir string) error {
	info, err := os.Stat(dir)
	if os.IsNotExist(err) {
		return nil
	}
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = purser.Errorf(purser.InvalidState, "%s can be read by others (mode %o)", dir, info.Mode().Perm())
	}
	return err
}

func showDiagnosis(p *page, d diagnosis) {
	for _, f := range d.Findings {
		mark := "ok   "
		if !f.OK {
			mark = "FAULT"
		}
		p.line("%s  %s: %s", mark, f.What, f.Says)
		if f.Hint != "" {
			p.line("       next: %s", f.Hint)
		}
	}
}
