//go:build !otlp

package server

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/purser-dev/purser/internal/config"
)

// traced leaves the doors as they are: the exporter costs nine megabytes, so it
// is in programs built with the tag otlp only.
func traced(_ context.Context, cfg config.Tracing, log *slog.Logger, next http.Handler) (http.Handler, func(context.Context) error, error) {
	if cfg.Endpoint != "" {
		log.Warn("tracing.endpoint is set, but this program was built without traces; build it with: go build -tags otlp ./cmd/purser")
	}
	return next, func(context.Context) error { return nil }, nil
}
