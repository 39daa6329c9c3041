package etcd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"
)

// parseRecord reads one line that slog's JSON handler wrote.
func parseRecord(line []byte) (slog.Record, error) {
	var fields map[string]any
	if err := json.Unmarshal(line, &fields); err != nil {
		return slog.Record{}, fmt.Errorf("log line: %w", err)
	}
	text, ok := fields[slog.MessageKey].(string)
	if !ok {
		return slog.Record{}, errors.New("log line without a message")
	}
	var level slog.Level
	if name, ok := fields[slog.LevelKey].(string); !ok || level.UnmarshalText([]byte(name)) != nil {
		level = slog.LevelInfo
	}
	at := time.Time{}
	if stamp, ok := fields[slog.TimeKey].(string); ok {
		at, _ = time.Parse(time.RFC3339Nano, stamp)
	}
	rec := slog.NewRecord(at, level, text, 0)
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		if key != slog.MessageKey && key != slog.LevelKey && key != slog.TimeKey {
			rec.AddAttrs(slog.Any(key, fields[key]))
		}
	}
	return rec, nil
}

// plainRecord wraps a line that no logger wrote.
func plainRecord(line []byte, now time.Time) slog.Record {
	rec := slog.NewRecord(now, slog.LevelWarn, "store process printed", 0)
	rec.AddAttrs(slog.String("line", string(line)))
	return rec
}

// isCrash tells the line with which the Go runtime begins to report the end of a process.
func isCrash(line []byte) bool {
	return bytes.HasPrefix(line, []byte("panic: ")) || bytes.HasPrefix(line, []byte("fatal error: "))
}

// oneLine is a record's message, with its error if it has one.
func oneLine(rec slog.Record) string {
	text := rec.Message
	rec.Attrs(func(a slog.Attr) bool {
		if a.Key == "error" {
			text += ": " + a.Value.String()
		}
		return true
	})
	return text
}

// emit passes a record of a child on to our own log.
func emit(to slog.Handler, rec slog.Record, pid int) {
	ctx := context.Background()
	if !to.Enabled(ctx, rec.Level) {
		return
	}
	rec = rec.Clone()
	rec.AddAttrs(slog.Int("pid", pid))
	_ = to.Handle(ctx, rec) // a log that cannot be written has nobody to tell
}
