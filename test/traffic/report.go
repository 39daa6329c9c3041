package traffic

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Report is what became of every request of a load.
type Report struct {
	Began   time.Time
	Took    time.Duration
	Records []Record
}

// Where returns the records for which keep is true.
func (r Report) Where(keep func(Record) bool) []Record {
	var out []Record
	for _, rec := range r.Records {
		if keep(rec) {
			out = append(out, rec)
		}
	}
	return out
}

// Count is how many requests ended in one of the outcomes.
func (r Report) Count(outcomes ...Outcome) int {
	return len(r.Where(func(rec Record) bool { return slices.Contains(outcomes, rec.Outcome) }))
}

// Good is how many requests got their reply.
func (r Report) Good() int { return len(r.Where(func(rec Record) bool { return rec.Outcome.Good() })) }

// PerSecond is how many requests a second got their reply.
func (r Report) PerSecond() float64 { return float64(r.Good()) / r.Took.Seconds() }

// Other returns the records that are neither good nor of one of the outcomes.
func (r Report) Other(allowed ...Outcome) []Record {
	return r.Where(func(rec Record) bool { return !rec.Outcome.Good() && !slices.Contains(allowed, rec.Outcome) })
}

// Latency returns a quantile, 0 to 1, of how long the good requests took; 0 when there are none.
func (r Report) Latency(q float64) time.Duration {
	var all []time.Duration
	for _, rec := range r.Records {
		if rec.Outcome.Good() {
			all = append(all, rec.Took)
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[int(q*float64(len(all)-1))]
}

// String is the report in one line.
func (r Report) String() string {
	count := map[Outcome]int{}
	streams := 0
	for _, rec := range r.Records {
		count[rec.Outcome]++
		if rec.Stream {
			streams++
		}
	}
	var parts []string
	for _, o := range []Outcome{OK, Retried, Refused, ErrorEvent, Unreached, Lost, SilentCut, Wrong, Hang} {
		if count[o] > 0 || o == OK {
			parts = append(parts, fmt.Sprintf("%d %s", count[o], o))
		}
	}
	return fmt.Sprintf("%d requests (%d streams) in %s: %s; latency p50 %s, p99 %s, max %s", len(r.Records), streams,
		r.Took.Round(100*time.Millisecond), strings.Join(parts, ", "), r.Latency(0.5).Round(time.Millisecond),
		r.Latency(0.99).Round(time.Millisecond), r.Latency(1).Round(time.Millisecond))
}

// Show returns the first records, one a line.
func Show(records []Record) string {
	var b strings.Builder
	for i, rec := range records {
		if i == 10 {
			fmt.Fprintf(&b, "... and %d more\n", len(records)-i)
			break
		}
		fmt.Fprintln(&b, rec)
	}
	return b.String()
}
