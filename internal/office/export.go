package office

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/ledger"
	"github.com/purser-dev/purser/internal/spend"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// exportOCSF writes each record as an OCSF event in a line of its own.
func (o *Office) exportOCSF(ctx context.Context, org db.Organization, w io.Writer) error {
	return o.eachRecord(ctx, org, func(_ store.Block, row store.Record) error {
		event, err := audit.OCSF(row.Leaf)
		if err != nil {
			return fmt.Errorf("exporting record %d: %w", row.Seq, err)
		}
		if _, err := w.Write(append(event, '\n')); err != nil {
			return fmt.Errorf("exporting: %w", err)
		}
		return nil
	})
}

// exportFOCUS writes what was spent and what came back as FOCUS rows.
func (o *Office) exportFOCUS(ctx context.Context, org db.Organization, w io.Writer) error {
	zone, err := time.LoadLocation(org.Timezone)
	if err != nil {
		return fmt.Errorf("reading the time zone of %s: %w", org.ID, err)
	}
	rows := csv.NewWriter(w)
	if err := rows.Write(ledger.FOCUSColumns()); err != nil {
		return fmt.Errorf("exporting: %w", err)
	}
	at := db.CostsParams{Organization: org.ID, Until: org.Seq, RowLimit: exportPage}
	for {
		costs, err := o.Store.Read().Costs(ctx, at)
		if err != nil {
			return err
		}
		for _, c := range costs {
			if err := writeCost(rows, org, zone, c); err != nil {
				return fmt.Errorf("exporting movement %d.%d: %w", c.Seq, c.N, err)
			}
			at.After, at.AfterN = c.Seq, c.N
		}
		if len(costs) < exportPage {
			rows.Flush()
			return rows.Error()
		}
	}
}

func writeCost(to *csv.Writer, org db.Organization, zone *time.Location, c db.CostsRow) error {
	labels, err := labelsOfCost(c)
	if err != nil {
		return err
	}
	row, err := ledger.FOCUS(ledger.Cost{
		Seq: c.Seq, N: c.N, At: store.Time(c.At), Zone: zone, Kind: ledger.Kind(c.Kind), Money: purser.Money{Amount: c.Amount, Currency: c.Currency},
		Organization: org.ID, Name: org.Name, Project: c.Project, ProjectName: c.ProjectName, Provider: c.Provider, Category: c.Category, What: c.What,
		Recurring: c.Subscription != "", Usage: c.HoldKind == "usage", Held: store.Time(c.HeldAt), Run: c.Run, Order: c.OrderID, Resource: c.Resource,
		Labels: labels,
	})
	if err != nil {
		return err
	}
	return to.Write(row)
}

// labelsOfCost are those of the project and of the run as they are now, which no budget
// need have, and after them those whose budgets the hold was decided against, which stay.
func labelsOfCost(c db.CostsRow) ([]string, error) {
	var labels []string
	for _, text := range []string{c.ProjectLabels, c.RunLabels} {
		now, err := fromJSON[[]string](text)
		if err != nil {
			return nil, err
		}
		labels = append(labels, now...)
	}
	if c.Windows == "" {
		return labels, nil
	}
	keys, err := spend.ParseWindows(spend.Own{}, c.Currency, c.Windows) // a label's window stands whole
	for _, k := range keys {
		if k.Scope == purser.ScopeLabel {
			labels = append(labels, k.Target)
		}
	}
	return labels, err
}
