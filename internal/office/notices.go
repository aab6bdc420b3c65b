package office

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/notice"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

const (
	whoMe           = "me"
	whoOrganization = "organization"

	untoldFor = 7 * 24 * time.Hour // a notice that was given up is shown for so long
)

// ListNotices lists what people were told, newest first, and what became of it.
func (o *Office) ListNotices(ctx context.Context, by purser.Actor, in purser.Page) (out purser.Notices, err error) {
	limit, err := page(in, named(purser.PrefixNotice))
	if err != nil {
		return out, err
	}
	q := o.Store.Read()
	rows, err := q.NoticesBefore(ctx, db.NoticesBeforeParams{Organization: by.Organization, Before: in.Cursor, RowLimit: limit + 1})
	if err != nil {
		return out, err
	}
	cutRows := cut(rows, limit, func(n db.Notice) db.Notice { return n }, func(n db.Notice) string { return n.ID })
	out = purser.Notices{Items: []purser.Notice{}, NextCursor: cutRows.NextCursor, Ways: o.ways(), Choices: []purser.NoticeChoice{}}
	for _, row := range cutRows.Items {
		n, err := o.showNotice(ctx, q, row)
		if err != nil {
			return out, err
		}
		out.Items = append(out.Items, n)
	}
	for _, k := range notice.Kinds() {
		out.Kinds = append(out.Kinds, string(k))
	}
	choices, err := o.choices(ctx, q, by.Organization)
	if err != nil {
		return out, err
	}
	for _, c := range choices {
		switch c.Person {
		case "":
			out.Choices = append(out.Choices, purser.NoticeChoice{Who: whoOrganization, Kind: c.Kind, Ways: c.Ways})
		case by.ID:
			out.Choices = append(out.Choices, purser.NoticeChoice{Who: whoMe, Kind: c.Kind, Ways: c.Ways})
		}
	}
	out.Holds = o.holding(by, choices)
	out.Untold, err = o.untold(ctx, q, by)
	return out, err
}

// holding is what the choices come to, kind by kind: who is told by which of the
// ways that the server is set up for.
func (o *Office) holding(by purser.Actor, choices []notice.Choice) []purser.NoticeChoice {
	out := []purser.NoticeChoice{}
	able := func(ways []string, most ...string) []string {
		kept := []string{}
		for _, w := range ways {
			if slices.Contains(most, w) && o.Couriers[w] != nil {
				kept = append(kept, w)
			}
		}
		return kept
	}
	for _, k := range notice.Kinds() {
		if by.Kind == purser.Person {
			ways, own := notice.WaysOf(choices, by.ID, k)
			if by.Role == purser.Viewer && !own {
				ways = nil
			}
			out = append(out, purser.NoticeChoice{Who: whoMe, Kind: string(k), Ways: able(ways, notice.Mail)})
		}
		ways, _ := notice.WaysOf(choices, "", k)
		out = append(out, purser.NoticeChoice{Who: whoOrganization, Kind: string(k), Ways: able(ways, notice.Ways()...)})
	}
	return out
}

// ways lists the ways that the server is set up for.
func (o *Office) ways() []string {
	out := []string{}
	for _, w := range notice.Ways() {
		if o.Couriers[w] != nil {
			out = append(out, w)
		}
	}
	return out
}

// untold lists the notices that nobody could be told of. It is no agent's business.
func (o *Office) untold(ctx context.Context, q *db.Queries, by purser.Actor) ([]purser.Notice, error) {
	out, seen := []purser.Notice{}, map[string]bool{}
	if by.Kind != purser.Person {
		return out, nil
	}
	lost, err := q.DeliveriesInState(ctx, db.DeliveriesInStateParams{
		Organization: by.Organization, State: deliveryGivenUp, After: store.Micro(o.Now().Add(-untoldFor)), RowLimit: 50,
	})
	if err != nil {
		return out, err
	}
	for _, d := range lost {
		if seen[d.Notice] {
			continue
		}
		seen[d.Notice] = true
		row, err := q.Notice(ctx, db.NoticeParams{Organization: by.Organization, ID: d.Notice})
		if err != nil {
			return out, err
		}
		n, err := o.showNotice(ctx, q, row)
		if err != nil {
			return out, err
		}
		out = append(out, n)
	}
	return out, nil
}

func (o *Office) showNotice(ctx context.Context, q *db.Queries, row db.Notice) (purser.Notice, error) {
	out := purser.Notice{
		ID: row.ID, Kind: row.Kind, About: row.About, Subject: row.Subject, URL: o.linkTo(row.Link), Project: row.Project, Run: row.Run,
		CreatedAt: store.Time(row.CreatedAt), Facts: []purser.NoticeFact{}, Deliveries: []purser.Delivery{},
	}
	facts, err := fromJSON[[]notice.Fact](row.Facts)
	if err != nil {
		return out, err
	}
	for _, f := range facts {
		out.Facts = append(out.Facts, purser.NoticeFact(f))
	}
	deliveries, err := q.DeliveriesOfNotice(ctx, db.DeliveriesOfNoticeParams{Organization: row.Organization, Notice: row.ID})
	for _, d := range deliveries {
		shown := purser.Delivery{Way: d.Way, Person: d.Person, State: d.State, Attempts: int(d.Attempts), EndedAt: store.TimeOrNil(d.EndedAt), Error: d.Error}
		if d.State == deliveryWaiting {
			shown.NextAt = store.TimeOrNil(d.NextAt)
		}
		out.Deliveries = append(out.Deliveries, shown)
	}
	return out, err
}

