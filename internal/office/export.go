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
			row, err := ledger.FOCUS(costOf(org, zone, c))
			if err == nil {
				err = rows.Write(row)
			}
			if err != nil {
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

func costOf(org db.Organization, zone *time.Location, c db.CostsRow) ledger.Cost {
	return ledger.Cost{
		Seq: c.Seq, N: c.N, At: store.Time(c.At), Zone: zone, Kind: ledger.Kind(c.Kind), Money: purser.Money{Amount: c.Amount, Currency: c.Currency},
		Organization: org.ID, Name: org.Name, Project: c.Project, ProjectName: c.ProjectName, Provider: c.Provider, Category: c.Category, What: c.What,
		Recurring: c.Subscription != "", Usage: c.HoldKind == "usage", Held: store.Time(c.HeldAt), Run: c.Run, Order: c.OrderID, Resource: c.Resource,
	}
}
