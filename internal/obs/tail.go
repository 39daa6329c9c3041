package obs

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
)

// Bounds of a Tail: two megabytes, whatever is logged.
const (
	MaxTail     = 2000 // lines
	maxTailLine = 1024 // bytes, without the newline
)

// Tail keeps the last lines of a process's log in memory, as text, for who asks the process itself. What is masked in the log is masked here: values
// mask themselves.
type Tail struct {
	mu      sync.Mutex
	lines   []string // a ring, once it is full
	next    uint64   // number of the line that comes next: lines are counted from 0 on
	changed chan struct{}
}

// NewTail returns one that is empty.
func NewTail() *Tail { return &Tail{changed: make(chan struct{})} }

// Handler returns a handler that logs to h, and keeps what h has logged.
func (t *Tail) Handler(h slog.Handler) slog.Handler {
	return tee{h, slog.NewTextHandler(t, &slog.HandlerOptions{Level: slog.Level(-1 << 10)})} // h says what is logged
}

// Write takes one line, as slog's handlers write them.
func (t *Tail) Write(p []byte) (int, error) {
	line := p
	if n := len(line); n > 0 && line[n-1] == '\n' {
		line = line[:n-1]
	}
	kept := strings.ToValidUTF8(string(line[:min(len(line), maxTailLine)]), "")
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lines) < MaxTail {
		t.lines = append(t.lines, kept)
	} else {
		t.lines[t.next%MaxTail] = kept
	}
	t.next++
	close(t.changed)
	t.changed = make(chan struct{})
	return len(p), nil
}

// Last returns the last n lines, the oldest first, or as many as there are.
func (t *Tail) Last(n int) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.from(t.next - uint64(min(max(n, 0), len(t.lines))))
}

// End is the number of the line that comes next.
func (t *Tail) End() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.next
}

// After returns the lines that are kept of those from number start on, the number that goes on behind them, and a channel that closes when there is one
// more.
func (t *Tail) After(start uint64) (lines []string, next uint64, changed <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.from(min(max(start, t.next-uint64(len(t.lines))), t.next)), t.next, t.changed
}

// from returns the lines from a number on that is kept, or is the next one.
func (t *Tail) from(start uint64) []string {
	out := make([]string, 0, t.next-start)
	for n := start; n < t.next; n++ {
		out = append(out, t.lines[n%MaxTail])
	}
	return out
}

// tee logs to two handlers; the first one says what is logged.
type tee struct{ first, second slog.Handler }

func (h tee) Enabled(ctx context.Context, l slog.Level) bool { return h.first.Enabled(ctx, l) }

func (h tee) Handle(ctx context.Context, r slog.Record) error {
	_ = h.second.Handle(ctx, r.Clone()) // into memory: it does not fail
	return h.first.Handle(ctx, r)
}

func (h tee) WithAttrs(attrs []slog.Attr) slog.Handler {
	return tee{h.first.WithAttrs(attrs), h.second.WithAttrs(slices.Clone(attrs))}
}

func (h tee) WithGroup(name string) slog.Handler {
	return tee{h.first.WithGroup(name), h.second.WithGroup(name)}
}
