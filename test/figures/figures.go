// Package figures prints what the benchmarks measure: one line for each figure, and whether it meets its target. It measures nothing itself.
package figures

import (
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Figure is one result.
type Figure struct {
	Name   string
	Value  float64
	Unit   string
	Op     string // how Value should compare with Target: "<", "<=" or ">="; empty = there is no target
	Target float64
}

func (f Figure) String() string {
	line := fmt.Sprintf("bench: %s = %s %s", f.Name, number(f.Value), f.Unit)
	if f.Op == "" {
		return line
	}
	verdict := "short"
	if f.met() {
		verdict = "ok"
	}
	return fmt.Sprintf("%s (target %s %s) %s", line, f.Op, number(f.Target), verdict)
}

func (f Figure) met() bool {
	switch f.Op {
	case "<":
		return f.Value < f.Target
	case ">=":
		return f.Value >= f.Target
	}
	return f.Value <= f.Target
}

// number has three digits that mean something, and no exponent.
func number(v float64) string {
	if v == 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	digits := max(0, 2-int(math.Floor(math.Log10(math.Abs(v)))))
	return strconv.FormatFloat(v, 'f', min(digits, 6), 64)
}

// Report is where figures go, and what there is to say of them.
type Report struct{ W io.Writer }

// Add prints a figure.
func (r Report) Add(f Figure) { fmt.Fprintln(r.W, f) }

// Note prints a line that is no figure.
func (r Report) Note(format string, args ...any) { fmt.Fprintf(r.W, "# "+format+"\n", args...) }

// Machine says where figures are taken, because they mean nothing elsewhere, and how busy the machine is with other things.
func (r Report) Machine(how string) {
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
	ages := strings.Fields(string(load))
	r.Note("%s, %d cores, Linux %s, %s, load %s, %s", model, runtime.NumCPU(), strings.TrimSpace(string(kernel)), runtime.Version(),
		strings.Join(ages[:min(3, len(ages))], " "), how)
}

// Median of what was taken; NaN of nothing.
func Median(v []float64) float64 { return Quantile(v, 0.5) }

// Quantile q, 0 to 1, of what was taken; NaN of nothing.
func Quantile(v []float64, q float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(v))
	if q == 0.5 && len(s)%2 == 0 {
		return (s[len(s)/2-1] + s[len(s)/2]) / 2
	}
	return s[min(len(s)-1, int(q*float64(len(s))))]
}

// Gap is the longest time between two of the times, within a span of which the ends count as one.
func Gap(times []time.Time, from, to time.Time) time.Duration {
	times = slices.SortedFunc(slices.Values(times), time.Time.Compare)
	longest, last := time.Duration(0), from
	for _, t := range times {
		if t.After(from) && t.Before(to) {
			longest, last = max(longest, t.Sub(last)), t
		}
	}
	return max(longest, to.Sub(last))
}
