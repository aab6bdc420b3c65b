package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"reflect"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/purser-dev/purser"
)

// Terminal is where a person can be asked. Secrets come from here and from
// nowhere else: not from arguments, not from the environment, not from a file.
type Terminal struct {
	in, out *os.File
	close   bool
}

// openTerminal opens the controlling terminal; when there is none, standard
// input serves if it is a terminal.
func openTerminal() (*Terminal, error) {
	if f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0); err == nil {
		return &Terminal{in: f, out: f, close: true}, nil
	}
	if term.IsTerminal(int(os.Stdin.Fd())) {
		return &Terminal{in: os.Stdin, out: os.Stderr}, nil
	}
	return nil, errors.New("there is no terminal")
}

// Close gives the terminal back.
func (t *Terminal) Close() error {
	if t.close {
		return t.in.Close()
	}
	return nil
}

// Line asks for one line.
func (t *Terminal) Line(ctx context.Context, prompt string) (string, error) {
	fmt.Fprint(t.out, visible(prompt))
	line, err := typing(ctx, func() ([]byte, error) { return readLine(t.in) })
	return strings.TrimSpace(string(line)), err
}

// Note tells something on the terminal.
func (t *Terminal) Note(text string) { fmt.Fprintln(t.out, visible(text)) }

// Secret asks without echo, and only when there is none any more: what is pasted as soon
// as it is asked for would be shown. Whatever ends the program gives the terminal its
// echo back first: also ctrl-\, which elsewhere shows where the program is.
func (t *Terminal) Secret(ctx context.Context, prompt string) ([]byte, error) {
	state, err := term.GetState(int(t.in.Fd()))
	if err != nil {
		return nil, fmt.Errorf("asking on the terminal: %w", err)
	}
	defer func() { _ = term.Restore(int(t.in.Fd()), state) }()
	asking, heard := signal.NotifyContext(ctx, syscall.SIGQUIT, syscall.SIGABRT)
	defer heard()
	read, asked := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(asked)
		t.silent(state, read)
		fmt.Fprint(t.out, visible(prompt))
	}()
	secret, err := typing(asking, func() ([]byte, error) {
		defer close(read)
		return term.ReadPassword(int(t.in.Fd()))
	})
	if asking.Err() != nil && ctx.Err() == nil {
		err = errQuit
	}
	<-asked
	fmt.Fprintln(t.out)
	return secret, err
}

// errQuit ends what asked for a secret when the person, or the system, ended the program
// by a signal that interrupts nothing else.
var errQuit = errors.New("the program was ended while it asked")

// silent waits until the terminal is another than before, which reading a secret makes it
// first of all; or until it was read; or for a moment, where it was silent before.
func (t *Terminal) silent(before *term.State, read <-chan struct{}) {
	patience, look := time.After(100*time.Millisecond), time.NewTicker(time.Millisecond)
	defer look.Stop()
	for {
		now, err := term.GetState(int(t.in.Fd()))
		if err != nil || !reflect.DeepEqual(now, before) {
			return
		}
		select {
		case <-look.C:
		case <-read:
			return
		case <-patience:
			return
		}
	}
}

// await runs a call that blocks and lets an interruption win. The call that is left
// behind ends with the process.
func await[T any](ctx context.Context, call func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	got := make(chan answer, 1)
	go func() {
		value, err := call()
		got <- answer{value, err}
	}()
	select {
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	case a := <-got:
		return a.value, a.err
	}
}

// typing is await for what a person types.
func typing(ctx context.Context, read func() ([]byte, error)) ([]byte, error) {
	text, err := await(ctx, read)
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, io.EOF):
		err = purser.Errorf(purser.NeedsPerson, "the terminal's input ended, and nobody answered").WithHint("type the same command again")
	case err != nil:
		err = fmt.Errorf("reading from the terminal: %w", err)
	}
	return text, err
}

// readLine reads byte by byte, so that nothing that was typed ahead is lost to
// a buffer.
func readLine(f *os.File) (line []byte, err error) {
	for b := make([]byte, 1); ; {
		n, err := f.Read(b)
		switch {
		case n == 1 && b[0] == '\n':
			return line, nil
		case n == 1:
			line = append(line, b[0])
		case err != nil:
			return line, err
		}
	}
}

// person opens the terminal for a question, or says what to do without one.
func (s *session) person(what string) (*Terminal, error) {
	t, err := s.Terminal()
	if err != nil {
		return nil, purser.Errorf(purser.NeedsPerson, "%s must be answered by a person on a terminal, and there is none", what).
			WithHint("type the same command in a terminal of your own")
	}
	return t, nil
}

// ask asks for one line on the terminal.
func (s *session) ask(ctx context.Context, what, prompt string) (string, error) {
	t, err := s.person(what)
	if err != nil {
		return "", err
	}
	defer t.Close()
	return t.Line(ctx, prompt)
}

// askSecret asks for one line without echo.
func (s *session) askSecret(ctx context.Context, what, prompt string) ([]byte, error) {
	t, err := s.person(what)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	return t.Secret(ctx, prompt)
}
