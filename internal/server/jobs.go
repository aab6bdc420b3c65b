package server

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/purser-dev/purser"
)

// job is something that is done again and again while the server runs.
type job struct {
	name  string
	every time.Duration
	do    func(context.Context) error
}

// jobs lists what the office wants to be woken for.
func (p *parts) jobs() []job {
	return []job{
		{"errands", 30 * time.Second, p.office.Errands}, // removals, catalogs: what waits for providers
		{"recover", 5 * time.Second, p.office.Recover},  // orders and revocations that a crash or a lost answer left
		{"checkpoint", 0, p.office.NextCheckpoint},      // RULES 22: each second or thousand records; it waits by itself
		{"witness", time.Second, p.office.Testify},      // copies of checkpoints, elsewhere
		{"due", time.Second, p.office.Due},              // renewals, expiries
		{"notices", time.Second, p.office.Tell},         // what people are to be told
	}
}

// run does the job at once and then at its interval, counted from the end of the
// last time, so that a slow one never runs twice. A failure is logged once, until
// it goes well again or fails in another way, and never ends the server.
func (j job) run(ctx context.Context, log *slog.Logger) {
	said := purser.Code("")
	for {
		err := j.safely(ctx)
		code := purser.Code("")
		if err != nil {
			code = purser.CodeOf(err)
		}
		switch {
		case ctx.Err() != nil:
			return
		case code == said:
		case err != nil:
			log.Error("background work fails", "job", j.name, "code", string(code), "cause", chain(err))
		default:
			log.Info("background work goes on", "job", j.name)
		}
		said = code
		select {
		case <-ctx.Done():
			return
		case <-time.After(j.every):
		}
	}
}

// safely turns a panic into a failure: one broken order must not end the doors.
func (j job) safely(ctx context.Context) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = panicked(r)
		}
	}()
	return j.do(ctx)
}

// chain writes an error with what its parts keep from being shown; it goes to the
// operator's log only.
func chain(err error) string {
	text := err.Error()
	var e *purser.Error
	for errors.As(err, &e) && e.Cause != nil {
		err = e.Cause
		text += ": " + err.Error()
	}
	return text
}
