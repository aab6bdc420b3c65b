package demo

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/client"
	"github.com/purser-dev/purser/internal/act"
	"github.com/purser-dev/purser/internal/consent"
)

// embark makes the organization, its owner, a project and a run. The passphrase
// is 256 random bits that nobody reads: it stands for the one a person would type.
func (v *Voyage) embark(ctx context.Context) error {
	random := make([]byte, 32)
	if _, err := io.ReadFull(v.Random, random); err != nil {
		return fmt.Errorf("making a passphrase: %w", err)
	}
	v.secret = []byte(base64.RawURLEncoding.EncodeToString(random))
	clear(random)
	if err := v.signUp(ctx); err != nil {
		return err
	}
	project, err := v.person.CreateProject(ctx, purser.CreateProject{Name: "voyage"})
	if err != nil {
		return fmt.Errorf("making the project: %w", err)
	}
	in := purser.CreateRun{
		Project: project.ID, Agent: "demo-agent", Budget: v.Budget, Expires: "1h",
		Purpose: "take a folder live on " + v.Domain,
	}
	if in.Act, err = v.consent().Sign(ctx, "create_run", in); err != nil {
		return fmt.Errorf("signing the run: %w", err)
	}
	if v.run, err = v.person.CreateRun(ctx, in); err != nil {
		return fmt.Errorf("making the run: %w", err)
	}
	v.Say("the owner made a project and a run of %s for one agent", v.Budget)
	return nil
}

func (v *Voyage) signUp(ctx context.Context) error {
	anyone, err := client.New(client.Config{URL: v.Ready.URL})
	if err != nil {
		return err
	}
	in := purser.SetUp{Code: v.Ready.Setup, Organization: "Demo", Name: "Demo Owner", Email: "owner@demo.example"}
	if in.KDF, in.PublicKey, err = consent.NewKey(v.secret, v.Random); err != nil {
		return fmt.Errorf("making the owner's key: %w", err)
	}
	signedIn, err := anyone.SetUp(ctx, in)
	if err != nil {
		return fmt.Errorf("making the organization: %w", err)
	}
	v.token = signedIn.Token
	v.person, err = client.New(client.Config{URL: v.Ready.URL, Token: v.token})
	return err
}

func (v *Voyage) consent() consent.Consent {
	return consent.Consent{Server: v.person, Passphrase: func(context.Context, act.Document) ([]byte, error) {
		return append([]byte(nil), v.secret...), nil // a copy: it is wiped after use
	}}
}

// decide shows the plan to the person, and signs or denies it. What the person
// takes to think is not the machine's time.
func (v *Voyage) decide(ctx context.Context, id string) error {
	plan, err := v.person.ShowPlan(ctx, purser.PlanRef{Plan: id})
	if err != nil {
		return fmt.Errorf("showing the plan: %w", err)
	}
	if _, err := consent.Digest(plan); err != nil {
		return err
	}
	asked := v.Now()
	yes, decided, err := v.ask(ctx, plan)
	if !v.Auto {
		v.asked += v.Now().Sub(asked)
	}
	if err != nil || decided {
		return err
	}
	if !yes {
		if _, err := v.person.Deny(ctx, purser.Deny{Plan: id, Reason: "the person said no"}); err != nil {
			return fmt.Errorf("denying the plan: %w", err)
		}
		return purser.Errorf(purser.PlanDenied, "the person said no to plan %s; nothing was bought", id).WithHint("purser demo")
	}
	signature, err := v.consent().Approve(ctx, plan)
	if err != nil {
		return fmt.Errorf("signing the plan: %w", err)
	}
	if _, err := v.person.Approve(ctx, purser.Approve{Plan: id, Act: signature}); err != nil {
		return fmt.Errorf("approving the plan: %w", err)
	}
	return nil
}

// ask asks on the terminal, and meanwhile looks whether the person decided in the
// browser. decided: the browser said yes, and the terminal has nothing to sign.
func (v *Voyage) ask(ctx context.Context, plan purser.Plan) (yes, decided bool, err error) {
	if v.Auto {
		yes, err = v.Decide(ctx, plan, Page{})
		return yes, false, err
	}
	at, err := v.page(ctx, plan.ID)
	if err != nil {
		return false, false, err
	}
	asking, end := context.WithCancel(ctx)
	defer end()
	state := make(chan purser.PlanState, 1)
	go func() { state <- v.decidedElsewhere(asking, plan.ID, end) }()
	yes, err = v.Decide(asking, plan, at)
	end()
	switch s := <-state; {
	case s == purser.PlanIsDenied:
		return false, false, purser.Errorf(purser.PlanDenied, "the person said no to plan %s; nothing was bought", plan.ID).WithHint("purser demo")
	case s != "":
		v.Say("approved in the browser, with a passkey")
		return true, true, nil
	}
	return yes, false, err
}

// decidedElsewhere looks until the plan waits no longer, and then ends the asking.
// It is empty when the asking ended first.
func (v *Voyage) decidedElsewhere(ctx context.Context, id string, end func()) purser.PlanState {
	for tick := time.NewTicker(300 * time.Millisecond); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return ""
		case <-tick.C:
		}
		plan, err := v.person.ShowPlan(ctx, purser.PlanRef{Plan: id})
		if err == nil && plan.State != purser.PlanWaiting {
			tick.Stop()
			end()
			return plan.State
		}
	}
}

// page makes a link with which the demo's owner, who has a passphrase, makes a
// passkey in a browser, and then comes to the plan.
func (v *Voyage) page(ctx context.Context, plan string) (Page, error) {
	in := purser.AddPasskey{}
	var err error
	if in.Act, err = v.consent().Sign(ctx, "add_passkey", in); err != nil {
		return Page{}, fmt.Errorf("signing for a passkey: %w", err)
	}
	made, err := v.person.AddPasskey(ctx, in)
	if err != nil {
		return Page{}, fmt.Errorf("asking for a passkey: %w", err)
	}
	link, err := url.Parse(made.Link)
	if err != nil {
		return Page{}, fmt.Errorf("reading the link to make a passkey: %w", err)
	}
	q := link.Query()
	at := Page{Code: q.Get("code")}
	q.Set("next", "/approvals/"+plan)
	link.RawQuery = q.Encode()
	at.Link = link.String()
	q.Del("code")
	link.RawQuery = q.Encode()
	at.URL = link.String()
	return at, nil
}

// LookAround stores the person's token below the demo's folder, so that other
// commands can read, and returns the settings that they need.
func (v *Voyage) LookAround() (string, error) {
	config := filepath.Join(v.Dir, "person")
	file := map[string]any{"version": 1, "servers": map[string]any{
		v.Ready.URL: map[string]any{"token": v.token, "email": "owner@demo.example", "expires_at": v.Now().Add(24 * time.Hour).UTC()},
	}}
	text, err := json.Marshal(file)
	if err != nil {
		return "", fmt.Errorf("storing the person's token: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(config, "purser"), 0o700); err != nil {
		return "", fmt.Errorf("storing the person's token: %w", err)
	}
	if err := os.WriteFile(filepath.Join(config, "purser", "credentials.json"), text, 0o600); err != nil {
		return "", fmt.Errorf("storing the person's token: %w", err)
	}
	return fmt.Sprintf("XDG_CONFIG_HOME=%s PURSER_URL=%s", config, v.Ready.URL), nil
}
