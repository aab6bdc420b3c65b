package provider

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/purser-dev/purser/app"
)

// headerForwarded marks a request that one region handed to another; it is not
// forwarded again.
const headerForwarded = "Provisioning-Forwarded"

// forwardTime is how long another region may take (9.5).
const forwardTime = 10 * time.Second

// toRegion hands an account request to the region it asks for (9.5).
func (c *call) toRegion(in accountInput) error {
	wanted, _ := in.configuration["region"].(string)
	wanted = strings.ToUpper(wanted)
	base, known := c.p.cfg.Regions[wanted]
	if !known || wanted == c.p.cfg.Region || c.r.Header.Get(headerForwarded) != "" {
		return nil
	}
	answer, err := c.forward(base)
	if err != nil {
		c.p.cfg.Log.ErrorContext(c.ctx, "forwarding to another region", "region", wanted, "error", err)
		return flat(app.CodeProxyFailed, "the region could not be reached")
	}
	return c.relay(answer)
}

// elsewhere asks the other regions about a code or token that is not here. nil: it
// is nobody's, or cannot be found out; the caller goes on by itself.
func (c *call) elsewhere(secret string) error {
	if len(c.p.cfg.Regions) == 0 || c.r.Header.Get(headerForwarded) != "" {
		return nil
	}
	now, key := c.p.cfg.Now(), hash(secret)
	regions := slices.Sorted(maps.Keys(c.p.cfg.Regions))
	if region, known := c.p.homes.find(now, key); known && region == "" {
		return nil
	} else if known {
		regions = []string{region}
	}
	for _, region := range regions {
		if region == c.p.cfg.Region {
			continue
		}
		answer, err := c.forward(c.p.cfg.Regions[region])
		if err != nil {
			c.p.cfg.Log.WarnContext(c.ctx, "asking another region", "region", region, "error", err)
			return nil
		}
		if answer.strange() {
			continue
		}
		c.p.homes.put(now, key, region)
		return c.relay(answer)
	}
	c.p.homes.put(now, key, "")
	return nil
}

// forwarded is another region's answer.
type forwarded struct {
	status int
	header http.Header
	body   []byte
}

// strange tells that the region does not know the code or token.
func (f forwarded) strange() bool {
	failure, failed := app.ParseFailure(f.body)
	return failed && (f.status == http.StatusUnauthorized && failure.Code == app.CodeUnauthorized ||
		f.status == http.StatusBadRequest && failure.Code == app.CodeInvalidGrant)
}

// forward sends the request as it came, signature and body untouched.
func (c *call) forward(base string) (forwarded, error) {
	if err := c.read(); err != nil {
		return forwarded{}, err
	}
	target, err := c.target(base)
	if err != nil {
		return forwarded{}, err
	}
	ctx, cancel := context.WithTimeout(c.ctx, forwardTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, c.r.Method, target, bytes.NewReader(c.body))
	if err != nil {
		return forwarded{}, err
	}
	for _, name := range []string{
		app.HeaderVersion, app.HeaderSignature, app.HeaderSignatureV2, app.HeaderNeutralSignature, app.HeaderNeutralSignatureV2,
		app.HeaderIdempotencyKey, "Authorization", "Content-Type",
	} {
		req.Header[http.CanonicalHeaderKey(name)] = slices.Clone(c.r.Header.Values(name))
	}
	req.Header.Set(headerForwarded, "1")
	resp, err := c.p.cfg.HTTP.Do(req)
	if err != nil {
		return forwarded{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, app.MaxResponseBytes+1))
	if err != nil || len(body) > app.MaxResponseBytes {
		return forwarded{}, errors.Join(errors.New("reading the region's answer"), err)
	}
	return forwarded{resp.StatusCode, resp.Header, body}, nil
}

// target is this request's URL at another node.
func (c *call) target(base string) (string, error) {
	u, err := url.Parse(base)
	if err != nil {
		return "", err
	}
	route := c.route
	if route == "" { // the token endpoint
		below, ok := strings.CutPrefix(c.p.tokenPath, strings.TrimRight(c.p.basePath, "/")+"/")
		if !ok {
			u.Path = c.p.tokenPath
			return u.String(), nil
		}
		route = below
	}
	target := strings.TrimRight(u.String(), "/") + "/" + route
	if c.r.URL.RawQuery != "" {
		target += "?" + c.r.URL.RawQuery
	}
	return target, nil
}

func (c *call) relay(f forwarded) error {
	c.status = f.status
	if failure, failed := app.ParseFailure(f.body); failed {
		c.code = failure.Code
	}
	for _, name := range []string{"Content-Type", "Cache-Control", "Retry-After", "Allow"} {
		if v := f.header.Get(name); v != "" {
			c.w.Header().Set(name, v)
		}
	}
	c.w.WriteHeader(f.status)
	_, _ = c.w.Write(f.body)
	return errAnswered
}

// homes remembers where a token lives: 300 s where found, 30 s where not (9.5).
type homes struct {
	mu    sync.Mutex
	known map[string]home
}

type home struct {
	region string
	until  time.Time
}

func (h *homes) find(now time.Time, key string) (string, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	known, ok := h.known[key]
	return known.region, ok && now.Before(known.until)
}

func (h *homes) put(now time.Time, key, region string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.known == nil || len(h.known) > 100_000 { // forgotten is only slower
		h.known = map[string]home{}
	}
	life := 300 * time.Second
	if region == "" {
		life = 30 * time.Second
	}
	h.known[key] = home{region, now.Add(life)}
}
