package obs

import (
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestSampler_passesTheFirstOfEachSecond(t *testing.T) {
	s := NewSampler(2)
	at := time.Unix(100, 0)
	for i, want := range []bool{true, true, false, false} {
		if ok, _ := s.Allow(at.Add(time.Duration(i) * time.Millisecond)); ok != want {
			t.Errorf("event %d passed: %v, want %v", i, ok, want)
		}
	}
	ok, dropped := s.Allow(at.Add(time.Second))
	if !ok || dropped != 2 {
		t.Errorf("in the next second: passed %v with %d dropped, want true with 2", ok, dropped)
	}
	if _, dropped = s.Allow(at.Add(time.Second)); dropped != 0 {
		t.Errorf("dropped events are told once, not again: %d", dropped)
	}
}

// Two registries of one process stay apart, and a failing collector does not take the page down.
func TestHandler_showsOwnSeriesOnly(t *testing.T) {
	a, b := NewRegistry(), NewRegistry()
	a.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "nebula_test_only_in_a"}, func() float64 { return 7 }))
	page := func(r *prometheus.Registry) string {
		w := httptest.NewRecorder()
		Handler(r, slog.New(slog.DiscardHandler)).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		body, _ := io.ReadAll(w.Result().Body)
		if w.Code != 200 {
			t.Fatalf("the page answers %d: %s", w.Code, body)
		}
		return string(body)
	}
	if got := page(a); !strings.Contains(got, "nebula_test_only_in_a 7") || !strings.Contains(got, "go_goroutines") {
		t.Errorf("the page lacks series:\n%s", got)
	}
	if strings.Contains(page(b), "nebula_test_only_in_a") {
		t.Error("a series of one registry shows up in another")
	}
}

type failing struct{ desc *prometheus.Desc }

func (f failing) Describe(c chan<- *prometheus.Desc) { c <- f.desc }
func (f failing) Collect(c chan<- prometheus.Metric) {
	c <- prometheus.NewInvalidMetric(f.desc, io.ErrUnexpectedEOF)
}

func TestHandler_survivesAFailingCollector(t *testing.T) {
	r := NewRegistry()
	r.MustRegister(failing{prometheus.NewDesc("nebula_test_failing", "fails", nil, nil)})
	w := httptest.NewRecorder()
	Handler(r, slog.New(slog.DiscardHandler)).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 || !strings.Contains(w.Body.String(), "go_goroutines") {
		t.Errorf("the page answers %d without the other series", w.Code)
	}
}
