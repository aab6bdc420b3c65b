package office

import (
	"context"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// Overview tells at a glance what waits, runs and costs.
func (o *Office) Overview(ctx context.Context, by purser.Actor, _ purser.None) (out purser.Overview, err error) {
	q := o.Store.Read()
	org, err := q.Organization(ctx, by.Organization)
	if err != nil {
		return out, notFound(err, "organization", by.Organization)
	}
	zone, err := time.LoadLocation(org.Timezone)
	if err != nil {
		return out, err
	}
	month := o.Now().In(zone).Format("2006-01")
	out = purser.Overview{Organization: org.Name, Timezone: org.Timezone, Month: month, Records: org.Seq}
	waiting, err := q.CountWaitingPlans(ctx, db.CountWaitingPlansParams{Organization: org.ID, Now: store.Micro(o.Now())})
	if err != nil {
		return out, err
	}
	running, err := q.CountActiveRuns(ctx, db.CountActiveRunsParams{Organization: org.ID, Now: store.Micro(o.Now())})
	if err != nil {
		return out, err
	}
	out.Waiting, out.ActiveRuns = int(waiting), int(running)
	unsettled, err := q.NewestUnsettledOrders(ctx, db.NewestUnsettledOrdersParams{Organization: org.ID, RowLimit: 50})
	if err != nil {
		return out, err
	}
	out.Unsettled, err = ordersOf(unsettled, func(r db.NewestUnsettledOrdersRow) (db.Order, db.Hold) { return r.Order, r.Hold })
	if err != nil {
		return out, err
	}
	stops, err := o.ListStops(ctx, by, purser.None{})
	if err != nil {
		return out, err
	}
	out.Stops = stops.Items
	return out, o.overviewMoney(ctx, q, zone, &out, org.ID)
}

func (o *Office) overviewMoney(ctx context.Context, q *db.Queries, zone *time.Location, out *purser.Overview, org string) error {
	lines, err := o.daybook(ctx, org, zone, out.Month+"-01")
	if err != nil {
		return err
	}
	captured, refunded, held, rate := sums{}, sums{}, sums{}, sums{}
	for _, l := range lines {
		captured.add(l.Currency, l.Captured)
		if l.Refunded > 0 {
			refunded.add(l.Currency, l.Refunded)
		}
	}
	holds, err := q.HeldNow(ctx, org)
	if err != nil {
		return err
	}
	for _, h := range holds {
		held.add(h.Currency, h.Amount)
	}
	subs, err := q.RecurringSubscriptions(ctx, org)
	if err != nil {
		return err
	}
	for _, s := range subs {
		rate.add(s.Currency, perMonth(s.Amount, s.Currency, s.Interval))
	}
	out.Captured, out.Refunded, out.Held, out.RunRate = captured.list(), refunded.list(), held.list(), rate.list()
	return nil
}

// ListResources lists what was provisioned, the newest first; an agent's project only.
func (o *Office) ListResources(ctx context.Context, by purser.Actor, in purser.ListResources) (purser.List[purser.Resource], error) {
	out := purser.List[purser.Resource]{Items: []purser.Resource{}}
	limit, err := page(in.Page, named(purser.PrefixResource))
	if err != nil {
		return out, err
	}
	q, project := o.Store.Read(), ""
	if in.Project != "" || by.Kind == purser.Agent {
		p, err := o.project(ctx, q, by, in.Project)
		if err != nil {
			return out, err
		}
		project = p.ID
	}
	ask := db.ResourcesBeforeParams{Organization: by.Organization, Before: in.Cursor, Project: project, Env: in.Env, RowLimit: limit + 1}
	if ask.Before == "" {
		ask.Before = "~"
	}
	switch in.State {
	case "":
	case "all":
		ask.Gone = 1
	default:
		return out, purser.Errorf(purser.InvalidRequest, "state is all, or left out")
	}
	rows, err := q.ResourcesBefore(ctx, ask)
	if err != nil {
		return out, err
	}
	shown := cut(rows, limit, func(r db.ResourcesBeforeRow) db.ResourcesBeforeRow { return r }, func(r db.ResourcesBeforeRow) string { return r.Resource.ID })
	out.NextCursor = shown.NextCursor
	for _, row := range shown.Items {
		r, err := resourceInfo(row.Resource, row.Subscription)
		if err != nil {
			return out, err
		}
		out.Items = append(out.Items, r)
	}
	return out, nil
}

// ShowResource shows a resource by identifier, or by name within project and environment.
func (o *Office) ShowResource(ctx context.Context, by purser.Actor, in purser.ResourceRef) (purser.Resource, error) {
	q := o.Store.Read()
	row, err := o.resource(ctx, q, by, in)
	if err != nil {
		return purser.Resource{}, err
	}
	return o.showResource(ctx, q, row)
}

// ShowTerms shows the text that was read when a plan was made.
func (o *Office) ShowTerms(ctx context.Context, _ purser.Actor, in purser.TermsRef) (purser.TermsText, error) {
	row, err := o.Store.Read().TermsByHash(ctx, in.Terms)
	if missing(err) {
		return purser.TermsText{}, purser.Errorf(purser.NotFound, "no text of terms with this hash is kept")
	}
	return purser.TermsText{Hash: row.Hash, URL: row.Url, Text: row.Text, At: store.Time(row.At)}, err
}

// searchReach is how many records one search looks at.
const searchReach = 2500

// SearchAudit finds records whose text holds all the words, whatever their case,
// the newest first.
func (o *Office) SearchAudit(ctx context.Context, by purser.Actor, in purser.SearchAudit) (purser.FoundRecords, error) {
	out, err := o.searchAudit(ctx, by, in)
	if err != nil {
		return out, err
	}
	q := o.Store.Read()
	out.Names = map[string]string{}
	for _, r := range out.Records {
		for _, who := range []string{r.Actor, r.Target} {
			o.nameInto(ctx, q, by.Organization, who, out.Names)
		}
	}
	maps.DeleteFunc(out.Names, func(_, name string) bool { return name == "" })
	return out, nil
}

// nameInto puts the name of "kind:id", or of an identifier, into names, once.
func (o *Office) nameInto(ctx context.Context, q *db.Queries, org, who string, names map[string]string) {
	_, id, split := strings.Cut(who, ":")
	if !split {
		id = who
	}
	if _, there := names[id]; there {
		return
	}
	name := ""
	switch prefix, _, _ := strings.Cut(id, "_"); prefix {
	case purser.PrefixPerson:
		if p, err := q.Person(ctx, db.PersonParams{Organization: org, ID: id}); err == nil {
			name = p.Name
		}
	case purser.PrefixAgent:
		name = o.targetName(ctx, q, org, "agent", id)
	case purser.PrefixRun:
		name = o.targetName(ctx, q, org, purser.ScopeRun, id)
	case purser.PrefixProject:
		name = o.targetName(ctx, q, org, "project", id)
	case purser.PrefixOrganization:
		name = o.targetName(ctx, q, org, "organization", id)
	}
	names[id] = name // an empty one too: it is not looked for again
}

func (o *Office) searchAudit(ctx context.Context, by purser.Actor, in purser.SearchAudit) (out purser.FoundRecords, err error) {
	q := o.Store.Read()
	org, err := q.Organization(ctx, by.Organization)
	if err != nil {
		return out, notFound(err, "organization", by.Organization)
	}
	words := strings.Fields(strings.ToLower(in.Words))
	if len(words) > 10 {
		return out, purser.Errorf(purser.InvalidRequest, "search for at most 10 words")
	}
	limit, err := page(purser.Page{Limit: in.Limit}, nil)
	if err != nil {
		return out, err
	}
	before, looked := in.Before, 0
	if before <= 0 {
		before = math.MaxInt64
	}
	chunk := int(limit)
	if len(words) > 0 {
		chunk = 500
	}
	out = purser.FoundRecords{Records: []purser.AuditRecord{}, Size: org.Seq}
	for block, err := range store.BlocksBefore(ctx, q, org.ID, before, chunk) {
		if err != nil {
			return out, err
		}
		if looked >= searchReach {
			return atStart(out), nil
		}
		records, err := block.Records()
		if err != nil {
			return out, err
		}
		for _, row := range slices.Backward(records) {
			if row.Seq >= before {
				continue
			}
			looked++
			out.Next = row.Seq
			if len(words) > 0 && !hasAll(strings.ToLower(string(row.Leaf)), words) {
				continue
			}
			shown, err := showRecord(row)
			if err != nil {
				return out, err
			}
			if out.Records = append(out.Records, shown); len(out.Records) == int(limit) {
				return atStart(out), nil
			}
		}
	}
	out.Next = 0
	return out, nil
}

// atStart leaves the next page out where there is none.
func atStart(f purser.FoundRecords) purser.FoundRecords {
	if f.Next <= 1 {
		f.Next = 0
	}
	return f
}

func hasAll(text string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

func showRecord(row store.Record) (purser.AuditRecord, error) {
	r, err := audit.ParseRecord(row.Leaf)
	if err != nil {
		return purser.AuditRecord{}, err
	}
	shown := purser.AuditRecord{Seq: row.Seq, At: store.Time(row.At), Actor: r.Actor.Kind + ":" + r.Actor.ID, Action: r.Action, Target: r.Target, Outcome: r.Outcome}
	return shown, decodeNumbers(row.Leaf, &shown.Record)
}
