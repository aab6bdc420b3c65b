package console

import (
	"net/url"
	"strings"

	"github.com/purser-dev/purser"
)

// mostEffects is how many revocations a page has, which is sent again with each that follows:
// a client may have got thousands of tokens.
const mostEffects = 100

// stop stops a scope, at once. Stopping is reducing, so a session is enough.
func (c *Console) stop(v *visit) (string, error) {
	in := purser.Stop{Scope: v.r.PostForm.Get("scope"), ID: v.r.PostForm.Get("id"), Reason: v.r.PostForm.Get("reason")}
	if in.Reason == "" {
		in.Reason = "stopped in the console"
	}
	made, err := do[purser.StopInfo](v, "stop", in)
	return "/stops/" + url.PathEscape(made.ID), err
}

// stopped shows a stop: what was blocked, what is open, what became of each revocation.
func (c *Console) stopped(v *visit) (page, error) {
	s, err := do[purser.StopInfo](v, "show_stop", purser.StopRef{Stop: v.r.PathValue("stop")})
	if err != nil {
		return page{}, err
	}
	title := "Stopped: "
	if s.LiftedAt != nil {
		title = "Lifted stop: "
	}
	if title += stopName(s); s.Scope == "run" {
		r, err := do[purser.Run](v, "show_run", purser.RunRef{Run: s.Target})
		if err != nil {
			return page{}, err
		}
		title = strings.SplitAfter(title, ": ")[0] + runName(r)
	}
	return page{title: title, parts: []part{
		{id: "acknowledged", live: true, body: acknowledged(v, s)},
		{id: "open", live: true, body: openPart(s)},
		{id: "effects", live: true, body: effectsPart(s)},
		{id: "resume", body: resumePart(v, s)},
	}}, nil
}
