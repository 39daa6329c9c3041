package cli

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
)

func busyView(now time.Time) topView {
	load := uint32(40)
	count := func(ok, bad, sum, n float64, at time.Time) *figures {
		return &figures{
			at: at, flight: map[string]float64{"a": 3}, ok: map[string]float64{"a": ok}, bad: map[string]float64{"a": bad},
			sum: map[string]float64{"a": sum}, answers: map[string]float64{"a": n},
		}
	}
	n := func(v float64) *float64 { return &v }
	return topView{
		enginesBefore: &api.EngineFigures{Replicas: []api.ReplicaFigures{
			{ModelUID: "a", ReplicaID: 0, AtMS: 1000, PromptTokensTotal: n(100), OutputTokensTotal: n(10)},
			{ModelUID: "a", ReplicaID: 1, AtMS: 1000, PromptTokensTotal: n(900), OutputTokensTotal: n(10)},
		}},
		engines: &api.EngineFigures{Replicas: []api.ReplicaFigures{
			{ModelUID: "a", ReplicaID: 0, AtMS: 3000, PromptTokensTotal: n(300), OutputTokensTotal: n(21), RequestsRunning: n(2), RequestsWaiting: n(0), KVUsedRatio: n(0.5)},
			{ModelUID: "a", ReplicaID: 1, AtMS: 3000, PromptTokensTotal: n(5), OutputTokensTotal: n(30), RequestsRunning: n(1), KVUsedRatio: n(0.25)}, // started again
		}},
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

MODEL  STATE        READY  RUNNING  WAITING  IN TOK/S  OUT TOK/S  KV CACHE  IN FLIGHT  REQ/S  ERR/S  TTFT   NODES  WHAT
a      running      2/2    3        0        100       15.5       38 %      3          5.5    0.5    250ms  n1     -
d      downloading  0/0    -        -        -         -          -         0          0      0      -      -      25 % of 4.0 GiB
off    stopped      0/0    -        -        -         -          -         0          0      0      -      -      -

NODE     STATE           REPLICAS  GPUS  GPU BUSY  GPU MEMORY          MEMORY              MODEL DISK
n1       ready           0         2     40 %      512.0 MiB of 2.0 GiB  1.0 GiB of 2.0 GiB  50 % of 1.0 TiB
n2[2J    lost for 1m30s  0         0     -         -                   -                   -
! the disk is full
`, "\n")
	if got := ansi.Strip(v.frame(0, 0)); squeeze(got) != squeeze(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	// Nothing is made up: without figures, and after the gateway has begun to count anew, there is none.
	v.figures, v.engines = nil, nil
	if got := ansi.Strip(v.frame(0, 0)); !strings.Contains(squeeze(got), "a running 2/2 - - - - - - - - - n1") {
		t.Errorf("without figures:\n%s", got)
	}
	v = busyView(now)
	v.figures, v.before = v.before, v.figures
	v.figures.at = v.before.at.Add(time.Second)
	v.engines, v.enginesBefore = v.enginesBefore, v.engines
	if got := ansi.Strip(v.frame(0, 0)); !strings.Contains(squeeze(got), "a running 2/2 - - - - - 3 - - - n1") {
		t.Errorf("after a restart of the gateway:\n%s", got)
	}
}

// TestTop_fits: a picture is never higher than the terminal, as long as that has room for nodes and alerts.
func TestTop_fits(t *testing.T) {
	t.Parallel()
	v := busyView(time.Now())
	for range 1000 {
		v.models = append(v.models, api.ModelView{ModelUID: "m", State: api.StateStopped})
	}
	for _, height := range []int{12, 24, 50} {
		got := v.frame(80, height)
		if lines := strings.Count(got, "\n"); lines >= height || !strings.Contains(got, " more\n") || !strings.Contains(got, "is full") {
			t.Errorf("height %d: %d lines\n%s", height, lines, got)
		}
	}
}

func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }

// TestTop_widths: a narrow terminal shows fewer columns, whole, and no line is wider than it.
func TestTop_widths(t *testing.T) {
	t.Parallel()
	v := busyView(time.Date(2026, 3, 1, 12, 30, 15, 0, time.Local))
	for width, want := range map[int]string{
		200: "MODEL STATE READY RUNNING WAITING IN TOK/S OUT TOK/S KV CACHE IN FLIGHT REQ/S ERR/S TTFT NODES WHAT",
		100: "MODEL STATE READY RUNNING WAITING IN TOK/S OUT TOK/S KV CACHE REQ/S TTFT WHAT",
		80:  "MODEL STATE READY RUNNING WAITING IN TOK/S OUT TOK/S REQ/S WHAT",
		50:  "MODEL STATE READY OUT TOK/S WHAT",
	} {
		got := ansi.Strip(v.modelTable(width))
		header, _, _ := strings.Cut(got, "\n")
		if squeeze(header) != want {
			t.Errorf("%d: %s", width, squeeze(header))
		}
		for line := range strings.Lines(got) {
			if w := ansi.StringWidth(strings.TrimSuffix(line, "\n")); w > width {
				t.Errorf("%d: a line of %d: %s", width, w, line)
			}
		}
	}
}

// TestTop_empty: a cluster without anything says what to do.
func TestTop_empty(t *testing.T) {
	t.Parallel()
	v := topView{server: "http://x"}
	got := v.frame(80, 24)
	if !strings.Contains(got, "No models. Declare one with: nebula model create NAME\n") || !strings.Contains(got, "No nodes. Let a machine join") {
		t.Errorf("%s", got)
	}
}

// TestTop_away: when the server goes away the last picture stays and says that it is not of now; when it is back, so are its figures.
func TestTop_away(t *testing.T) {
	t.Parallel()
	var away atomic.Bool
	var total atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if away.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		switch r.URL.Path {
		case "/api/v2/models":
			_, _ = io.WriteString(w, `[{"model_uid":"m","state":"running"}]`)
		case "/api/v2/endpoints/figures":
			_, _ = fmt.Fprintf(w, `{"replicas":[{"model_uid":"m","at_ms":%d,"generation_tokens_total":%d}]}`, total.Load()*100, total.Add(10))
		case "/metrics":
			w.WriteHeader(http.StatusForbidden)
		default:
			_, _ = io.WriteString(w, `[]`)
		}
	}))
	defer server.Close()
	look := &top{cl: client.New(server.URL, "")}
	for i, step := range []struct {
		away       bool
		with, lack string
	}{
		{false, "m running 0/0 - - - - - -", "Not of now"},
		{false, "m running 0/0 - - - 10 -", "Not of now"},
		{true, "! Not of now: ", "No models"},
		{true, "m running 0/0 - - - 10 -", "No models"},
		{false, "m running 0/0 - - - 10 -", "Not of now"},
	} {
		away.Store(step.away)
		look.refresh(t.Context())
		if got := squeeze(ansi.Strip(look.seen.frame(0, 0))); !strings.Contains(got, step.with) || strings.Contains(got, step.lack) {
			t.Errorf("step %d: %s", i, got)
		}
	}
}
