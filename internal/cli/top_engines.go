package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nebula-serve/nebula/api"
)

// engineView is what the engines of one model say together, as text; "-" where none of them says it.
type engineView struct{ running, waiting, in, out, kv string }

// engineViews adds up what engines say, by model. Rates come of two looks at the same engine: a total that has shrunk is that of another engine,
// and tells nothing.
func engineViews(now, before *api.EngineFigures) map[string]engineView {
	sums := map[string]*engineSums{}
	old := map[string]*api.ReplicaFigures{}
	if before != nil {
		for i := range before.Replicas {
			r := &before.Replicas[i]
			old[api.EndpointKey(r.ModelUID, r.ReplicaID)] = r
		}
	}
	if now != nil {
		for i := range now.Replicas {
			r := &now.Replicas[i]
			if sums[r.ModelUID] == nil {
				sums[r.ModelUID] = &engineSums{}
			}
			sums[r.ModelUID].add(r, old[api.EndpointKey(r.ModelUID, r.ReplicaID)])
		}
	}
	views := map[string]engineView{}
	for uid, s := range sums {
		views[uid] = engineView{s.running.text("%.0f", 1), s.waiting.text("%.0f", 1), s.in.text("%.1f", 1), s.out.text("%.1f", 1), s.kv.text("%.0f %%", 100/max(s.kv.n, 1))}
	}
	return views
}

type engineSums struct{ running, waiting, in, out, kv sum }

// sum is that of the figures that are there.
type sum struct{ total, n float64 }

func (s *sum) add(v *float64) {
	if v != nil {
		s.total, s.n = s.total+*v, s.n+1
	}
}

func (s *sum) text(format string, times float64) string {
	if s.n == 0 {
		return none
	}
	return strings.Replace(fmt.Sprintf(format, s.total*times), ".0", "", 1)
}

func (s *engineSums) add(now, before *api.ReplicaFigures) {
	s.running.add(now.RequestsRunning)
	s.waiting.add(now.RequestsWaiting)
	s.kv.add(now.KVUsedRatio)
	if before == nil || before.NodeID != now.NodeID || now.AtMS <= before.AtMS {
		return
	}
	seconds := float64(now.AtMS-before.AtMS) / 1000
	s.in.add(perSecond(now.PromptTokensTotal, before.PromptTokensTotal, seconds))
	s.out.add(perSecond(now.OutputTokensTotal, before.OutputTokensTotal, seconds))
}

func perSecond(now, before *float64, seconds float64) *float64 {
	if now == nil || before == nil || *now < *before {
		return nil
	}
	rate := (*now - *before) / seconds
	return &rate
}

// dispensable are the columns that a narrow terminal does without, the first of them first.
var dispensable = []string{"ERR/S", "IN FLIGHT", "NODES", "KV CACHE", "TTFT", "WAITING", "REQ/S", "IN TOK/S", "RUNNING", "WHAT"}

// withoutColumns leaves columns out until what is left fits, when the widest is cut as far as it may be.
func withoutColumns(header []string, rows [][]string, width int) ([]string, [][]string) {
	for _, title := range dispensable {
		widths := columnWidths(header, rows)
		fit(widths, width)
		total := -columnGap
		for _, w := range widths {
			total += w + columnGap
		}
		i := slices.Index(header, title)
		if width <= 0 || total <= width {
			break
		}
		if i < 0 {
			continue
		}
		header = slices.Delete(slices.Clone(header), i, i+1)
		for j := range rows {
			rows[j] = slices.Delete(rows[j], i, i+1)
		}
	}
	return header, rows
}
