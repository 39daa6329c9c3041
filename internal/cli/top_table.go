package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
)

// none stands for what is not known.
const none = "-"

// modelTable shows the models that are to run before those that are not.
func (v *topView) modelTable(width int) string {
	if len(v.models) == 0 {
		return "No models. Declare one with: nebula model create NAME\n"
	}
	models := slices.Clone(v.models)
	slices.SortStableFunc(models, func(a, b api.ModelView) int {
		stopped := func(m api.ModelView) int { return map[bool]int{true: 1}[m.State == api.StateStopped] }
		return cmp.Or(stopped(a)-stopped(b), cmp.Compare(a.ModelUID, b.ModelUID))
	})
	engines := engineViews(v.engines, v.enginesBefore)
	var rows [][]string
	for _, m := range models {
		e := engines[m.ModelUID]
		state := lipgloss.NewStyle().Foreground(lipgloss.Color(stateColours[m.State])).Render(clean(string(m.State)))
		rows = append(rows, []string{
			clean(m.ModelUID), state, fmt.Sprintf("%d/%d", m.Replicas.Ready, m.Replicas.Desired),
			orDash(e.running), orDash(e.waiting), orDash(e.in), orDash(e.out), orDash(e.kv),
			v.figures.inFlight(m.ModelUID), v.rate(m.ModelUID, (*figures).answered), v.rate(m.ModelUID, (*figures).failed), v.ttft(m.ModelUID),
			orDash(endpointNodes(m.Endpoints)), orDash(progressText(m)),
		})
	}
	header, rows := withoutColumns([]string{
		"MODEL", "STATE", "READY", "RUNNING", "WAITING", "IN TOK/S", "OUT TOK/S", "KV CACHE", "IN FLIGHT", "REQ/S", "ERR/S", "TTFT", "NODES", "WHAT",
	}, rows, width)
	return tableText(header, rows, width)
}

// progressText says what keeps a model: how far its download is, or the reason of its state.
func progressText(m api.ModelView) string {
	var done, total uint64
	for _, d := range m.Downloads {
		done, total = done+d.DownloadedBytes, total+d.TotalBytes
	}
	if m.State == api.StateDownloading && total > 0 {
		return fmt.Sprintf("%d %% of %s", done*100/total, size(total))
	}
	return reasonText(m.Reason)
}

func (v *topView) nodeTable(width int) string {
	if len(v.nodes) == 0 {
		return "No nodes. Let a machine join with: nebula token create --for node\n"
	}
	var rows [][]string
	for _, n := range v.nodes {
		disk := none
		if n.Disk != nil {
			disk = fmt.Sprintf("%.0f %% of %s", n.Disk.UsagePct, size(n.Disk.TotalBytes))
		}
		memory := none
		if n.MemoryTotalMB > 0 && n.MemoryFreeMB > 0 && n.MemoryFreeMB <= n.MemoryTotalMB {
			memory = fmt.Sprintf("%s of %s", size((n.MemoryTotalMB-n.MemoryFreeMB)<<20), size(n.MemoryTotalMB<<20))
		} else if n.MemoryTotalMB > 0 {
			memory = none + " of " + size(n.MemoryTotalMB<<20)
		}
		busy, gpuMemory := gpuUse(n.GPUs)
		rows = append(rows, []string{clean(n.NodeID), nodeState(n), fmt.Sprint(len(n.Replicas)), fmt.Sprint(len(n.GPUs)), busy, gpuMemory, memory, disk})
	}
	return tableText([]string{"NODE", "STATE", "REPLICAS", "GPUS", "GPU BUSY", "GPU MEMORY", "MEMORY", "MODEL DISK"}, rows, width)
}

// gpuUse is the mean load of a node's accelerators, of those that tell theirs, and their memory.
func gpuUse(gpus []api.GPUStatus) (busy, memory string) {
	if len(gpus) == 0 {
		return none, none
	}
	var load, told uint32
	var used, total uint64
	for _, g := range gpus {
		used, total = used+g.MemoryUsedMB, total+g.MemoryTotalMB
		if g.UtilizationGPU != nil {
			load, told = load+*g.UtilizationGPU, told+1
		}
	}
	busy = none
	if told > 0 {
		busy = fmt.Sprintf("%d %%", load/told)
	}
	return busy, size(used<<20) + " of " + size(total<<20)
}

// maxMetrics bounds the metrics that are read, in bytes.
const maxMetrics = 64 << 20

// figures are what a gateway has counted, by model.
type figures struct {
	at           time.Time
	flight       map[string]float64
	ok, bad      map[string]float64
	sum, answers map[string]float64 // of the times to the first byte
}

// readFigures asks the server for its metrics.
func readFigures(ctx context.Context, cl *client.Client, now time.Time) (*figures, error) {
	res, err := cl.Do(ctx, http.MethodGet, "/metrics", nil, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(io.LimitReader(res.Body, maxMetrics))
	if err != nil {
		return nil, fmt.Errorf("read the metrics: %w", err)
	}
	return figuresOf(families, now), nil
}

func figuresOf(families map[string]*dto.MetricFamily, now time.Time) *figures {
	f := &figures{at: now, flight: map[string]float64{}, ok: map[string]float64{}, bad: map[string]float64{}, sum: map[string]float64{}, answers: map[string]float64{}}
	for _, m := range families["nebula_gateway_requests_inflight"].GetMetric() {
		f.flight[labelOf(m, "model")] = m.GetGauge().GetValue()
	}
	for _, m := range families["nebula_gateway_requests_total"].GetMetric() {
		to := f.ok
		if code := labelOf(m, "code"); code != "200" && code != "499" { // 499: the client left
			to = f.bad
		}
		to[labelOf(m, "model")] += m.GetCounter().GetValue()
	}
	for _, m := range families["nebula_route_ttft_seconds"].GetMetric() {
		uid := labelOf(m, "model_uid")
		f.sum[uid], f.answers[uid] = m.GetHistogram().GetSampleSum(), float64(m.GetHistogram().GetSampleCount())
	}
	return f
}

func labelOf(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

func (f *figures) answered(uid string) float64 { return f.ok[uid] + f.bad[uid] }
func (f *figures) failed(uid string) float64   { return f.bad[uid] }

func (f *figures) inFlight(uid string) string {
	if f == nil {
		return none
	}
	return fmt.Sprintf("%.0f", f.flight[uid])
}

// rate is how fast a counter grew between two looks; a counter that has shrunk is that of another process, and tells nothing.
func (v *topView) rate(uid string, counter func(*figures, string) float64) string {
	if v.figures == nil || v.before == nil || !v.figures.at.After(v.before.at) {
		return none
	}
	grown := counter(v.figures, uid) - counter(v.before, uid)
	if grown < 0 {
		return none
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", grown/v.figures.at.Sub(v.before.at).Seconds()), ".0")
}

// ttft is the mean time to the first byte of the answers between two looks.
func (v *topView) ttft(uid string) string {
	if v.figures == nil || v.before == nil {
		return none
	}
	n, sum := v.figures.answers[uid]-v.before.answers[uid], v.figures.sum[uid]-v.before.sum[uid]
	if n <= 0 || sum < 0 {
		return none
	}
	return time.Duration(sum / n * float64(time.Second)).Round(time.Millisecond).String()
}
