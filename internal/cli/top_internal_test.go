package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/nebula-serve/nebula/api"
)

func busyView(now time.Time) topView {
	load := uint32(40)
	count := func(ok, bad, sum, n float64, at time.Time) *figures {
		return &figures{
			at: at, flight: map[string]float64{"a": 3}, ok: map[string]float64{"a": ok}, bad: map[string]float64{"a": bad},
			sum: map[string]float64{"a": sum}, answers: map[string]float64{"a": n},
		}
	}
	return topView{
		server: "http://x", now: now, before: count(10, 0, 1, 10, now.Add(-2*time.Second)), figures: count(20, 1, 3.5, 20, now),
		models: []api.ModelView{
			{ModelUID: "off", State: api.StateStopped},
			{ModelUID: "a", State: api.StateRunning, Replicas: api.ReplicaCounts{Desired: 2, Ready: 2}, Endpoints: []api.EndpointInfo{{NodeID: "n1"}}},
			{ModelUID: "d", State: api.StateDownloading, Downloads: []api.DownloadProgress{{DownloadedBytes: 1 << 30, TotalBytes: 4 << 30}}},
		},
		nodes: []api.NodeView{
			{
				NodeStatus: api.NodeStatus{
					NodeID: "n1", MemoryTotalMB: 2048, MemoryFreeMB: 1024,
					GPUs: []api.GPUStatus{{MemoryTotalMB: 1024, MemoryUsedMB: 512, UtilizationGPU: &load}, {MemoryTotalMB: 1024}},
				},
				State: api.NodeReady, Disk: &api.NodeDiskStatus{UsagePct: 50, TotalBytes: 1 << 40},
			},
			{NodeStatus: api.NodeStatus{NodeID: "n2\x1b[2J"}, State: api.NodeLost, AbsentSeconds: 90},
		},
		alerts: []api.DiskAlert{{Message: "the disk\nis full"}},
	}
}

// TestTop_frame: what a picture shows, to the letter.
func TestTop_frame(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 30, 15, 0, time.Local)
	v := busyView(now)
	want := strings.TrimLeft(`
http://x  12:30:15  3 models: 1 stopped, 1 downloading, 1 running  2 nodes: 1 ready, 1 lost

MODEL  STATE        READY  IN FLIGHT  REQ/S  ERR/S  TTFT   NODES  WHAT
a      running      2/2    3          5.5    0.5    250ms  n1     -
d      downloading  0/0    0          0      0      -      -      25 % of 4.0 GiB
off    stopped      0/0    0          0      0      -      -      -

NODE     STATE           REPLICAS  GPUS  GPU BUSY  GPU MEMORY          MEMORY              MODEL DISK
n1       ready           0         2     40 %      512.0 MiB of 2.0 GiB  1.0 GiB of 2.0 GiB  50 % of 1.0 TiB
n2[2J    lost for 1m30s  0         0     -         -                   -                   -
! the disk is full
`, "\n")
	if got := ansi.Strip(v.frame(0, 0)); strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(want), " ") {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	// Nothing is made up: without figures, and after the gateway has begun to count anew, there is none.
	v.figures = nil
	if got := ansi.Strip(v.frame(0, 0)); !strings.Contains(got, "a      running      2/2    -          -      -      -     n1") {
		t.Errorf("without figures:\n%s", got)
	}
	v = busyView(now)
	v.figures, v.before = v.before, v.figures
	v.figures.at = v.before.at.Add(time.Second)
	if got := ansi.Strip(v.frame(0, 0)); !strings.Contains(got, "a      running      2/2    3          -      -      -     n1") {
		t.Errorf("after a restart of the gateway:\n%s", got)
	}
}

// TestTop_fits: a picture is never higher than the terminal, as long as that has room for nodes and alerts.
func TestTop_fits(t *testing.T) {
	t.Parallel()
	v := busyView(time.Now())
	for range 500 {
		v.models = append(v.models, api.ModelView{ModelUID: "m", State: api.StateStopped})
	}
	for _, height := range []int{12, 24, 50} {
		got := v.frame(80, height)
		if lines := strings.Count(got, "\n"); lines >= height || !strings.Contains(got, " more\n") || !strings.Contains(got, "is full") {
			t.Errorf("height %d: %d lines\n%s", height, lines, got)
		}
	}
}
