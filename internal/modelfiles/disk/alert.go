package disk

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
)

// The disk alerts, as [api.DiskAlert] names them.
const (
	AlertWarning  = "disk_warning"
	AlertCritical = "disk_critical"
)

// alertCritical is the percentage that no download may reach.
const alertCritical = 95.0

// thresholds are where an alert begins and ends, in percent; the gap keeps it from flickering.
var thresholds = []struct {
	kind         string
	raise, clear float64
	advice       string
}{
	{AlertWarning, 85, 83, "Delete models that are not needed (`nebula cache prune --dry-run` shows which), or add space."},
	{AlertCritical, alertCritical, 93, "Nothing is downloaded to it: delete models that are not needed (`nebula cache prune --dry-run` shows which), or add space."},
}

// Used is how full the disk of a folder with models is.
type Used struct {
	Dir string
	Space
}

// Raised is an alert about one disk, since when it holds. It is what a node remembers over a restart.
type Raised struct {
	Kind    string `json:"kind"`
	Dir     string `json:"dir"`
	SinceMS int64  `json:"since_ms"`
}

// Candidate is a model that could be deleted.
type Candidate struct {
	Model string
	Bytes int64 // that this would free
}

// Hold decides which alerts hold of several disks, given those that held before: one that goes on keeps its time. A disk that could not be measured
// is not in used and keeps what it had.
func Hold(before []Raised, used []Used, unknown []string, now time.Time) []Raised {
	var out []Raised
	for _, t := range thresholds {
		for _, r := range before {
			if r.Kind == t.kind && slices.Contains(unknown, r.Dir) {
				out = append(out, r)
			}
		}
		for _, u := range used {
			since, held := now.UnixMilli(), false
			for _, r := range before {
				if r.Kind == t.kind && r.Dir == u.Dir {
					since, held = r.SinceMS, true
				}
			}
			if pct := u.Percent(); pct >= t.raise || held && pct >= t.clear {
				out = append(out, Raised{t.kind, u.Dir, since})
			}
		}
	}
	return out
}

// Alerts writes what holds for people. There is one alert of each kind for a node: about the fullest of its disks, since the first of them. An alert
// that says nothing new but a fraction of a percent stays as it was told.
func Alerts(nodeID string, before []api.DiskAlert, holds []Raised, used []Used, could []Candidate) []api.DiskAlert {
	var out []api.DiskAlert
	for _, t := range thresholds {
		var of []Used
		since := int64(math.MaxInt64)
		for _, r := range holds {
			if i := slices.IndexFunc(used, func(u Used) bool { return u.Dir == r.Dir }); r.Kind == t.kind && i >= 0 {
				of, since = append(of, used[i]), min(since, r.SinceMS)
			}
		}
		told := slices.IndexFunc(before, func(a api.DiskAlert) bool { return a.AlertType == t.kind })
		if len(of) == 0 {
			if told >= 0 && slices.ContainsFunc(holds, func(r Raised) bool { return r.Kind == t.kind }) {
				out = append(out, before[told])
			}
			continue
		}
		slices.SortStableFunc(of, func(a, b Used) int { return int(math.Round((b.Percent() - a.Percent()) * 10)) })
		a := api.DiskAlert{
			NodeID: nodeID, AlertType: t.kind, ModelDir: of[0].Dir, UsagePct: of[0].Percent(), AvailableBytes: of[0].Available, CreatedAtMS: since,
			Message: message(of, t.advice, could),
		}
		if told >= 0 && sameNews(before[told], a) {
			a = before[told]
		}
		out = append(out, a)
	}
	return out
}

// sameNews tells whether b is no news after a.
func sameNews(a, b api.DiskAlert) bool {
	return a.ModelDir == b.ModelDir && a.CreatedAtMS == b.CreatedAtMS && math.Abs(a.UsagePct-b.UsagePct) < 1
}

// message says how full disks are, the fullest first, and what to do.
func message(of []Used, advice string, could []Candidate) string {
	var b strings.Builder
	u := of[0]
	if files := percent(u.Files-u.FreeFiles, u.FreeFiles); files > percent(u.Used, u.Available) {
		fmt.Fprintf(&b, "The disk of %s has used %.1f %% of its inodes: there is room for %d more files, whatever space is free.", u.Dir, files, u.FreeFiles)
	} else {
		fmt.Fprintf(&b, "The disk of %s is %.1f %% full; %s are left.", u.Dir, u.Percent(), fail.Size(u.Available))
	}
	for _, o := range of[1:] {
		fmt.Fprintf(&b, " So is that of %s: %.1f %%.", o.Dir, o.Percent())
	}
	b.WriteString(" " + advice)
	if len(could) > 0 {
		names := make([]string, 0, mostCandidates)
		for _, c := range could[:min(len(could), mostCandidates)] {
			names = append(names, fmt.Sprintf("%s (%s)", c.Model, fail.Size(c.Bytes)))
		}
		b.WriteString(" Not in use: " + strings.Join(names, ", ") + ".")
	}
	return b.String()
}

// mostCandidates is how many models an alert names.
const mostCandidates = 5
