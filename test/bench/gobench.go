package main

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"

	"github.com/nebula-serve/nebula/test/figures"
)

// measureGo runs the Go benchmarks of what decides, at 1,000 nodes and 10,000 models.
func measureGo(ctx context.Context, o options, out figures.Report) error {
	count := "3"
	duration := "1s"
	if o.short {
		count, duration = "1", "100ms"
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^Benchmark(Plan|Status|State_apply)$", "-benchtime", duration, "-count", count,
		"./internal/scheduler", "./internal/cluster", "./internal/store")
	text, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("go test -bench: %w: %s", err, text[max(0, len(text)-1500):])
	}
	figures := parseGo(string(text))
	if len(figures) == 0 {
		return fmt.Errorf("go test -bench printed no benchmark: %s", text)
	}
	for _, f := range figures {
		out.Add(f)
	}
	return nil
}

var goLine = regexp.MustCompile(`^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+(.*)`)

// parseGo reads what go test prints: the median of each figure but the memory ones, in the order of their first appearance.
func parseGo(text string) []figures.Figure {
	var order []figures.Figure
	values := map[string][]float64{}
	for line := range strings.Lines(text) {
		m := goLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		f := strings.Fields(m[2])
		for i := 0; i+1 < len(f); i += 2 {
			value, err := strconv.ParseFloat(f[i], 64)
			name, unit, ok := goFigure(m[1], f[i+1])
			if err != nil || !ok {
				continue
			}
			if unit == "us" {
				value /= 1000
			}
			if values[name] == nil {
				order = append(order, figures.Figure{Name: name, Unit: unit})
			}
			values[name] = append(values[name], value)
		}
	}
	for i := range order {
		order[i].Value = figures.Median(values[order[i].Name])
	}
	return order
}

// goFigure names a figure of a Go benchmark; ok = false for those that are left out.
func goFigure(bench, unit string) (name, as string, ok bool) {
	name = "go_" + strings.ToLower(strings.Map(func(r rune) rune {
		if r == '/' || r == '=' || r == ' ' {
			return '_'
		}
		return r
	}, bench))
	switch unit {
	case "ns/op":
		return name, "us", true
	case "p99-ms":
		return name + "_p99", "ms", true
	case "cpu-ms/op":
		return name + "_cpu", "ms", true
	}
	return "", "", false
}
