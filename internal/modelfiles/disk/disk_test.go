package disk

import (
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
)

func TestPercent(t *testing.T) {
	for _, c := range []struct {
		used, avail uint64
		want        float64
	}{{0, 0, 0}, {0, 9, 0}, {1, 0, 100}, {1, 1, 50}, {424, 576, 42.4}, {1, 999_999, 0.1}, {999_999, 1, 100}} {
		if got := percent(c.used, c.avail); got != c.want {
			t.Errorf("%d used, %d available: %g %%, want %g", c.used, c.avail, got, c.want)
		}
	}
}

// TestAlerts: raised once at 85 and 95, kept until 83 and 93, gone after.
func TestAlerts(t *testing.T) {
	var held []api.DiskAlert
	for i, c := range []struct {
		pct  float64
		want string
	}{
		{80, ""},
		{84.9, ""},
		{85, "disk_warning@2"},
		{84, "disk_warning@2"},
		{83, "disk_warning@2"},
		{82.9, ""},
		{85.1, "disk_warning@6"},
		{96, "disk_warning@6 disk_critical@7"},
		{94, "disk_warning@6 disk_critical@7"},
		{92, "disk_warning@6"},
		{10, ""},
	} {
		held = Alerts(held, api.NodeDiskStatus{NodeID: "n", ModelDir: "/m", UsagePct: c.pct, AvailableBytes: 5e9}, time.UnixMilli(int64(i)))
		var got []string
		for _, a := range held {
			got = append(got, a.AlertType+"@"+string(rune('0'+a.CreatedAtMS)))
			if a.NodeID != "n" || a.UsagePct != c.pct || !strings.Contains(a.Message, "5.0 GB") {
				t.Errorf("%+v", a)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("step %d, %g %%: %v, want %q", i, c.pct, got, c.want)
		}
	}
}