// SetNotices keeps what somebody wants to be told. It is no loosening of a control,
// but it may silence one: so whoever it touches is told of it by every way.
func (o *Office) SetNotices(ctx context.Context, by purser.Actor, in purser.SetNotices) (purser.Notices, error) {
	person, err := chooser(by, in)
	if err != nil {
		return purser.Notices{}, err
	}
	kinds, ways, err := chosen(in)
	if err != nil {
		return purser.Notices{}, err
	}
	out, err := once(ctx, o, by, "set_notices", in, func(t *store.Turn) (purser.Accepted, error) {
		before, err := o.choices(ctx, t.Queries, t.Org)
		if err != nil {
			return purser.Accepted{}, err
		}
		was := []string{}
		for _, k := range kinds {
			had, _ := notice.WaysOf(before, person, notice.Kind(k))
			was = append(was, k+": "+spoken(had))
			err := t.SetNoticeChoice(ctx, db.SetNoticeChoiceParams{Organization: t.Org, Person: person, Kind: k, Ways: strings.Join(ways, ",")})
			if err != nil {
				return purser.Accepted{}, err
			}
		}
		who := whoMe
		if person == "" {
			who = whoOrganization
		}
		r := recordOf(by, "set_notices", who)
		r.Detail = map[string]string{"kinds": strings.Join(kinds, ","), "ways": strings.Join(ways, ",")}
		t.Record(r)
		id, err := o.newID(purser.PrefixNotice)
		if err != nil {
			return purser.Accepted{}, err
		}
		return purser.Accepted{OK: true}, o.tell(ctx, t, notice.Choices(id, person, o.nameOf(ctx, t.Queries, t.Org, by), who, strings.Join(kinds, ", "), strings.Join(was, "; "), spoken(ways)))
	})
	if err != nil || !out.OK {
		return purser.Notices{}, err
	}
	return o.ListNotices(ctx, by, purser.Page{})
}

// chooser is the person whose choice it is; empty is the organization.
func chooser(by purser.Actor, in purser.SetNotices) (string, error) {
	switch in.Who {
	case "", whoMe:
		return by.ID, nil
	case whoOrganization:
		if by.Role != purser.Owner {
			return "", purser.Errorf(purser.Forbidden, "an owner chooses what the organization is told").WithHint("choose for yourself: purser notices set --by mail")
		}
		return "", nil
	}
	return "", purser.Errorf(purser.InvalidRequest, "who is me or organization, not %q", in.Who)
}

func chosen(in purser.SetNotices) (kinds, ways []string, err error) {
	if kinds = in.Kinds; len(kinds) == 0 {
		kinds = []string{notice.All}
	}
	for _, k := range kinds {
		if k != notice.All && !slices.Contains(notice.Kinds(), notice.Kind(k)) {
			return nil, nil, purser.Errorf(purser.InvalidRequest, "no notice is of the kind %q", k).WithHint("purser notices list names the kinds")
		}
	}
	for _, w := range notice.Ways() {
		if slices.Contains(in.Ways, w) {
			ways = append(ways, w)
		}
	}
	if len(ways) != len(in.Ways) {
		return nil, nil, purser.Errorf(purser.InvalidRequest, "a way is %s, and each is named once", strings.Join(notice.Ways(), " or "))
	}
	if slices.Contains(ways, notice.Webhook) && in.Who != whoOrganization {
		return nil, nil, purser.Errorf(purser.InvalidRequest, "the webhook is the organization's, not one person's").WithHint("purser notices set --organization --by webhook")
	}
	return kinds, ways, nil
}

// spoken lists ways in words.
func spoken(ways []string) string {
	if len(ways) == 0 {
		return "not told"
	}
	return strings.Join(ways, " and ")
}

// TestNotices tells the person who asks, now, by every way that the server is set
// up for, and says what became of it.
func (o *Office) TestNotices(ctx context.Context, by purser.Actor, _ purser.None) (purser.Notice, error) {
	if len(o.ways()) == 0 {
		return purser.Notice{}, purser.Errorf(purser.InvalidState, "the server has no way to tell anybody").
			WithHint("set notices.smtp.host or notices.webhook.url; docs/operating.md shows how")
	}
	id, err := once(ctx, o, by, "test_notices", purser.None{}, func(t *store.Turn) (string, error) {
		id, err := o.newID(purser.PrefixNotice)
		if err != nil {
			return "", err
		}
		t.Record(recordOf(by, "test_notices", by.ID))
		return id, o.tell(ctx, t, notice.Trial(id, by.ID))
	})
	if err != nil {
		return purser.Notice{}, err
	}
	q := o.Store.Read()
	n, err := q.NoticeOfMark(ctx, db.NoticeOfMarkParams{Organization: by.Organization, Mark: string(notice.Test) + "/" + id})
	if err != nil {
		return purser.Notice{}, err
	}
	if err := o.spread(ctx); err != nil {
		return purser.Notice{}, err
	}
	deliveries, err := q.DeliveriesOfNotice(ctx, db.DeliveriesOfNoticeParams{Organization: by.Organization, Notice: n.ID})
	if err != nil {
		return purser.Notice{}, err
	}
	for _, d := range deliveries {
		if d.State == deliveryWaiting && d.Attempts == 0 {
			if err := o.deliver(ctx, d); err != nil {
				return purser.Notice{}, err
			}
		}
	}
	return o.showNotice(ctx, q, n)
}
