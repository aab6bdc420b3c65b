package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/purser-dev/purser"
)

// schema is the version of the object that --json prints.
const schema = 1

// envelope is the one object of --json.
type envelope struct {
	Version int      `json:"version"`
	OK      bool     `json:"ok"`
	Command string   `json:"command"`
	Key     string   `json:"key,omitempty"` // idempotency key of the changing call
	Data    any      `json:"data,omitempty"`
	Error   *problem `json:"error,omitempty"`
}

// problem is an error as --json prints it.
type problem struct {
	Code       string               `json:"code"`
	Class      purser.Class         `json:"class"`
	Detail     string               `json:"detail"`
	Hint       string               `json:"hint,omitempty"`
	Exit       int                  `json:"exit"`
	RetryAfter int                  `json:"retry_after,omitempty"` // seconds
	Plan       string               `json:"plan,omitempty"`
	Reference  string               `json:"reference,omitempty"`
	Replay     bool                 `json:"replay,omitempty"`
	Budgets    []purser.BudgetLine  `json:"budgets,omitempty"`
	Blockers   []purser.Blocker     `json:"blockers,omitempty"`
	Provider   *purser.ProviderSaid `json:"provider,omitempty"`
}

// exited is the exit code of a child whose own words are enough.
type exited int

func (e exited) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// standardOutput is standard output. After its first error it takes no more: half an
// object may stand there, and another one behind it would be read as part of it.
type standardOutput struct {
	io.Writer
	failed error
}

func (o *standardOutput) Write(p []byte) (int, error) {
	if o.failed != nil {
		return 0, o.failed
	}
	n, err := o.Writer.Write(p)
	o.failed = err
	return n, err
}

// unwritten is a place that took no more of what was written to it.
type unwritten struct {
	what string // that could not be written
	hint string
	error
}

func (u *unwritten) Unwrap() error { return u.error }

// unanswered is a command whose answer standard output did not take. The answer to a
// change is there once the change was made.
func (s *session) unanswered(err error) error {
	if s.key == "" {
		return &unwritten{"the answer", "", err}
	}
	return &unwritten{"it is done, but the answer", "the same command with --key " + s.key + " answers again, and does nothing twice", err}
}

// failure is an error that came with a result worth printing: a plan that
// failed half-way, an audit log that does not verify.
type failure struct {
	error
	data any
	text func(*page)
}

func (f *failure) Unwrap() error { return f.error }

// does joins what a command does with how its result is shown to people.
func does[T any](s *session, run func(ctx context.Context, args []string) (T, error), show func(*page, T)) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		data, err := run(cmd.Context(), args)
		if err != nil {
			return err
		}
		if s.json {
			return s.object(envelope{OK: true, Command: name(cmd), Data: data})
		}
		p := &page{}
		show(p, data)
		return s.text(p)
	}
}

// object prints the one object of --json.
func (s *session) object(e envelope) error {
	e.Version, e.Key = schema, s.key
	out := json.NewEncoder(s.Out)
	out.SetEscapeHTML(false)
	if err := out.Encode(e); err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	return nil
}

// flat prints a result whose members stand beside version, ok and command: the
// form that the demo promises.
func (s *session) flat(command string, data any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	head := fmt.Sprintf(`{"version":%d,"command":%q,`, schema, command)
	if _, err := fmt.Fprintf(s.Out, "%s%s\n", head, text[1:]); err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	return nil
}

func (s *session) text(p *page) error {
	if _, err := io.WriteString(s.Out, p.String()); err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	return nil
}

// fail prints an error and returns the exit code.
func (s *session) fail(ctx context.Context, command string, err error) int {
	var child exited
	if errors.As(err, &child) {
		return int(child)
	}
	var full *unwritten
	if errors.As(err, &full) && errors.Is(full, syscall.EPIPE) {
		return 128 + int(syscall.SIGPIPE) // whoever read has enough: that is what the system's own signal says
	}
	p := describe(ctx, err)
	if token, set := s.lookenv("PURSER_TOKEN"); set && token != "" && p.Hint == "purser login" { // which would change nothing
		p.Hint = "put the run's token in PURSER_TOKEN, or unset it to act as yourself"
	}
	var with *failure
	errors.As(err, &with)
	if s.json {
		e := envelope{Command: command, Error: &p}
		if with != nil {
			e.Data = with.data
		}
		if s.object(e) == nil {
			return p.Exit
		}
	} else if with != nil && with.text != nil {
		shown := &page{}
		with.text(shown)
		_ = s.text(shown) // standard output is gone; what is told below remains
	}
	fmt.Fprint(s.Err, s.explain(p))
	return p.Exit
}

// describe finds the code of an error. What has none is a fault of this program
// or of the machine it runs on; here, unlike at the server, its text is shown,
// because it is the person's own machine.
func describe(ctx context.Context, err error) problem {
	var child *exec.ExitError // the terminal's ctrl-C reaches children too
	if errors.Is(err, errQuit) || ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.As(err, &child)) {
		return problem{Code: "interrupted", Class: purser.ClassRetry, Detail: "interrupted", Exit: 130}
	}
	var full *unwritten
	if errors.As(err, &full) {
		return problem{
			Code: "unwritten", Class: purser.ClassRetry, Detail: fmt.Sprintf("%s cannot be written: %v", full.what, reason(full.error)), Hint: full.hint, Exit: purser.ExitFailure,
		}
	}
	var known *purser.Error
	var file *fs.PathError
	if !errors.As(err, &known) && errors.Is(err, syscall.ENOSPC) && errors.As(err, &file) {
		return describe(ctx, &unwritten{file.Path, "", err})
	}
	if !errors.As(err, &known) {
		info := purser.Internal.Info()
		return problem{Code: string(purser.Internal), Class: info.Class, Detail: err.Error(), Exit: info.Exit}
	}
	info := known.Code.Info()
	p := problem{
		Code: string(known.Code), Class: info.Class, Detail: known.Detail, Hint: known.Hint, Exit: info.Exit,
		RetryAfter: int(known.RetryAfter.Seconds()), Plan: known.Plan, Reference: known.Reference,
		Budgets: known.Budgets, Blockers: known.Blockers, Provider: known.Provider, Replay: known.Replay,
	}
	if p.Detail == "" {
		p.Detail = info.Meaning
	}
	return p
}

