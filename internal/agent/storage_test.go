package agent

import (
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
)

// TestStorage_reports: what changes on the disk is reported at once, what does not change is not, and a disk that nobody has looked at yet holds no
// report up.
func TestStorage_reports(t *testing.T) {
	w := newWorld()
	show := func(s Storage) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.storage = s
		close(w.stored)
		w.stored = make(chan struct{})
	}
	count := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.reports)
	}
	within(t, w, func(c *Config) { c.Heartbeat = time.Hour }, func() {
		after(time.Second)
		if o, _ := w.last(); o.Node.NodeID != "n1" || o.Disk != nil {
			t.Fatalf("the first report: %+v", o)
		}
		show(Storage{Disk: &api.NodeDiskStatus{NodeID: "n1", UsedBytes: 1}, Models: []api.ModelCacheEntry{{ModelName: "a"}}})
		after(200 * time.Millisecond)
		if o, _ := w.last(); len(o.Cache) != 1 || o.Disk.UsedBytes != 1 {
			t.Errorf("a new model is not reported within 200 ms: %+v", o)
		}
		n := count()
		show(Storage{Disk: &api.NodeDiskStatus{NodeID: "n1", UsedBytes: 2, UpdatedAtMS: 5}, Models: []api.ModelCacheEntry{{ModelName: "a"}}})
		after(200 * time.Millisecond)
		if got := count(); got != n {
			t.Errorf("%d reports of one more byte", got-n)
		}
	})
}
