package main

import (
	"context"
	"crypto/sha256"
	"math"
	"strings"

	"github.com/nebula-serve/nebula/test/figures"
	"github.com/nebula-serve/nebula/test/hub"
)

// perConnection is the cap of a hub that gives each connection so much, in bytes per second.
const perConnection = 8_000_000

// measureCapped compares what clients make of a hub that is slow on each connection.
func measureCapped(ctx context.Context, o options, out figures.Report) error {
	s, err := startHub(ctx, o, int64(o.pick(512<<20, 128<<20)), repeated)
	if err != nil {
		return err
	}
	defer s.stop()
	if err := s.breaks(ctx, hub.Faults{BytesPerSecond: perConnection}); err != nil {
		return err
	}
	clients := []client{nebula()}
	if o.curl != "" {
		clients = append(clients, curl(int64(o.pick(64<<20, 16<<20)))) // its speed is the cap: no need to wait for the end
	}
	if o.aria2 != "" {
		clients = append(clients, aria2(false))
	}
	all, err := rounds(ctx, o, s, clients)
	if err != nil {
		return err
	}
	speed := medians(all, took.speed)
	addAll(out, "files_capped_speed_", "MB/s", speed)
	out.Add(figures.Figure{Name: "files_capped_speed_over_aria2", Value: ratio(speed, "nebula", "aria2"), Unit: "x", Op: ">=", Target: 0.95})
	out.Add(figures.Figure{Name: "files_capped_speed_over_curl", Value: ratio(speed, "nebula", "curl"), Unit: "x", Op: ">=", Target: 12})
	return nil
}

// measureUncapped compares clients on a hub that is as fast as this machine.
func measureUncapped(ctx context.Context, o options, out figures.Report) error {
	size := int64(o.pick(1<<30, 256<<20))
	s, err := startHub(ctx, o, size, size)
	if err != nil {
		return err
	}
	defer s.stop()
	clients := []client{nebula()}
	if o.curl != "" {
		clients = append(clients, curl(math.MaxInt64))
	}
	if o.aria2 != "" {
		clients = append(clients, aria2(false), aria2(true))
	}
	all, err := rounds(ctx, o, s, clients)
	if err != nil {
		return err
	}
	speed, cpu := medians(all, took.speed), medians(all, took.cpuPerGB)
	addAll(out, "files_uncapped_speed_", "MB/s", speed)
	addAll(out, "files_uncapped_cpu_", "s per GB", cpu)
	out.Add(figures.Figure{Name: "files_uncapped_speed_over_aria2_with_checksum", Value: ratio(speed, "nebula", "aria2 with checksum"), Unit: "x", Op: ">=", Target: 1.7})
	out.Add(figures.Figure{Name: "files_uncapped_cpu_over_aria2_with_checksum", Value: ratio(cpu, "nebula", "aria2 with checksum"), Unit: "x", Op: "<=", Target: 0.60})
	out.Add(figures.Figure{Name: "files_uncapped_cpu_over_curl", Value: ratio(cpu, "nebula", "curl"), Unit: "x", Op: "<=", Target: 1.15})
	// What nobody can verify without: with it the last figure can be judged on a machine whose sockets are fast.
	out.Add(figures.Figure{Name: "files_sha256_cpu", Value: hashingCPU(), Unit: "s per GB"})
	return nil
}

// hashingCPU is what the hash alone costs of bytes that are in memory, in seconds per GB.
func hashingCPU() float64 {
	block := make([]byte, 1<<20)
	const times = 256
	before := ownCPU()
	d := sha256.New()
	for range times {
		d.Write(block)
	}
	d.Sum(nil)
	return (ownCPU() - before).Seconds() / (times << 20) * 1e9
}

// mostConnections is the highest number of connections that can be configured.
const mostConnections = 32

// measureMemory is the peak of memory of a download over as many connections as can be configured.
func measureMemory(ctx context.Context, o options, out figures.Report) error {
	s, err := startHub(ctx, o, int64(o.pick(1<<30, 128<<20)), repeated)
	if err != nil {
		return err
	}
	defer s.stop()
	if err := s.breaks(ctx, hub.Faults{BytesPerSecond: perConnection}); err != nil {
		return err
	}
	t, err := once(ctx, o, s, nebulaOver(mostConnections))
	if err != nil {
		return err
	}
	out.Add(figures.Figure{Name: "files_peak_rss", Value: float64(t.peakRSS) / (1 << 20), Unit: "MiB", Op: "<=", Target: 64})
	return nil
}

// medians is the median of one figure for each client.
func medians(all map[string][]took, figure func(took) float64) map[string]float64 {
	out := map[string]float64{}
	for name, ts := range all {
		var v []float64
		for _, t := range ts {
			v = append(v, figure(t))
		}
		out[name] = figures.Median(v)
	}
	return out
}

// addAll prints a figure of every client, in a fixed order.
func addAll(out figures.Report, name, unit string, v map[string]float64) {
	for _, c := range []string{"nebula", "aria2", "aria2 with checksum", "curl"} {
		if value, ok := v[c]; ok {
			out.Add(figures.Figure{Name: name + strings.ReplaceAll(c, " ", "_"), Value: value, Unit: unit})
		}
	}
}

// ratio is NaN when one of the two was not measured.
func ratio(v map[string]float64, a, b string) float64 {
	x, ok := v[a]
	y, ok2 := v[b]
	if !ok || !ok2 {
		return math.NaN()
	}
	return x / y
}
