package obs

import (
	"context"
	"encoding/json"
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nebula-serve/nebula/api"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// counted is a tally after so many requests that were answered well, each in 40 ms.
func counted(n int) Counts {
	var t Tally
	for range n {
		t.Answered(200)
		t.Latency(40 * time.Millisecond)
	}
	return t.Counts()
}

// kept are the samples of a gateway that had answered so many requests so many seconds after its start.
func kept(at ...int) (out samples) {
	for i := 0; i+1 < len(at); i += 2 {
		out = append(out, sample{start.Add(time.Duration(at[i]) * time.Second), counted(at[i+1])})
	}
	return out
}

func TestCurve(t *testing.T) {
	for name, c := range map[string]struct {
		kept         samples // seconds after the start, requests by then
		now          samples // the same, one
		window, step time.Duration
		want         []int // for each span: from, to (in seconds), requests
	}{
		"no request at all":                       {kept(0, 0), kept(0, 0), 5 * time.Minute, 5 * time.Minute, []int{0, 0, 0}},
		"younger than the window":                 {kept(0, 0, 15, 3), kept(20, 5), 5 * time.Minute, 5 * time.Minute, []int{0, 20, 5}},
		"only what is in the window":              {kept(0, 0, 300, 100, 600, 130), kept(700, 140), 5 * time.Minute, 5 * time.Minute, []int{300, 700, 40}},
		"from the very sample":                    {kept(0, 0, 300, 100, 600, 130), kept(600, 130), 5 * time.Minute, 5 * time.Minute, []int{300, 600, 30}},
		"silent for the whole window":             {kept(0, 0, 300, 100, 600, 100), kept(900, 100), 5 * time.Minute, 5 * time.Minute, []int{600, 900, 0}},
		"a counter began anew in the window":      {kept(0, 500, 300, 7), kept(300, 9), 5 * time.Minute, 5 * time.Minute, []int{0, 300, 9}},
		"in steps":                                {kept(0, 0, 60, 1, 120, 3, 180, 6, 240, 10), kept(300, 15), 5 * time.Minute, time.Minute, []int{0, 60, 1, 60, 120, 2, 120, 180, 3, 180, 240, 4, 240, 300, 5}},
		"steps before the start are left out":     {kept(0, 0, 60, 4), kept(90, 5), 5 * time.Minute, time.Minute, []int{0, 90, 5}},
		"steps that no sample tells apart":        {kept(0, 0, 300, 30), kept(300, 30), 5 * time.Minute, time.Minute, []int{0, 300, 30}},
		"a step that is as long as the window":    {kept(0, 0), kept(60, 2), time.Hour, time.Hour, []int{0, 60, 2}},
		"the clock stands before the last sample": {kept(0, 0, 60, 2), kept(59, 2), 5 * time.Minute, 5 * time.Minute, []int{0, 59, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			p := Past{coarse: c.kept, fine: c.kept}
			var got []int
			for _, s := range curve(p.at, c.now[0], c.window, c.step) {
				got = append(got, int(s.From.Sub(start).Seconds()), int(s.To.Sub(start).Seconds()), int(s.N[Answered2xx]))
				if s.N[Answered2xx] != s.Latency[3] {
					t.Errorf("%d requests and %d latencies", s.N[Answered2xx], s.Latency[3])
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestQuantile(t *testing.T) {
	for name, c := range map[string]struct {
		took          []time.Duration
		p50, p95, p99 float64 // ms
	}{
		"none":                      {nil, 0, 0, 0},
		"one":                       {[]time.Duration{3 * time.Millisecond}, 5, 5, 5},
		"on the bound":              {[]time.Duration{5 * time.Millisecond}, 5, 5, 5},
		"just above the bound":      {[]time.Duration{5*time.Millisecond + 1}, 10, 10, 10},
		"half and half":             {[]time.Duration{time.Millisecond, time.Second}, 1, 1000, 1000},
		"longer than all bounds":    {[]time.Duration{time.Hour}, 60000, 60000, 60000},
		"no time at all":            {[]time.Duration{0}, 1, 1, 1},
		"the clock was turned back": {[]time.Duration{-time.Second}, 1, 1, 1},
		"one in twenty is slow":     {append(repeat(19, time.Millisecond), time.Minute), 1, 1, 60000},
	} {
		t.Run(name, func(t *testing.T) {
			var tally Tally
			for _, d := range c.took {
				tally.Latency(d)
				tally.TTFT(d)
			}
			n := tally.Counts()
			if got := [3]float64{n.Latency.quantile(.5), n.Latency.quantile(.95), n.Latency.quantile(.99)}; got != [3]float64{c.p50, c.p95, c.p99} {
				t.Errorf("got %v ms, want %v %v %v", got, c.p50, c.p95, c.p99)
			}
			if n.TTFT != n.Latency {
				t.Errorf("first bytes are counted as %v, latencies as %v", n.TTFT, n.Latency)
			}
		})
	}
}

func repeat(n int, d time.Duration) (out []time.Duration) {
	for range n {
		out = append(out, d)
	}
	return out
}

// Documents of nothing are zeros: no division by nothing gets into one, which JSON could not even say.
func TestDocuments_ofNothing(t *testing.T) {
	p := NewPast("server/a", &Tally{}, start)
	scope := api.GatewayScope{Window: api.Window5m, Gateway: p.Name()}
	span := p.Over(start, 5*time.Minute)
	if diff := cmp.Diff(api.GatewayOverview{GatewayScope: scope}, Overview(scope, span)); diff != "" {
		t.Errorf("overview (-want +got):\n%s", diff)
	}
	for _, doc := range []any{Overview(scope, span), Traffic(scope, []Span{span}), Reliability(scope, []Span{span}), Latency(scope, []Span{span}), Protection(scope, span)} {
		if b, err := json.Marshal(doc); err != nil {
			t.Errorf("%T: %v", doc, err)
		} else if t.Logf("%s", b); len(b) == 0 {
			t.Errorf("%T is empty", doc)
		}
	}
}

func TestDocuments(t *testing.T) {
	tally := &Tally{}
	p := NewPast("server/a", tally, start)
	for status, n := range map[int]int{200: 6, 404: 1, 499: 1, 502: 2} {
		for range n {
			tally.Answered(status)
		}
	}
	for c, n := range map[Counter]int{Retries: 4, RetriesOK: 3, FailedConnect: 1, FailedTimeout: 2, Failed5xx: 3, FailedOther: 4, TooLarge: 5, Skipped: 6, Rested: 7} {
		for range n {
			tally.Add(c)
		}
	}
	tally.Latency(20 * time.Millisecond)
	tally.TTFT(2 * time.Millisecond)
	scope := api.GatewayScope{Window: api.Window5m, Gateway: "server/a"}
	span := p.Over(start.Add(5*time.Second), 5*time.Minute)
	point := func(v float64) []api.GatewayPoint { return []api.GatewayPoint{{TS: "2026-03-01T12:00:05Z", Value: v}} }
	for _, c := range []struct{ got, want any }{
		{Overview(scope, span), api.GatewayOverview{GatewayScope: scope, RPS: 2, Error5xxRatio: .2, RetrySuccessRatio: .75, CircuitOpenCount: 7}},
		{Protection(scope, span), api.GatewayProtection{GatewayScope: scope, RequestTooLargeCount: 5, CircuitSkippedCount: 6, CircuitOpenCount: 7}},
		{Traffic(scope, []Span{span}), api.GatewayTraffic{GatewayScope: scope, Series: api.GatewayTrafficSeries{
			RequestsTotal: point(10), Responses2xx: point(6), Responses4xx: point(2), Responses5xx: point(2),
		}}},
		{Reliability(scope, []Span{span}), api.GatewayReliability{GatewayScope: scope, Series: api.GatewayReliabilitySeries{
			RetryTotal: point(4), RetrySuccessTotal: point(3), UpstreamErrorConnect: point(1), UpstreamErrorTimeout: point(2), UpstreamError5xx: point(3), UpstreamErrorOther: point(4),
		}}},
		{Latency(scope, []Span{span}), api.GatewayLatency{GatewayScope: scope, Series: api.GatewayLatencySeries{
			LatencyP50: point(50), LatencyP95: point(50), LatencyP99: point(50), TTFTP50: point(5), TTFTP95: point(5),
		}}},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("%T (-want +got):\n%s", c.want, diff)
		}
	}
}

// TestPast_ofDays: whenever somebody asks, a window is told whole, with at most a minute (in the last hour: 15 s) more before it, its steps add up, and
// what is kept stays within its bound.
func TestPast_ofDays(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	tally := &Tally{}
	p := NewPast("server/a", tally, start)
	var requests []time.Time // when each was
	now := start
	for range 3 * 24 * 60 * 4 {
		for range random.IntN(3) {
			tally.Answered(200)
			requests = append(requests, now.Add(time.Second))
		}
		now = now.Add(fineEvery + time.Duration(random.IntN(400)-200)*time.Millisecond) // a ticker is never exact
		p.sample(now)
		if random.IntN(500) > 0 {
			continue
		}
		asked := now.Add(time.Duration(random.IntN(15)) * time.Second)
		for _, window := range Windows() {
			span := p.Over(asked, window)
			early := asked.Add(-window).Sub(span.From)
			most := fineEvery + time.Second
			if window > fineFor {
				most = coarseEvery + fineEvery
			}
			if asked.Sub(start) < window {
				early = span.From.Sub(start)
			}
			if early < 0 || early > most {
				t.Fatalf("%v after the start, the window of %v begins %v too early", asked.Sub(start), window, early)
			}
			want := 0
			for _, at := range requests {
				if at.After(span.From) {
					want++
				}
			}
			if got := int(span.N[Answered2xx]); got != want {
				t.Fatalf("%d requests in %v, want %d", got, window, want)
			}
			sum, from := 0, span.From
			for _, s := range p.Curve(asked, window, 5*time.Minute) {
				if !s.From.Equal(from) {
					t.Fatalf("a step begins at %v, the one before ends at %v", s.From, from)
				}
				sum, from = sum+int(s.N[Answered2xx]), s.To
			}
			if sum != want || !from.Equal(asked) {
				t.Fatalf("the steps of %v have %d requests until %v, want %d until %v", window, sum, from, want, asked)
			}
		}
	}
	if n := len(p.fine) + len(p.coarse); n > 1800 {
		t.Errorf("%d samples are kept", n)
	}
	if got := int(math.Ceil(float64(len(p.fine)+len(p.coarse)) * 312 / 1024)); got > 600 {
		t.Errorf("%d KiB are kept", got)
	}
}

func TestPast_runSamples(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tally := &Tally{}
		p := NewPast("server/a", tally, time.Now())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		tally.Answered(200)
		time.Sleep(10 * time.Minute)
		tally.Answered(200)
		synctest.Wait()
		if got := p.Over(time.Now(), 5*time.Minute); got.N[Answered2xx] != 1 || got.Seconds() < 300 || got.Seconds() > 315 {
			t.Errorf("%d requests in %v s, want the one of the last 5 minutes", got.N[Answered2xx], got.Seconds())
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
