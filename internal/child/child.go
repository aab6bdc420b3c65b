// Package child starts a process whose life ends with this one's, however this one ends.
//
// The child holds the reading end of a pipe as its standard input; when the
// parent is gone, even by kill -9, the pipe ends and the child stops itself
// (Bound). On Linux the kernel tells it as well.
package child

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"sync"
	"time"
)

// Process is a running child.
type Process struct {
	cmd   *exec.Cmd
	life  io.Closer
	apart bool
	done  chan struct{}
	err   error // of Wait; read after done
	once  sync.Once
}

// Start runs cmd with the pipe as its standard input. With apart it gets a
// process group of its own, so that a ctrl-C on the terminal reaches only the
// parent, which then ends the child in order.
func Start(cmd *exec.Cmd, apart bool) (*Process, error) {
	life, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	bind(cmd, apart)
	p := &Process{cmd: cmd, life: life, apart: apart, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The kernel's signal follows the thread that started the child, not the
		// process; this thread stays until the child has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, errors.Join(fmt.Errorf("starting %s: %w", cmd.Path, err), life.Close())
	}
	return p, nil
}

// Pid is the process identifier.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the child has ended and was waited for.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err tells how the child ended; it waits for the end.
func (p *Process) Err() error {
	<-p.done
	return p.err
}

// Tell writes to the child's standard input.
func (p *Process) Tell(text string) error {
	_, err := io.WriteString(p.life.(io.Writer), text)
	return err
}

// Stop closes the pipe, waits for the child to end by itself, and kills it when
// the grace is over. It may be called twice and by several.
func (p *Process) Stop(grace time.Duration) error {
	p.once.Do(func() { _ = p.life.Close() }) // a child that has ended closed it already
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		kill(p.cmd, p.apart)
		<-p.done
	}
	return p.err
}

// Bound is for the child: the context ends when the parent has closed the pipe
// or is gone.
func Bound(ctx context.Context, input io.Reader) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, input) // an error is an end as well
	}()
	return ctx, cancel
}
