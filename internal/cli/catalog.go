package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/purser-dev/purser"
)

func (s *session) catalog() *cobra.Command {
	return &cobra.Command{
		Use: "catalog [PROVIDER]", Short: "List what can be bought, with prices", Args: needs("[PROVIDER]"),
		Example: "  purser catalog\n  purser catalog local --json",
		RunE: does(s, func(ctx context.Context, args []string) (purser.List[purser.Service], error) {
			c, err := s.client()
			if err != nil {
				return purser.List[purser.Service]{}, err
			}
			var in purser.Catalog
			if len(args) > 0 {
				in.Provider = args[0]
			}
			return all(ctx, func(ctx context.Context, page purser.Page) (purser.List[purser.Service], error) {
				in.Page = page
				return c.Catalog(ctx, in)
			})
		}, showServices),
	}
}

func (s *session) search() *cobra.Command {
	var in purser.Search
	cmd := &cobra.Command{
		Use: "search WORDS...", Short: "Search the catalog; results are proposals, nothing is bought",
		Example: "  purser search static hosting --max-monthly 10",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return misused(cmd, "purser search needs WORDS")
			}
			return nil
		},
		RunE: does(s, func(ctx context.Context, args []string) (purser.List[purser.Service], error) {
			c, err := s.client()
			if err != nil {
				return purser.List[purser.Service]{}, err
			}
			in.Words = strings.Join(args, " ")
			return c.Search(ctx, in)
		}, showServices),
	}
	cmd.Flags().StringVar(&in.MaxMonthly, "max-monthly", "", "most that it may cost in a month, in major units: 10 or 10.00")
	cmd.Flags().StringVar(&in.Category, "category", "", "only this category")
	return cmd
}

func showServices(p *page, list purser.List[purser.Service]) {
	if len(list.Items) == 0 {
		p.line("Nothing fits. next: purser catalog")
		return
	}
	var rows [][]string
	for _, v := range list.Items {
		rows = append(rows, []string{v.Ref, v.Price, v.Availability, strings.Join(v.Categories, ","), short(v.Description, 60)})
	}
	p.table([]string{"SERVICE", "PRICE", "AVAILABLE", "CATEGORIES", "THE PROVIDER SAYS"}, rows)
}

// short cuts a text at so many letters.
func short(text string, letters int) string {
	runes := []rune(strings.Join(strings.Fields(text), " "))
	if len(runes) <= letters {
		return string(runes)
	}
	return string(runes[:letters-1]) + "…"
}
