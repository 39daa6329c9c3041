package live

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// Models is the kind of a list of models: the objects are [api.ModelView].
func Models() Kind {
	return Kind{
		Touched: cluster.TouchedViews,
		Show: func(s *cluster.State, uid string, now time.Time) (Shown, bool) {
			v, ok := cluster.View(s, uid, now)
			if !ok {
				return Shown{}, false
			}
			out := Shown{
				Value: v, Facts: Facts{State: v.State, Labels: LabelsOf(v.Labels), Text: searched(&v)},
				Sort: Sort{Name: strings.ToLower(v.ModelName), Replicas: v.Replicas.Desired, Created: v.CreatedAtMS, Updated: v.UpdatedAtMS},
			}
			if v.EngineType != nil {
				out.Facts.Engine = *v.EngineType
			}
			out.Due, out.ByClock = cluster.NextLook(s, uid, now)
			return out, true
		},
	}
}

// searched is what people look for a model by: its uid, its name and the values of its labels.
func searched(v *api.ModelView) string {
	texts := append([]string{v.ModelUID, v.ModelName}, slices.Sorted(maps.Values(v.Labels))...)
	return strings.ToLower(strings.Join(texts, "\n"))
}
