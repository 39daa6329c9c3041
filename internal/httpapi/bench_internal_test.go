package httpapi

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/cluster/clustertest"
	"github.com/nebula-serve/nebula/internal/live"
)

// herd is a View of 10,000 models with labels, of which a benchmark changes one at a time.
type herd struct {
	state   *cluster.State
	changes int
}

func (f *herd) Current() (*cluster.State, <-chan struct{}) { return f.state, nil }

func newHerd() *herd {
	s := clustertest.Fleet(100, 10_000, 1)
	edit := s.Models.Edit()
	i := 0
	for e := range s.Models.All() {
		e.Value.Labels = map[string]string{"team": fmt.Sprint("t", i%40), "tier": []string{"gold", "basic", "basic"}[i%3]}
		e.Value.ModelName = fmt.Sprintf("Team-%d/model-%d", i%40, i)
		edit.Put(e)
		i++
	}
	s.Models = edit.Done()
	return &herd{state: s}
}

// change gives one model another name.
func (f *herd) change() {
	f.changes++
	next := *f.state
	next.Revision++
	edit := next.Models.Edit()
	e, _ := next.Models.Get(fmt.Sprintf("model-%06d", f.changes*7919%10_000))
	e.Value.ModelName = fmt.Sprint("renamed/", f.changes)
	e.Rev = next.Revision
	edit.Put(e)
	next.Models = edit.Done()
	f.state = &next
}

// BenchmarkModels is what a list of 10,000 models costs the server, right after one of them has changed.
func BenchmarkModels(b *testing.B) {
	for name, target := range map[string]string{
		"summary":          "/api/v2/summary/models",
		"summary_of_q":     "/api/v2/summary/models?q=t-1",
		"summary_of_label": "/api/v2/summary/models?label=tier%3Dbasic",
		"page":             "/api/v2/models?limit=100",
		"page_of_q":        "/api/v2/models?limit=100&q=t-1",
		"sorted_by_name":   "/api/v2/models?limit=100&sort=name",
		"sorted_by_state":  "/api/v2/models?limit=100&sort=-updated",
		"sorted_of_q":      "/api/v2/models?limit=100&sort=name&q=t-1",
	} {
		b.Run(name, func(b *testing.B) {
			f := newHerd()
			now := func() time.Time { return time.UnixMilli(1) }
			s := &server{Config: Config{View: f, Now: now, Log: slog.Default()}, models: live.New(f, now, live.Models())}
			serve := s.listModels
			if strings.HasPrefix(name, "summary") {
				serve = s.summarizeModels
			}
			ask := func() {
				w := httptest.NewRecorder()
				if err := serve(w, httptest.NewRequest(http.MethodGet, target, nil)); err != nil || w.Code != http.StatusOK {
					b.Fatal(err, w.Code)
				}
			}
			ask()
			b.ReportAllocs()
			for b.Loop() {
				f.change()
				ask()
			}
		})
	}
	b.Run("change", func(b *testing.B) { // alone, which is a part of each of the others
		f := newHerd()
		list := live.New(f, func() time.Time { return time.UnixMilli(1) }, live.Models())
		for ok := true; ok; ok = b.Loop() {
			f.change()
			if _, err := list.Current(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
