package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/purser-dev/purser"
)

func (s *session) books() *cobra.Command {
	return family("books", "Check the double entry", &cobra.Command{
		Use: "check", Short: "Walk the books and report every fault", Args: needs(), Example: "  purser books check",
		RunE: does(s, func(ctx context.Context, _ []string) (books purser.Books, err error) {
			c, err := s.client()
			if err != nil {
				return books, err
			}
			if books, err = c.CheckBooks(ctx, purser.None{}); err != nil || books.OK {
				return books, err
			}
			found := fmt.Sprintf("%d faults", len(books.Faults))
			if len(books.Faults) == 1 {
				found = "1 fault"
			}
			broken := purser.Errorf(purser.BooksBroken, "%s", found).WithHint("purser stop organization --reason \"the books are broken\"")
			return books, &failure{error: broken, data: books, text: func(p *page) { showBooks(p, books) }}
		}, showBooks),
	})
}

func showBooks(p *page, v purser.Books) {
	verdict := "The books balance"
	if !v.OK {
		verdict = "The books do not balance"
	}
	p.line("%s: %d movements, %d holds, %d budgets, %d orders walked.", verdict, v.Movements, v.Holds, v.Budgets, v.Orders)
	for _, f := range v.Faults {
		p.line("  %s", f)
	}
}
