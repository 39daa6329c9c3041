package hub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
)

// parking is until when each bucket of requests to a hub has to wait, whatever their credential.
type parking struct {
	mu    sync.Mutex
	until map[string]time.Time
}

// Retry repeats try while its error may pass: without end while progress grows, else patience.Tries times.
func (w *Client) Retry(ctx context.Context, progress func() int64, try func() error) error {
	wait := &backoff.ExponentialBackOff{
		InitialInterval: w.patience.FirstDelay, MaxInterval: w.patience.MaxDelay, Multiplier: 2, RandomizationFactor: 0.5,
	}
	wait.Reset()
	failures, reached := 0, progress()
	for {
		err := try()
		if err == nil {
			return nil
		}
		e, ok := fail.As(err)
		if !ok || !retryable(e) {
			return err
		}
		if now := progress(); now > reached {
			failures, reached = 0, now
			wait.Reset()
		}
		if failures++; failures >= w.patience.Tries {
			out := *e
			out.Message = fmt.Sprintf("%s, %d times in a row. Nebula keeps what is here and tries again later; check the network and the hub's address.", e.Message, failures)
			out.Err = err
			return &out
		}
		w.log.Info("hub request failed, will retry", "failures", failures, "reason", string(e.Reason), "error", e.Message)
		if e.Reason == fail.RateLimited {
			continue // the bucket is parked
		}
		if err := sleep(ctx, wait.NextBackOff()); err != nil {
			return err
		}
	}
}

func retryable(e *fail.Error) bool {
	switch e.Reason {
	case fail.Network, fail.Server, fail.RateLimited, fail.BadServer, fail.ExpiredAddress:
		return !e.Final
	}
	return false
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// bucket names the limit that a request counts against: the hub counts its API and its files apart.
func (w *Client) bucket(at *url.URL, trusted bool) string {
	path := strings.TrimPrefix(at.Path, w.origin.Path)
	switch {
	case !trusted:
		return at.Host
	case w.source == api.SourceModelScope && strings.HasSuffix(path, "/repo"):
		return "resolvers"
	case strings.HasPrefix(path, "/openapi/"), strings.HasPrefix(path, "/api/") && !strings.HasPrefix(path, "/api/resolve-cache/"):
		return "api"
	}
	return "resolvers"
}

// admit waits while the bucket is parked.
func (w *Client) admit(ctx context.Context, bucket string) error {
	for {
		w.parked.mu.Lock()
		until := w.parked.until[bucket]
		w.parked.mu.Unlock()
		d := time.Until(until)
		if d <= 0 {
			return ctx.Err()
		}
		if err := sleep(ctx, d); err != nil {
			return err
		}
	}
}

func (w *Client) park(bucket string, d time.Duration) {
	w.parked.mu.Lock()
	defer w.parked.mu.Unlock()
	if until := time.Now().Add(d); until.After(w.parked.until[bucket]) {
		w.parked.until[bucket] = until
	}
}

// parkFor reads from a 429 how long to wait: RateLimit with nothing remaining, then Retry-After in seconds or as a
// date, else the patience's longest delay. It is never longer than MaxPark: then it is asked again.
func parkFor(h http.Header, now time.Time, p Patience) time.Duration {
	d := p.MaxDelay
	left, wait, limited := parseRateLimit(h.Get("RateLimit"))
	after := strings.TrimSpace(h.Get("Retry-After"))
	switch {
	case limited && left == 0:
		d = seconds(wait, p.MaxPark) + time.Second
	case after != "":
		if s, err := strconv.Atoi(after); err == nil {
			d = seconds(s, p.MaxPark)
		} else if t, err := http.ParseTime(after); err == nil {
			d = t.Sub(now)
		}
	}
	return min(max(d, 0), p.MaxPark)
}

func seconds(s int, most time.Duration) time.Duration {
	if s < 0 || time.Duration(s) > most/time.Second {
		return most
	}
	return time.Duration(s) * time.Second
}

// parseRateLimit reads what is left of a limit and in how many seconds it is renewed: `"resolvers";r=0;t=12`. A figure too
// large for a number is the largest.
func parseRateLimit(v string) (left, wait int, ok bool) {
	found := 0
	for p := range strings.SplitSeq(v, ";") {
		key, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		to := map[string]*int{"r": &left, "t": &wait}[key]
		if to == nil {
			continue
		}
		n, err := strconv.Atoi(value)
		if err != nil && !errors.Is(err, strconv.ErrRange) || n < 0 {
			return 0, 0, false
		}
		*to = n
		found++
	}
	return left, wait, found == 2
}
