package disk

import (
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
)

func TestPercent(t *testing.T) {
	for _, c := range []struct {
		used, avail uint64
		want        float64
	}{{0, 0, 0}, {0, 9, 0}, {1, 0, 100}, {1, 1, 50}, {424, 576, 42.4}, {1, 999_999, 0.1}, {999_999, 1, 100}} {
		if got := percent(c.used, c.avail); got != c.want {
			t.Errorf("%d used, %d available: %g %%, want %g", c.used, c.avail, got, c.want)
		}
	}
}

// gauge is a disk of 100 GB of which so many percent are used.
func gauge(dir string, pct float64) Used {
	used := uint64(pct * 1e9)
	return Used{Dir: dir, Space: Space{Total: 110e9, Used: used, Available: 100e9 - used}}
}

// TestAlerts: raised once at 85 and 95, kept until 83 and 93, gone after; over a restart too, which knows no more than what was raised.
func TestAlerts(t *testing.T) {
	var raised []Raised
	for i, c := range []struct {
		pct  float64
		want string
	}{
		{80, ""},
		{84.9, ""},
		{85, "disk_warning@2"},
		{84, "disk_warning@2"},
		{83, "disk_warning@2"},
		{82.9, ""},
		{85.1, "disk_warning@6"},
		{96, "disk_warning@6 disk_critical@7"},
		{94, "disk_warning@6 disk_critical@7"},
		{92, "disk_warning@6"},
		{10, ""},
	} {
		used := []Used{gauge("/m", c.pct)}
		raised = Hold(raised, used, nil, time.UnixMilli(int64(i)))
		var got []string
		for _, a := range Alerts("n", nil, raised, used, []Candidate{{"a/b", 5e9}}) {
			got = append(got, a.AlertType+"@"+string(rune('0'+a.CreatedAtMS)))
			left := fail.Size(used[0].Available)
			if a.NodeID != "n" || a.UsagePct != c.pct || !strings.Contains(a.Message, left+" are left") || !strings.Contains(a.Message, "a/b (5.0 GB)") {
				t.Errorf("%+v", a)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("step %d, %g %%: %v, want %q", i, c.pct, got, c.want)
		}
	}
}

// TestAlerts_disks: of several disks one alert of each kind tells, about the fullest and since the first.
func TestAlerts_disks(t *testing.T) {
	first := []Used{gauge("/a", 86), gauge("/b", 50)}
	raised := Hold(nil, first, nil, time.UnixMilli(1))
	told := Alerts("n", nil, raised, first, nil)
	both := []Used{gauge("/a", 86.4), gauge("/b", 90)}
	raised = Hold(raised, both, nil, time.UnixMilli(2))
	now := Alerts("n", told, raised, both, nil)
	if len(now) != 1 || now[0].ModelDir != "/b" || now[0].CreatedAtMS != 1 || !strings.Contains(now[0].Message, "/a: 86.4 %") {
		t.Errorf("%+v", now)
	}
	same := []Used{gauge("/a", 86.4), gauge("/b", 90.5)}
	if again := Alerts("n", now, Hold(raised, same, nil, time.UnixMilli(3)), same, nil); again[0] != now[0] {
		t.Errorf("half a percent is no news: %+v", again)
	}
	// /b cannot be measured: its alert stays, and so does what was told of it.
	less := []Used{gauge("/a", 60)}
	raised = Hold(raised, less, []string{"/b"}, time.UnixMilli(4))
	if unknown := Alerts("n", now, raised, less, nil); len(unknown) != 1 || unknown[0] != now[0] {
		t.Errorf("%+v", unknown)
	}
}

// TestAlerts_inodes: a disk without inodes is full, whatever space is free.
func TestAlerts_inodes(t *testing.T) {
	u := gauge("/m", 10)
	u.Files, u.FreeFiles = 1000, 40
	got := Alerts("n", nil, Hold(nil, []Used{u}, nil, time.UnixMilli(1)), []Used{u}, nil)
	if len(got) != 2 || got[1].UsagePct != 96 || !strings.Contains(got[1].Message, "96.0 % of its inodes: there is room for 40 more files") {
		t.Errorf("%+v", got)
	}
}

// TestLedger: the smaller of what is kept free and what is left below 95 % is promised, once.
func TestLedger(t *testing.T) {
	for _, c := range []struct {
		name     string
		space    Space
		keep     uint64
		promised int64
		need     int64
		want     string // of the refusal
	}{
		{"fits below the line", Space{Total: 100e9, Used: 50e9, Available: 50e9}, 1, 0, 44e9, ""},
		{"crosses the line", Space{Total: 100e9, Used: 50e9, Available: 50e9}, 1, 0, 46e9, "1.1 GB are missing"},
		{"the line counts as df does", Space{Total: 1000e9, Used: 50e9, Available: 50e9}, 1, 0, 46e9, "1.1 GB are missing"},
		{"critical already", Space{Total: 100e9, Used: 95e9, Available: 5e9}, 1, 0, 1e6, "101.0 MB are missing"},
		{"promised to others", Space{Total: 100e9, Used: 50e9, Available: 50e9}, 1, 30e9, 20e9, "5.1 GB are missing"},
		{"kept free", Space{Total: 100e9, Used: 50e9, Available: 50e9}, 40e9, 0, 11e9, "40.0 GB kept free: 1.0 GB are missing"},
		{"kept free by default: 5 GiB of a small disk", Space{Total: 60e9, Used: 0, Available: 60e9}, 0, 0, 55e9, "5.4 GB kept free"},
		{"kept free by default: a tenth of a tiny one", Space{Total: 1e9, Used: 0, Available: 1e9}, 0, 0, 950e6, "100.0 MB kept free"},
		{"nothing to fetch", Space{Total: 100e9, Used: 99e9, Available: 1e9}, 0, 0, 0, ""},
		{"no inodes", Space{Total: 100e9, Used: 1e9, Available: 99e9, Files: 100, FreeFiles: 3}, 1, 0, 1e6, "5 more files on the disk of /m, which has room for 3 (inodes): 2 are missing"},
	} {
		l := NewLedger(c.keep)
		l.taken[&Reservation{ledger: l, left: Need{Bytes: c.promised}}] = true
		l.taken[&Reservation{ledger: l, device: 7, left: Need{Bytes: 90e9, Files: 90}}] = true // on another disk
		err := l.fits(&Reservation{ledger: l, dir: "/m", left: Need{Bytes: c.need, Files: 5}}, c.space)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if err != nil && !fail.Has(err, fail.DiskSpace) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
