package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

// say prints one figure. Without an op there is no target.
func say(name string, value float64, unit, op string, target float64, args ...any) {
	line := fmt.Sprintf("bench: %s = %s %s", fmt.Sprintf(name, args...), number(value), unit)
	if op != "" {
		verdict := "short"
		if value < target || op == "<=" && value == target {
			verdict = "ok"
		}
		line += fmt.Sprintf(" (target %s %s) %s", op, number(target), verdict)
	}
	fmt.Println(line)
}

// number has three digits that mean something, and no exponent.
func number(v float64) string {
	if v == 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return strconv.FormatFloat(v, 'f', min(max(0, 2-int(math.Floor(math.Log10(math.Abs(v))))), 6), 64)
}

// sample is how long things took.
type sample []time.Duration

// quantile is in milliseconds; NaN of nothing.
func (s sample) quantile(q float64) float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	return float64(sorted[min(len(sorted)-1, int(q*float64(len(sorted))))].Microseconds()) / 1000
}

func (s sample) p99() float64 { return s.quantile(0.99) }
