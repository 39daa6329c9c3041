package httpapi

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"unique"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/live"
)

// summaryRoutes are the rows about how many there are of what. They are beside the lists and not below them: what is below is named by people, as in
// /models/{uid}.
func (s *server) summaryRoutes() []Route {
	return []Route{
		{Method: "GET", Path: "/api/v2/summary/models", Role: auth.Viewer, Summary: "How many models there are, in which states, of which engines and with which labels", Query: modelFilters(), Response: api.ModelSummary{}, Has: Resumes, Handle: s.summarizeModels},
	}
}

// Bounds of a summary: what more there is, it counts.
const (
	maxLabelKeys   = 50
	maxLabelValues = 50
)

func (s *server) summarizeModels(w http.ResponseWriter, r *http.Request) error {
	match, err := modelFilter(r)
	if err != nil {
		return err
	}
	table, err := s.models.Current()
	if err != nil {
		return err
	}
	filter := url.Values{}
	for _, p := range modelFilters() {
		filter[p.Name] = r.URL.Query()[p.Name]
	}
	sum := live.Of(table, "summary "+filter.Encode(), func(t *live.Table) api.ModelSummary { return summarize(t, match) })
	w.Header().Set("Nebula-Revision", strconv.FormatInt(table.Revision(), 10))
	writeJSON(w, http.StatusOK, sum)
	return nil
}

// summarize counts the models that pass a filter.
func summarize(t *live.Table, match func(*live.Facts) bool) api.ModelSummary {
	out := api.ModelSummary{States: map[api.ModelState]int{}, Engines: map[string]int{}}
	for _, state := range api.ModelStates() {
		out.States[state] = 0
	}
	counts := map[unique.Handle[live.Label]]int{}
	for i := range t.After("") {
		if !i.Is(match) {
			continue
		}
		out.Total++
		f := i.Facts()
		out.States[f.State]++
		if f.Engine != "" {
			out.Engines[f.Engine]++
		}
		for _, label := range f.Labels {
			counts[label]++
		}
	}
	labels := map[string][]api.LabelValueCount{}
	for label, n := range counts {
		l := label.Value()
		labels[l.Key] = append(labels[l.Key], api.LabelValueCount{Value: l.Value, Models: n})
	}
	out.Labels = make([]api.LabelSummary, 0, len(labels))
	for key, values := range labels {
		l := api.LabelSummary{Key: key, Values: values}
		for _, v := range values {
			l.Models += v.Models
		}
		slices.SortFunc(l.Values, func(a, b api.LabelValueCount) int {
			return cmp.Or(cmp.Compare(b.Models, a.Models), cmp.Compare(a.Value, b.Value))
		})
		l.Values, l.MoreValues = atMost(l.Values, maxLabelValues)
		out.Labels = append(out.Labels, l)
	}
	slices.SortFunc(out.Labels, func(a, b api.LabelSummary) int {
		return cmp.Or(cmp.Compare(b.Models, a.Models), cmp.Compare(a.Key, b.Key))
	})
	out.Labels, out.MoreLabels = atMost(out.Labels, maxLabelKeys)
	return out
}

// atMost returns the first n of a list, and how many more there are.
func atMost[T any](list []T, n int) ([]T, int) {
	if len(list) <= n {
		return list, 0
	}
	return slices.Clone(list[:n]), len(list) - n
}
