package agent

import (
	"testing"
	"time"
)

func TestTries_backOffAndLoop(t *testing.T) {
	now := time.Unix(1000, 0)
	var tries Tries
	var delays []time.Duration
	for i := range 9 {
		tries = tries.Failed(now)
		delays = append(delays, tries.Delay())
		if want := i >= 4; tries.Looping() != want {
			t.Errorf("looping after %d failures = %v, want %v", i+1, tries.Looping(), want)
		}
		now = now.Add(tries.Delay())
	}
	want := []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60}
	for i, d := range delays {
		if d != want[i]*time.Second {
			t.Errorf("delay %d = %v, want %ds", i+1, d, want[i])
		}
	}
}

func TestTries_rareFailuresAreNoLoop(t *testing.T) {
	now := time.Unix(1000, 0)
	var tries Tries
	for range 20 {
		tries = tries.Failed(now)
		now = now.Add(3 * time.Minute)
		if tries.Looping() {
			t.Fatal("a failure every 3 minutes counts as a loop")
		}
	}
}

func TestTries_servingForgives(t *testing.T) {
	now := time.Unix(1000, 0)
	var tries Tries
	for range 5 {
		tries = tries.Failed(now)
	}
	if got := tries.Served(9 * time.Minute); !got.Looping() || got.Delay() == 0 {
		t.Error("9 minutes of serving forgave everything")
	}
	if got := tries.Served(10 * time.Minute); got.Looping() || got.Delay() != 0 {
		t.Error("10 minutes of serving forgave nothing")
	}
}
