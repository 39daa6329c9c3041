package obs_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/obs"
)

// TestTail_keepsWhatIsLogged: what the log shows, and nothing else: the level is the log's, and what masks itself there does here.
func TestTail_keepsWhatIsLogged(t *testing.T) {
	var out bytes.Buffer
	tail := obs.NewTail()
	log := slog.New(tail.Handler(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo})))
	log = log.With("component", "api").WithGroup("g").With("a", 1)
	log.Debug("not logged")
	log.Info("a line", "token", api.Token("secret-secret"), "two", "lines\nin one")
	got := tail.Last(10)
	if len(got) != 1 || got[0]+"\n" != out.String() {
		t.Errorf("the tail has %q, the log %q", got, out.String())
	}
	if strings.Contains(got[0], "secret-secret") || strings.Contains(got[0], "\n") || !strings.Contains(got[0], "component=api g.a=1") {
		t.Error(got[0])
	}
}

// TestTail_isBounded: however much is logged, and however long the lines, the last ones are kept, in order.
func TestTail_isBounded(t *testing.T) {
	tail := obs.NewTail()
	for i := range 2*obs.MaxTail + 7 {
		_, _ = fmt.Fprintf(tail, "%d %s\n", i, strings.Repeat("é", 3000))
	}
	got := tail.Last(5000)
	if len(got) != obs.MaxTail || !strings.HasPrefix(got[0], fmt.Sprint(obs.MaxTail+7, " ")) || !strings.HasPrefix(got[len(got)-1], fmt.Sprint(2*obs.MaxTail+6, " ")) {
		t.Errorf("%d lines, from %.10q to %.10q", len(got), got[0], got[len(got)-1])
	}
	for _, line := range got {
		if len(line) > 1024 || !utf8.ValidString(line) {
			t.Fatalf("a line has %d bytes", len(line))
		}
	}
	if two := tail.Last(2); len(two) != 2 || two[1] != got[len(got)-1] {
		t.Errorf("the last two are %.20q", two)
	}
	if none := tail.Last(-1); len(none) != 0 {
		t.Errorf("%d lines", len(none))
	}
}

// TestTail_follows: who goes on from a number misses nothing that is kept, and has nothing twice.
func TestTail_follows(t *testing.T) {
	const lines = obs.MaxTail / 2
	tail := obs.NewTail()
	var writing sync.WaitGroup
	writing.Go(func() {
		for i := range lines {
			_, _ = fmt.Fprintf(tail, "%d\n", i)
		}
	})
	seen := 0
	for at := uint64(0); seen < lines; {
		part, next, changed := tail.After(at)
		for _, line := range part {
			if line != fmt.Sprint(seen) {
				t.Fatalf("%q after %d lines", line, seen)
			}
			seen++
		}
		if at = next; seen < lines {
			<-changed
		}
	}
	writing.Wait()
	if part, next, _ := tail.After(1 << 60); len(part) != 0 || next != lines {
		t.Errorf("after the end: %q, %d", part, next)
	}
}
