package etcd

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
)

func TestZapCore(t *testing.T) {
	var out bytes.Buffer
	handler := slog.NewTextHandler(&out, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})
	log := zap.New(zapCore{to: handler, level: serverLevel}).With(zap.String("member", "x"))
	log.Debug("never")
	log.Info("started", zap.Duration("took", 2*time.Second), zap.Int("n", 3))
	log.Warn("request stats", zap.String("request", strings.Repeat("k", 1000)))
	log.Warn("apply request took too long")
	log.Error("no space", zap.Error(errors.New("disk full")))
	want := `level=DEBUG msg=started member=x took=2s n=3
level=DEBUG msg="request stats" member=x request=` + strings.Repeat("k", 200) + `…
level=WARN msg="apply request took too long" member=x
level=ERROR msg="no space" member=x error="disk full"
`
	if got := out.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestParseRecord(t *testing.T) {
	var line bytes.Buffer
	slog.New(slog.NewJSONHandler(&line, nil)).With("a", 1).Error("it broke", "error", errors.New("badly"))
	rec, err := parseRecord(line.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if rec.Level != slog.LevelError || rec.Message != "it broke" || rec.NumAttrs() != 2 || time.Since(rec.Time) > time.Minute {
		t.Errorf("got %+v", rec)
	}
	if got := oneLine(rec); got != "it broke: badly" {
		t.Errorf("got %q", got)
	}
	for _, bad := range []string{"", "panic: x", "{}", `{"msg":1}`, "[1]"} {
		if rec, err := parseRecord([]byte(bad)); err == nil {
			t.Errorf("%q parsed as %+v", bad, rec)
		}
	}
}

func TestEachLine_survivesLongLines(t *testing.T) {
	var got []string
	eachLine(strings.NewReader("one\n\ntwo\n"+strings.Repeat("x", 2<<20)+"\nthree"), func(line []byte) { got = append(got, string(line)) })
	if strings.Join(got, " ") != "one two" {
		t.Errorf("got %d lines", len(got))
	}
}