// explain says what happened, what it means, and what to type next.
func (s *session) explain(p problem) string {
	out := &page{}
	out.line("%s: %s", p.Code, p.Detail)
	// A fault of this machine has no reference in a server's log.
	local := p.Code == string(purser.Internal) && p.Reference == ""
	if info := purser.Code(p.Code).Info(); string(info.Code) == p.Code && info.Meaning != p.Detail && !local {
		out.line("  %s", info.Meaning)
	}
	for _, b := range p.Blockers {
		where := "the plan"
		if b.Step > 0 {
			where = fmt.Sprintf("step %d", b.Step)
		}
		out.line("  %s: %s: %s%s", where, b.Code, b.Detail, hinted(b.Hint))
	}
	for _, b := range p.Budgets {
		resets := ""
		if b.ResetsAt != nil {
			resets = "; it begins anew at " + clock(*b.ResetsAt)
		}
		out.line("  %s, needed %s%s", budgetText(b), minor(b.Needed, b), resets)
	}
	if q := p.Provider; q != nil {
		out.line("  the provider said (quoted, not followed): %q %q", q.Code, q.Message)
	}
	if p.Replay {
		out.line("  the answer that this key got before; a new key asks again")
	}
	if p.Reference != "" {
		out.line("  reference in the server's log: %s", p.Reference)
	}
	if p.RetryAfter > 0 {
		out.line("  try again in %d s", p.RetryAfter)
	}
	if p.Hint != "" {
		out.line("next: %s", p.Hint)
	}
	return s.coloured(out.String())
}

func hinted(hint string) string {
	if hint == "" {
		return ""
	}
	return " (" + hint + ")"
}

// coloured makes the first word red when a person looks at a terminal.
func (s *session) coloured(text string) string {
	f, isFile := s.Err.(*os.File)
	if !isFile || s.getenv("NO_COLOR") != "" || s.getenv("TERM") == "dumb" || !term.IsTerminal(int(f.Fd())) {
		return text
	}
	word, rest, _ := strings.Cut(text, ":")
	return "\x1b[1;31m" + word + "\x1b[0m:" + rest
}

// page is a text for people. Everything on it is made visible: what a provider
// or an agent wrote can move no cursor and hide no letter.
type page struct{ strings.Builder }

func (p *page) line(format string, args ...any) {
	p.WriteString(visible(fmt.Sprintf(format, args...)))
	p.WriteByte('\n')
}

// table prints rows under a header; the columns are listed by each caller.
func (p *page) table(header []string, rows [][]string) {
	widths := make([]int, len(header))
	for _, row := range append([][]string{header}, rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(visible(cell)))
		}
	}
	for _, row := range append([][]string{header}, rows...) {
		var b strings.Builder
		for i, cell := range row {
			cell = visible(cell)
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		p.line("%s", strings.TrimRight(b.String(), " "))
	}
}

// visible replaces what does not show: control characters, and the format
// characters that reorder or hide text.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
			return '·'
		}
		return r
	}, s)
}

// asksJSON looks for --json before the flags are parsed, because a wrong flag
// is an error that must be an object too.
func asksJSON(args []string) bool {
	for _, a := range args {
		if a == "--" {
			return false
		}
		if a == "--json" || a == "--json=true" {
			return true
		}
	}
	return false
}

// misused is a command line that cannot be understood.
func misused(cmd *cobra.Command, format string, args ...any) error {
	return purser.Errorf(purser.InvalidRequest, format, args...).WithHint("%s --help", cmd.CommandPath())
}

// needs checks the number of arguments by their names; a name in brackets may
// be left out, and one that ends in dots may come again.
func needs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		for i, n := range names {
			if i >= len(args) && !strings.HasPrefix(n, "[") {
				return misused(cmd, "%s needs %s", cmd.CommandPath(), n)
			}
		}
		if len(args) <= len(names) || len(names) > 0 && strings.HasSuffix(names[len(names)-1], "...]") {
			return nil
		}
		extra := args[len(names)]
		cmd.SuggestionsMinimumDistance = 2
		if near := cmd.SuggestionsFor(extra); len(near) > 0 {
			return misused(cmd, "%s has no command %q; the nearest is %q", cmd.CommandPath(), extra, near[0])
		}
		return misused(cmd, "%s does not know what to do with %q", cmd.CommandPath(), extra)
	}
}

// family is a command that only holds others.
func family(use, short string, members ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: needs(), RunE: func(cmd *cobra.Command, _ []string) error {
		var names []string
		for _, m := range cmd.Commands() {
			names = append(names, m.Name())
		}
		return misused(cmd, "%s needs one of: %s", cmd.CommandPath(), strings.Join(names, ", "))
	}}
	cmd.AddCommand(members...)
	return cmd
}
