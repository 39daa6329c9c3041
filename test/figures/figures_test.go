package figures

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestFigure_line(t *testing.T) {
	for _, c := range []struct {
		Figure
		want string
	}{
		{Figure{Name: "a", Value: 1.2345, Unit: "s"}, "bench: a = 1.23 s"},
		{Figure{"a", 149.96, "MiB", "<", 150}, "bench: a = 150 MiB (target < 150) ok"},
		{Figure{"a", 150, "MiB", "<", 150}, "bench: a = 150 MiB (target < 150) short"},
		{Figure{"a", 4, "x nginx", "<=", 4}, "bench: a = 4.00 x nginx (target <= 4.00) ok"},
		{Figure{"a", 12345.6, "1/s", "<=", 4}, "bench: a = 12346 1/s (target <= 4.00) short"},
		{Figure{"a", 0, "entries", "<=", 0}, "bench: a = 0 entries (target <= 0) ok"},
		{Figure{"a", 12, "x curl", ">=", 12}, "bench: a = 12.0 x curl (target >= 12.0) ok"},
		{Figure{"a", 11.9, "x curl", ">=", 12}, "bench: a = 11.9 x curl (target >= 12.0) short"},
		{Figure{"a", math.NaN(), "x curl", ">=", 12}, "bench: a = NaN x curl (target >= 12.0) short"},
		{Figure{"a", math.NaN(), "s", "<=", 1}, "bench: a = NaN s (target <= 1.00) short"},
		{Figure{Name: "a", Value: 0.000123, Unit: "s"}, "bench: a = 0.000123 s"},
		{Figure{Name: "a", Value: -15.21, Unit: "ms"}, "bench: a = -15.2 ms"},
		{Figure{Name: "a", Unit: "ms"}, "bench: a = 0 ms"},
	} {
		if got := c.String(); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

func TestQuantile(t *testing.T) {
	v := []float64{5, 1, 4, 2, 3}
	if m, q, even := Median(v), Quantile(v, 0.99), Median(v[:4]); m != 3 || q != 5 || even != 3 {
		t.Errorf("median %v, p99 %v, median of four %v; want 3, 5 and 3", m, q, even)
	}
	if !math.IsNaN(Median(nil)) {
		t.Error("there is a median of nothing")
	}
}

func TestReport_onlyFiguresLookLikeFigures(t *testing.T) {
	var b strings.Builder
	r := Report{W: &b}
	r.Machine("full run")
	r.Note("%d of %d", 1, 2)
	r.Add(Figure{Name: "a", Unit: "s"})
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "# ") || lines[1] != "# 1 of 2" || lines[2] != "bench: a = 0 s" {
		t.Errorf("printed %q", lines)
	}
}

func TestGap_endsCount(t *testing.T) {
	at := func(seconds ...int) (out []time.Time) {
		for _, s := range seconds {
			out = append(out, time.Unix(int64(s), 0))
		}
		return out
	}
	for _, c := range []struct {
		times []time.Time
		want  time.Duration
	}{
		{nil, 10 * time.Second},
		{at(5), 5 * time.Second},
		{at(3, 1), 7 * time.Second},
		{at(19, 7, 1, -3), 6 * time.Second},
	} {
		if got := Gap(c.times, time.Unix(0, 0), time.Unix(10, 0)); got != c.want {
			t.Errorf("gap of %v is %s, want %s", c.times, got, c.want)
		}
	}
}
