package folder

import (
	"context"
	"io"

	"golang.org/x/sync/errgroup"
)

// lanes is how many uploads run at once. The server makes each file durable
// before it answers, and does so for several at the price of one.
const lanes = 8

// uploader is the one call of the client that sends files.
type uploader interface {
	UploadBlobs(ctx context.Context, missing []string, open func(sha256 string) (io.ReadCloser, int64, error), progress func(bytes int64)) error
}

// Send uploads what the server said it lacks.
func (f Folder) Send(ctx context.Context, to uploader, missing []string) error {
	share := make([][]string, lanes)
	for i, sha := range missing {
		share[i%lanes] = append(share[i%lanes], sha)
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, part := range share {
		if len(part) > 0 {
			g.Go(func() error { return to.UploadBlobs(ctx, part, f.Open, nil) })
		}
	}
	return g.Wait()
}
