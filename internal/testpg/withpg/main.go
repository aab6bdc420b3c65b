// Command withpg runs a command with a throw-away PostgreSQL server, so that all packages of one `go test` share it.
//
//	withpg go test ./...
//
// The command finds the server's URL in PURSER_TEST_POSTGRES; if that is already
// set, it is used and no server is started. The exit code is the command's.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/purser-dev/purser/internal/testpg"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, "usage: withpg COMMAND [ARGUMENT...]")
		return 2
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if os.Getenv(testpg.Env) == "" {
		server, err := testpg.Start()
		if err != nil {
			fmt.Fprintln(os.Stderr, "withpg:", err)
			return 1
		}
		defer server.Stop()
		cmd.Env = append(os.Environ(), testpg.Env+"="+server.URL)
	}
	err := runUntilDone(cmd)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return max(exit.ExitCode(), 1)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "withpg:", err)
		return 1
	}
	return 0
}

// runUntilDone lets the command end in its own way: a ctrl-C reaches it by
// itself, a SIGTERM is passed on, and the server stops only after it.
func runUntilDone(cmd *exec.Cmd) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case err := <-done:
			return err
		case s := <-signals:
			if s == syscall.SIGTERM {
				_ = cmd.Process.Signal(s) // it may have ended just now; then done says so
			}
		}
	}
}
