package etcd

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap/zapcore"
)

// zapCore writes etcd's log, which is zap's, to a slog handler.
type zapCore struct {
	to    slog.Handler
	level func(zapcore.Entry) slog.Level
}

// serverLevel takes etcd's talk down by one: what it calls information is for whoever debugs etcd.
func serverLevel(e zapcore.Entry) slog.Level {
	switch {
	case e.Level <= zapcore.InfoLevel, slices.Contains(harmless, e.Message):
		return slog.LevelDebug
	case e.Level == zapcore.WarnLevel:
		return slog.LevelWarn
	}
	return slog.LevelError
}

// harmless are warnings that say nothing to the people who read our log.
var harmless = []string{
	"failed to apply request",          // a refusal, which the client gets too
	"request stats",                    // comes with "apply request took too long", which says why
	"failed to update storage version", // in the first second of a new store; it tries again
	"Failed to detect schema version",  // as above
	// The socket beside the TLS listeners is meant to be without TLS.
	"scheme is http or unix while key and cert files are present; ignoring key and cert files",
	"scheme is http or unix while --client-cert-auth is enabled; ignoring client cert auth for this URL",
	"simple token is not cryptographically signed",
	"Running http and grpc server on single port. This is not recommended for production.",
}

func onlyDebug(zapcore.Entry) slog.Level { return slog.LevelDebug }

// Enabled implements zapcore.LevelEnabler.
func (c zapCore) Enabled(l zapcore.Level) bool {
	// After a message of this level zap ends the process: it must not get lost.
	return l >= zapcore.DPanicLevel || l > zapcore.DebugLevel && c.to.Enabled(context.Background(), c.level(zapcore.Entry{Level: l}))
}

// With implements zapcore.Core.
func (c zapCore) With(fields []zapcore.Field) zapcore.Core {
	return zapCore{to: c.to.WithAttrs(attrs(fields)), level: c.level}
}

// Check implements zapcore.Core.
func (c zapCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

// Write implements zapcore.Core.
func (c zapCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	level := c.level(e)
	if !c.to.Enabled(context.Background(), level) {
		return nil
	}
	r := slog.NewRecord(e.Time, level, e.Message, 0)
	r.AddAttrs(attrs(fields)...)
	return c.to.Handle(context.Background(), r)
}

// Sync implements zapcore.Core.
func (c zapCore) Sync() error { return nil }

func attrs(fields []zapcore.Field) []slog.Attr {
	out := make([]slog.Attr, 0, len(fields))
	for _, f := range fields {
		m := zapcore.NewMapObjectEncoder()
		f.AddTo(m) // one field may become two: an error and its details
		for _, key := range slices.Sorted(maps.Keys(m.Fields)) {
			out = append(out, attr(key, m.Fields[key]))
		}
	}
	return out
}

// longest is how much of one value is logged: etcd logs whole requests.
const longest = 200

func attr(key string, value any) slog.Attr {
	switch v := value.(type) {
	case time.Duration:
		return slog.String(key, v.String()) // in JSON it would be a bare number
	case string:
		if len(v) > longest {
			return slog.String(key, strings.ToValidUTF8(v[:longest], "")+"…")
		}
	}
	return slog.Any(key, value)
}
