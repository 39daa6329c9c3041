package e2e

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/history"
	"github.com/nebula-serve/nebula/test/llama"
)

// TestEvents_engineKilled: the history of a model tells who made it, that its engine ended and why, and that it was started again; and a new Nebula, which
// finds all as it was, invents nothing.
func TestEvents_engineKilled(t *testing.T) {
	n := up(t, "--llama-server", llama.Need(t))
	n.running("m", "Back again.")
	victim := n.pids("m")[0]
	if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var events []api.ModelEvent
	told := func(verb string) int {
		return slices.IndexFunc(events, func(e api.ModelEvent) bool { return e.Verb == verb })
	}
	eventually(t, 60*time.Second, func() error {
		var err error
		if events, err = n.client.ModelEvents(t.Context(), "m"); err != nil {
			return err
		}
		if now := n.pids("m")[0]; now == 0 || now == victim || told(history.VerbRestarted) < 0 || told(string(api.StateRunning)) < 0 || told(string(api.StateRunning)) > told(history.VerbFailed) {
			return fmt.Errorf("engine %d, killed %d, events %+v", now, victim, events)
		}
		return nil
	})
	slices.Reverse(events) // oldest first
	first := events[0]
	if first.Actor == nil || first.Actor.ID != "admin" || !strings.HasPrefix(first.Verb, "model.") {
		t.Errorf("the history begins with %+v, not with who made the model", first)
	}
	if placed := told(history.VerbPlaced); placed < 0 || placed > told(string(api.StateRunning)) || placed > told(history.VerbFailed) {
		t.Errorf("it was not placed before it ran: %+v", events)
	}
	failed := events[told(history.VerbFailed)]
	if failed.Message == "" || failed.Actor != nil || failed.Replica == nil || *failed.Replica != 0 {
		t.Errorf("the end of the engine: %+v", failed)
	}
	t.Logf("%s\n%s", failed.Message, n.must("model", "events", "m"))

	n.kill9()
	n.start()
	n.until("m", 60*time.Second, api.StateRunning)
	n.must("model", "stop", "m", "--wait", "--timeout", "60s") // by then a leader has looked at everything
	var after []api.ModelEvent
	eventually(t, 30*time.Second, func() error {
		var err error
		if after, err = n.client.ModelEvents(t.Context(), "m"); err == nil && !slices.ContainsFunc(after, func(e api.ModelEvent) bool { return e.Verb == string(api.StateStopped) }) {
			err = fmt.Errorf("the stop is not told: %+v", after)
		}
		return err
	})
	slices.Reverse(after)
	next := slices.IndexFunc(after, func(e api.ModelEvent) bool { return e.Verb == "model.stop" })
	if next != len(events) {
		t.Errorf("between the restart and the stop there are new events: %+v", after[len(events):])
	}
}
