package live

import (
	"time"

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
			out := Shown{Value: v, Facts: Facts{State: v.State, Labels: v.Labels}}
			if v.EngineType != nil {
				out.Facts.Engine = *v.EngineType
			}
			out.Due, out.ByClock = cluster.NextLook(s, uid, now)
			return out, true
		},
	}
}
