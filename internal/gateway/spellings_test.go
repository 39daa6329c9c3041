package gateway

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nebula-serve/nebula/internal/obs"
)

// TestM15_upstreamErrors: the row M15 of the contract's table of spellings. The label is that of the existing Nebula's router, not the one that its
// console looked for.
func TestM15_upstreamErrors(t *testing.T) {
	reg, tally := prometheus.NewRegistry(), &obs.Tally{}
	registerTally(reg, tally)
	for range 3 {
		tally.Add(obs.Failed5xx)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "nebula_gateway_upstream_error_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			got[m.GetLabel()[0].GetName()+"="+m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
		}
	}
	if len(got) != 4 || got["kind=upstream_5xx"] != 3 {
		t.Errorf("%v", got)
	}
}
