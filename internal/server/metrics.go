package server

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync"
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
	kinds     sync.Map // *kind by request
}

// request is what requests are told apart by; both come from tables, so a stranger
// cannot make new series.
type request struct {
	op   string
	code purser.Code
}

// kind is what one kind of request is counted as, made once.
type kind struct {
	request, decision []metric.AddOption // no decision: nothing to count
	took              []metric.RecordOption
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

// observe counts one request.
func (m *metrics) observe(op string, code purser.Code, took time.Duration) {
	if m.handler == nil {
		return
	}
	of, ok := m.kinds.Load(request{op, code})
	if !ok {
		of, _ = m.kinds.LoadOrStore(request{op, code}, m.kind(op, code))
	}
	ctx, k := context.Background(), of.(*kind)
	m.requests.Add(ctx, 1, k.request...)
	m.took.Record(ctx, took.Seconds(), k.took...)
	if k.decision != nil {
		m.decisions.Add(ctx, 1, k.decision...)
	}
}

func (m *metrics) kind(op string, code purser.Code) *kind {
	name := attribute.String("op", op)
	with := func(all ...attribute.KeyValue) metric.MeasurementOption {
		return metric.WithAttributeSet(attribute.NewSet(all...))
	}
	k := &kind{
		request: []metric.AddOption{with(name, attribute.String("code", string(code)))},
		took:    []metric.RecordOption{with(name)},
	}
	if m.changes[op] {
		outcome := "accepted"
		if code != "" {
			outcome = "refused"
		}
		k.decision = []metric.AddOption{with(name, attribute.String("outcome", outcome))}
	}
	return k
}

func panicked(v any) error { return fmt.Errorf("panic: %v\n%s", v, debug.Stack()) }
