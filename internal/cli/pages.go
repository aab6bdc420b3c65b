package cli

import (
	"context"
	"iter"

	"github.com/purser-dev/purser"
)

// every walks all pages of a list. It ends with the first error.
func every[T any](ctx context.Context, list func(context.Context, purser.Page) (purser.List[T], error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for page := (purser.Page{Limit: 200}); ; {
			got, err := list(ctx, page)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range got.Items {
				if !yield(item, nil) {
					return
				}
			}
			if got.NextCursor == "" || got.NextCursor == page.Cursor { // a cursor that repeats would never end
				return
			}
			page.Cursor = got.NextCursor
		}
	}
}

// all gathers every page of a list.
func all[T any](ctx context.Context, list func(context.Context, purser.Page) (purser.List[T], error)) (purser.List[T], error) {
	gathered := purser.List[T]{Items: []T{}}
	for item, err := range every(ctx, list) {
		if err != nil {
			return purser.List[T]{}, err
		}
		gathered.Items = append(gathered.Items, item)
	}
	return gathered, nil
}
