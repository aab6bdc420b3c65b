package office

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/catalog"
	"github.com/purser-dev/purser/internal/question"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// maxSchema bounds what a provider asks for, in bytes of JSON.
const maxSchema = 8 << 10

// InformationSchema reads the schema of needs_information (APP 9.8, 12.1) as one line
// of JSON that can be shown. One that is no object, or too large, is an error.
func InformationSchema(raw json.RawMessage) (string, error) {
	var flat bytes.Buffer
	var schema app.Schema
	if err := json.Compact(&flat, raw); err != nil {
		return "", fmt.Errorf("reading a schema: %w", err)
	}
	if err := json.Unmarshal(raw, &schema); err != nil {
		return "", fmt.Errorf("reading a schema: %w", err)
	}
	text := catalog.Plain(flat.String(), maxSchema)
	if flat.Len() > maxSchema || !json.Valid([]byte(text)) || len(schema.Properties)+len(schema.Required) == 0 {
		return "", errors.New("reading a schema: it names nothing that could be asked")
	}
	if _, err := question.Of([]byte(text)); err != nil {
		return "", err
	}
	return text, nil
}

// Inform gives a provider what it asked for before it goes on with an order. It
// hands data out, so a person signs it. The same create or account request is then
// sent again, by itself (APP 9.8, 17.3).
func (o *Office) Inform(ctx context.Context, by purser.Actor, in purser.Inform) (purser.Order, error) {
	plan := ""
	out, err := once(ctx, o, by, "inform", in, func(t *store.Turn) (purser.Order, error) {
		signed, err := o.signed(ctx, t, by, "inform", in, in.Act)
		if err != nil {
			return purser.Order{}, o.refuseAct(t, by, "inform", in.Order, err)
		}
		order, err := t.Order(ctx, db.OrderParams{Organization: t.Org, ID: in.Order})
		if err != nil {
			return purser.Order{}, notFound(err, "order", in.Order)
		}
		if err := fits(order, in.Information); err != nil {
			return purser.Order{}, err
		}
		if err := o.keepAnswers(ctx, t, order, in.Information); err != nil {
			return purser.Order{}, err
		}
		r := recordOf(by, "inform", order.ID)
		r.Project, r.Run, r.Attach = order.Project, order.Run, signed
		r.Detail = map[string]string{"told": strings.Join(slices.Sorted(maps.Keys(in.Information)), ", "), "provider": order.Provider}
		t.Record(r)
		err = t.SettleOrder(ctx, db.SettleOrderParams{
			Organization: t.Org, ID: order.ID, State: string(purser.OrderPlaced), Resource: order.Resource, UpdatedAt: store.Micro(t.Now),
		})
		if err != nil {
			return purser.Order{}, err
		}
		plan = order.Plan
		if order, err = t.Order(ctx, db.OrderParams{Organization: t.Org, ID: in.Order}); err != nil {
			return purser.Order{}, err
		}
		shown, err := o.showOrders(ctx, t.Queries, []db.Order{order})
		if err != nil {
			return purser.Order{}, err
		}
		return shown[0], nil
	})
	if err == nil && plan != "" {
		o.walkOn(by.Organization, plan)
	}
	return out, err
}

// fits holds information against what the order's provider asks for.
func fits(order db.Order, information map[string]any) error {
	why, err := fromJSON[purser.Error](order.Error)
	if err != nil {
		return err
	}
	if purser.OrderState(order.State) != purser.OrderPlaced || why.Code != purser.NeedsInformation || why.Provider == nil {
		return purser.Errorf(purser.InvalidState, "the provider of order %s asks for nothing", order.ID)
	}
	faults, err := question.Faults([]byte(why.Provider.Message), information)
	if err != nil {
		return err
	}
	if len(faults) > 0 {
		return purser.Errorf(purser.InvalidRequest, "%s", catalog.Plain(strings.Join(faults, "; "), 500)).
			WithHint("purser inform %s asks for each", order.ID)
	}
	return nil
}

// questions is the form of an order that waits for information; nil for any other.
func questions(order db.Order, why *purser.Error) []purser.Question {
	if purser.OrderState(order.State) != purser.OrderPlaced || why.Code != purser.NeedsInformation || why.Provider == nil {
		return nil
	}
	form, err := question.Of([]byte(why.Provider.Message))
	if err != nil {
		return nil // InformationSchema has refused it before it was kept
	}
	return form
}

// ShowOrder shows an order, with what its provider asks for. An agent sees those of
// its project.
func (o *Office) ShowOrder(ctx context.Context, by purser.Actor, in purser.OrderRef) (purser.Order, error) {
	q := o.Store.Read()
	row, err := q.Order(ctx, db.OrderParams{Organization: by.Organization, ID: in.Order})
	if err == nil && by.Kind == purser.Agent && row.Project != by.Project {
		err = sql.ErrNoRows
	}
	if err != nil {
		return purser.Order{}, notFound(err, "order", in.Order)
	}
	shown, err := o.showOrders(ctx, q, []db.Order{row})
	if err != nil {
		return purser.Order{}, err
	}
	return shown[0], nil
}

// keepAnswers seals what a person told, beside what was told before: a provider may
// ask for one thing after the other.
func (o *Office) keepAnswers(ctx context.Context, t *store.Turn, order db.Order, information map[string]any) error {
	all, err := o.answersIn(ctx, t.Queries, order)
	if err != nil {
		return err
	}
	for key, value := range information {
		all = with(all, key, value)
	}
	sealed, err := o.sealText(seal.NewSecret(toJSON(all)), t.Org, "answers", order.ID, "information")
	if err != nil {
		return err
	}
	return t.UpsertAnswer(ctx, db.UpsertAnswerParams{Organization: t.Org, OrderID: order.ID, Information: sealed, At: store.Micro(t.Now)})
}

// answers is what a person told for an order; nil when nothing was.
func (o *Office) answers(ctx context.Context, order db.Order) (map[string]any, error) {
	return o.answersIn(ctx, o.Store.Read(), order)
}

func (o *Office) answersIn(ctx context.Context, q *db.Queries, order db.Order) (map[string]any, error) {
	row, err := q.Answer(ctx, db.AnswerParams{Organization: order.Organization, OrderID: order.ID})
	if err != nil {
		return nil, ignoreMissing(err)
	}
	text, err := o.openText(row.Information, order.Organization, "answers", order.ID, "information")
	if err != nil {
		return nil, err
	}
	var told map[string]any
	return told, decodeNumbers([]byte(text.Reveal()), &told)
}
