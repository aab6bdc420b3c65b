package server

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/attribute"
	exporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdk "go.opentelemetry.io/otel/sdk/metric"

	"github.com/purser-dev/purser"
)

// metrics counts what the doors do. The zero value counts nothing.
type metrics struct {
	handler   http.Handler // of /metrics; nil when switched off
	requests  metric.Int64Counter
	decisions metric.Int64Counter
	took      metric.Float64Histogram
	changes   map[string]bool
}

// newMetrics makes the instruments and a registry of their own: nothing global.
func newMetrics(on bool) (*metrics, error) {
	m := &metrics{changes: map[string]bool{}}
	if !on {
		return m, nil
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	reader, err := exporter.New(exporter.WithRegisterer(registry), exporter.WithoutScopeInfo(), exporter.WithoutTargetInfo())
	if err != nil {
		return nil, fmt.Errorf("making metrics: %w", err)
	}
	meter := sdk.NewMeterProvider(sdk.WithReader(reader)).Meter("purser")
	if m.requests, err = meter.Int64Counter("purser.requests", metric.WithDescription("Requests by operation and code; no code: it went well.")); err != nil {
		return nil, fmt.Errorf("making metrics: %w", err)
	}
	if m.decisions, err = meter.Int64Counter("purser.decisions", metric.WithDescription("Operations that change something, by outcome.")); err != nil {
		return nil, fmt.Errorf("making metrics: %w", err)
	}
	if m.took, err = meter.Float64Histogram("purser.request.duration", metric.WithUnit("s"), metric.WithDescription("Time to answer."),
		metric.WithExplicitBucketBoundaries(.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 60)); err != nil {
		return nil, fmt.Errorf("making metrics: %w", err)
	}
	for _, op := range purser.Operations() {
		m.changes[op.Name] = op.Changes
	}
	m.handler = promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	return m, nil
}

// observe counts one request. Operations and codes come from tables, so a
// stranger cannot make new series.
func (m *metrics) observe(op string, code purser.Code, took time.Duration) {
	if m.handler == nil {
		return
	}
	ctx := context.Background()
	name := attribute.String("op", op)
	m.requests.Add(ctx, 1, metric.WithAttributes(name, attribute.String("code", string(code))))
	m.took.Record(ctx, took.Seconds(), metric.WithAttributes(name))
	if m.changes[op] {
		outcome := "accepted"
		if code != "" {
			outcome = "refused"
		}
		m.decisions.Add(ctx, 1, metric.WithAttributes(name, attribute.String("outcome", outcome)))
	}
}

func panicked(v any) error { return fmt.Errorf("panic: %v\n%s", v, debug.Stack()) }
