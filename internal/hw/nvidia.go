package hw

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/nebula-serve/nebula/api"
)

// nvidiaFields are what nvidia-smi is asked for, in this order.
var nvidiaFields = []string{"index", "uuid", "name", "memory.total", "memory.used", "temperature.gpu", "utilization.gpu"}

// nvidia asks nvidia-smi for the GPUs. Without nvidia-smi there are none. The machine's memory in MiB stands in for a
// GPU that has none of its own.
func nvidia(ctx context.Context, run Runner, totalMB, usedMB uint64) ([]api.GPUStatus, error) {
	out, err := run.Run(ctx, "nvidia-smi", "--query-gpu="+strings.Join(nvidiaFields, ","), "--format=csv,noheader,nounits")
	switch {
	case errors.Is(err, exec.ErrNotFound), strings.Contains(string(out), "No devices were found"):
		return nil, nil
	case err != nil: // it may have told about some GPUs before it failed
		gpus, _ := parseNVIDIA(string(out), totalMB, usedMB)
		return gpus, fmt.Errorf("nvidia-smi: %w%s; other GPUs of this node are unknown until it works", err, firstLine(out))
	}
	gpus, err := parseNVIDIA(string(out), totalMB, usedMB)
	if err != nil {
		err = fmt.Errorf("nvidia-smi: %w", err)
	}
	return gpus, err
}

func firstLine(out []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if line == "" {
		return ""
	}
	return ": " + line[:min(len(line), 200)]
}

// parseNVIDIA reads one GPU per line. The index is the one printed, never the line's number. A line that cannot be read
// is an error and no GPU: a wrong number would place models on it. The other lines count.
func parseNVIDIA(out string, totalMB, usedMB uint64) ([]api.GPUStatus, error) {
	var gpus []api.GPUStatus
	var errs []error
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		g, err := parseGPU(line, totalMB, usedMB)
		if err == nil && slices.ContainsFunc(gpus, func(o api.GPUStatus) bool { return o.Index == g.Index }) {
			err = fmt.Errorf("index %d twice", g.Index)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%q: %w", line[:min(len(line), 200)], err))
			continue
		}
		gpus = append(gpus, g)
	}
	slices.SortFunc(gpus, func(a, b api.GPUStatus) int { return int(a.Index) - int(b.Index) })
	return gpus, errors.Join(errs...)
}

func parseGPU(line string, totalMB, usedMB uint64) (api.GPUStatus, error) {
	f := strings.Split(line, ",")
	if len(f) != len(nvidiaFields) {
		return api.GPUStatus{}, fmt.Errorf("%d fields instead of %d", len(f), len(nvidiaFields))
	}
	for i := range f {
		f[i] = strings.TrimSpace(f[i])
	}
	index, err := strconv.ParseUint(f[0], 10, 16)
	if err != nil {
		return api.GPUStatus{}, fmt.Errorf("index %q", f[0])
	}
	g := api.GPUStatus{Index: uint32(index), Name: f[2], Vendor: "nvidia"}
	if !absent(f[1]) {
		g.UUID = f[1]
	}
	if absent(f[3]) && totalMB > 0 { // shares the machine's memory
		g.MemoryTotalMB, g.MemoryUsedMB = totalMB, usedMB
	} else if g.MemoryTotalMB, err = strconv.ParseUint(f[3], 10, 40); err != nil || g.MemoryTotalMB == 0 {
		return api.GPUStatus{}, fmt.Errorf("memory.total %q", f[3])
	} else if g.MemoryUsedMB, err = strconv.ParseUint(f[4], 10, 40); err != nil {
		return api.GPUStatus{}, fmt.Errorf("memory.used %q", f[4])
	}
	if g.TemperatureC, err = optional(f[5], 1000); err != nil {
		return api.GPUStatus{}, fmt.Errorf("temperature.gpu %q", f[5])
	}
	if g.UtilizationGPU, err = optional(f[6], 100); err != nil {
		return api.GPUStatus{}, fmt.Errorf("utilization.gpu %q", f[6])
	}
	return g, nil
}

// absent tells the ways in which nvidia-smi says that it does not know.
func absent(s string) bool {
	return slices.Contains([]string{"[N/A]", "N/A", "[Not Supported]", "Not Supported", "[Not Found]"}, s)
}

// optional reads a number that may be absent.
func optional(s string, most uint64) (*uint32, error) {
	if absent(s) {
		return nil, nil
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n > most {
		return nil, strconv.ErrSyntax
	}
	v := uint32(n)
	return &v, nil
}
