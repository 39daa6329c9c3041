package main

import (
	"fmt"
	"math"
	"os"
	"slices"
	"time"

	"github.com/nebula-serve/nebula/test/figures"
)

// say prints one figure. Without an op there is no target.
func say(name string, value float64, unit, op string, target float64, args ...any) {
	figures.Report{W: os.Stdout}.Add(figures.Figure{Name: fmt.Sprintf(name, args...), Value: value, Unit: unit, Op: op, Target: target})
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
