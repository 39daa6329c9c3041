package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// figure is one result.
type figure struct {
	name   string
	value  float64
	unit   string
	op     string // how value should compare with target: "<" or "<="; empty = there is no target
	target float64
}

func (f figure) String() string {
	line := fmt.Sprintf("bench: %s = %s %s", f.name, number(f.value), f.unit)
	if f.op == "" {
		return line
	}
	verdict := "short"
	if f.value < f.target || f.op == "<=" && f.value == f.target {
		verdict = "ok"
	}
	return fmt.Sprintf("%s (target %s %s) %s", line, f.op, number(f.target), verdict)
}

// number has three digits that mean something, and no exponent.
func number(v float64) string {
	if v == 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	digits := max(0, 2-int(math.Floor(math.Log10(math.Abs(v)))))
	return strconv.FormatFloat(v, 'f', min(digits, 6), 64)
}

// report is where figures go.
type report struct{ w io.Writer }

func (r report) add(f figure) { fmt.Fprintln(r.w, f) }

func (r report) note(format string, args ...any) { fmt.Fprintf(r.w, "# "+format+"\n", args...) }

// machine says where the figures were taken: they mean nothing elsewhere.
func (r report) machine(o options) {
	model := "unknown CPU"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
				model = strings.TrimSpace(v)
				break
			}
		}
	}
	load, _ := os.ReadFile("/proc/loadavg") // unknown is shown as nothing
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	mode := "full"
	if o.short {
		mode = "short"
	}
	r.note("%s, %d cores, Linux %s, %s, load %s, %s run: medians of %d interleaved rounds", model, runtime.NumCPU(),
		strings.TrimSpace(string(kernel)), runtime.Version(), strings.Join(strings.Fields(string(load))[:min(3, len(strings.Fields(string(load))))], " "),
		mode, o.rounds())
}

// median of what was taken; NaN of nothing.
func median(v []float64) float64 { return quantile(v, 0.5) }

func quantile(v []float64, q float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(v))
	if q == 0.5 && len(s)%2 == 0 {
		return (s[len(s)/2-1] + s[len(s)/2]) / 2
	}
	return s[min(len(s)-1, int(q*float64(len(s))))]
}
