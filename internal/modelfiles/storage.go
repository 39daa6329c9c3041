package modelfiles

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/cache"
	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
)

// Storage is one picture of the models on this node: the disk, what is on it, and what is wrong with it.
type Storage struct {
	Disk   *api.NodeDiskStatus // nil = nobody has looked yet
	Models []api.ModelCacheEntry
	Alerts []api.DiskAlert
}

// storage is the newest picture and what it is made with. Who looks owns what is not under mu.
type storage struct {
	looking sync.Mutex // one look at a time; held while the disk is read, so it may be held for long
	scanner *cache.Scanner
	log     *slog.Logger
	root    cache.Root
	file    string // of the memory

	recalled     bool
	memory       memory
	candidates   []disk.Candidate
	candidatesAt time.Time

	mu        sync.Mutex // never held while anything waits
	newest    Storage
	changed   chan struct{} // closes when there is a newer picture
	poked     chan struct{} // holds a token when something was published that a scan should see
	unwatched sync.Once     // the log said that some folders are not watched
}

func newStorage(cfg Config) *storage {
	root := cache.Root(filepath.Clean(cfg.CacheDir))
	state := root.State("scan")
	return &storage{
		root: root,
		file: filepath.Join(state, "disks.json"), log: cfg.Log,
		scanner: cache.NewScanner(cache.ScanConfig{
			NodeID: cfg.NodeID, Memory: filepath.Join(state, "found.json"), Sound: sound, Log: cfg.Log,
		}),
		changed: make(chan struct{}), poked: make(chan struct{}, 1),
	}
}

// Storage returns the newest picture and a channel that closes when there is a newer one. It never waits; [Store.Run] makes the pictures.
func (s *Store) Storage() (Storage, <-chan struct{}) {
	s.storage.mu.Lock()
	defer s.storage.mu.Unlock()
	return s.storage.newest, s.storage.changed
}

// Look makes a picture now. Changed names folders of which somebody said that they changed.
func (s *Store) Look(ctx context.Context, changed map[string]bool) (Storage, error) {
	s.storage.looking.Lock()
	defer s.storage.looking.Unlock()
	s.mu.Lock()
	roots := slices.Sorted(maps.Keys(s.roots))
	s.mu.Unlock()
	now := time.Now()
	roots = s.storage.known(roots)
	models, err := s.storage.scanner.Scan(ctx, roots, now, changed)
	if err != nil {
		return Storage{}, err
	}
	d, err := disk.Status(s.cfg.NodeID, s.cfg.CacheDir, now)
	if err != nil {
		return Storage{}, err
	}
	d.ModelCount, d.ModelCacheBytes = uint32(len(models.Entries)), models.Bytes
	alerts := s.alerts(ctx, roots, now)
	s.storage.mu.Lock()
	defer s.storage.mu.Unlock()
	s.storage.newest = Storage{Disk: &d, Models: models.Entries, Alerts: alerts}
	close(s.storage.changed)
	s.storage.changed = make(chan struct{})
	return s.storage.newest, nil
}

// alerts decides about the disks under roots. What holds is written down, so that a restart does not make it new.
func (s *Store) alerts(ctx context.Context, roots []cache.Root, now time.Time) []api.DiskAlert {
	m := s.storage
	var used []disk.Used
	var unknown []string
	seen := map[uint64]bool{}
	for _, r := range append([]cache.Root{m.root}, roots...) {
		at, err := disk.Measure(string(r))
		switch {
		case err != nil:
			unknown = append(unknown, string(r))
		case !seen[at.Device]:
			seen[at.Device] = true
			used = append(used, disk.Used{Dir: string(r), Space: at})
		}
	}
	holds := disk.Hold(m.memory.Alerts, used, unknown, now)
	if !slices.Equal(holds, m.memory.Alerts) {
		m.memory.Alerts = holds
		m.remember()
		m.candidatesAt = time.Time{}
	}
	if len(holds) == 0 {
		m.candidates = nil
	} else if s.cfg.candidates != nil && now.Sub(m.candidatesAt) >= candidatesEvery {
		m.candidates, m.candidatesAt = s.cfg.candidates(ctx), now
	}
	m.mu.Lock()
	before := m.newest.Alerts
	m.mu.Unlock()
	return disk.Alerts(s.cfg.NodeID, before, holds, used, m.candidates)
}

// candidatesEvery is how often an alert asks anew what could be deleted.
const candidatesEvery = 10 * time.Minute

// memory is what a node knows of its disks after a restart.
type memory struct {
	Alerts []disk.Raised `json:"alerts"`
	Roots  []cache.Root  `json:"roots"` // beside the node's own, that models were fetched to
}

// known adds the roots of earlier runs that are still there. The caller is looking.
func (m *storage) known(roots []cache.Root) []cache.Root {
	if !m.recalled {
		m.recalled = true
		// What cannot be read is found out again.
		_ = disk.ReadJSON(m.file, &m.memory)
	}
	usual := []cache.Root{m.root, cache.Root(scopeDir(string(m.root)))}
	for _, r := range m.memory.Roots {
		if fi, err := os.Stat(r.Hub()); err == nil && fi.IsDir() && checkRoot(string(r)) == nil {
			roots = append(roots, r)
		}
	}
	slices.Sort(roots)
	roots = slices.Compact(roots)
	others := slices.DeleteFunc(slices.Clone(roots), func(r cache.Root) bool { return slices.Contains(usual, r) })
	if !slices.Equal(others, m.memory.Roots) {
		m.memory.Roots = others
		m.remember()
	}
	return roots
}

// remember writes the memory down. A disk that is too full for it costs the time since when an alert holds, after a restart.
func (m *storage) remember() {
	err := os.MkdirAll(filepath.Dir(m.file), 0o755)
	if err == nil {
		err = disk.WriteJSON(m.file, m.memory, false)
	}
	if err != nil {
		m.log.Warn("cannot write down what is known of the disks", "error", err)
	}
}

// Scan lists the models on this node; see [cache.Scanner.Scan].
func (s *Store) Scan(ctx context.Context) ([]api.ModelCacheEntry, error) {
	p, err := s.Look(ctx, nil)
	return p.Models, err
}

// poke says that a model was published.
func (s *storage) poke() {
	select {
	case s.poked <- struct{}{}:
	default:
	}
}

// When the disk is looked at.
const (
	scanEvery = time.Minute
	quiet     = 300 * time.Millisecond // after a change, for more of them to come
	minGap    = time.Second            // between two looks; at least gapFactor times what one takes
	gapFactor = 20
	// overdue is how long a look may take before the log says so.
	overdue = time.Minute
)

// pace says when the next look is due after a change: soon, but never so often that looking is most of what the machine does.
func pace(now, ended time.Time, took time.Duration) time.Time {
	next := now.Add(quiet)
	if after := ended.Add(min(max(minGap, gapFactor*took), scanEvery)); after.After(next) {
		return after
	}
	return next
}

// watch makes a picture every minute and soon after each change until ctx ends. A file system that hangs holds up the look and nothing else:
// the last picture stays.
func (s *Store) watch(ctx context.Context) {
	log := s.cfg.Log
	w, changes := s.watcher(ctx)
	if w != nil {
		defer func() {
			_ = w.Close() // it was only read
			for range changes {
			}
		}()
	}
	looked := make(chan time.Duration, 1)
	pending := map[string]bool{}
	var ended time.Time
	var took time.Duration
	running, complained := false, false
	due := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	sooner := func() {
		if at := pace(time.Now(), ended, took); !running && at.Before(due) {
			due = at
			timer.Reset(time.Until(due))
		}
	}
	for {
		select {
		case <-ctx.Done():
			if running {
				select {
				case <-looked:
				case <-time.After(patience): // a hung look is left behind
				}
			}
			return
		case folders := <-changes:
			for _, f := range folders {
				pending[f] = true
			}
			sooner()
		case <-s.storage.poked:
			pending[""] = true // something
			sooner()
		case <-timer.C:
			due = time.Now().Add(scanEvery)
			timer.Reset(scanEvery)
			if running {
				if !complained {
					log.Warn("looking at the model folders takes long: their file system may hang. What was known of them stays.", "dir", s.cfg.CacheDir, "limit", overdue)
				}
				complained = true
				continue
			}
			running = true
			changed := pending
			pending = map[string]bool{}
			go func() {
				began := time.Now()
				s.lookOnce(ctx, changed, w, log)
				looked <- time.Since(began)
			}()
		case took = <-looked:
			running, complained, ended = false, false, time.Now()
			if len(pending) > 0 {
				sooner()
			}
		}
	}
}

// patience is how long the end waits for a look.
const patience = 2 * time.Second

// watcher starts to tell of changes; nil when the kernel has none.
func (s *Store) watcher(ctx context.Context) (*cache.Watcher, chan []string) {
	w, err := cache.NewWatcher()
	if err != nil {
		s.cfg.Log.Warn("cannot watch the model folders: changes in them are seen at the next scan", "every", scanEvery, "error", err)
		return nil, nil
	}
	changes := make(chan []string)
	go func() {
		defer close(changes)
		for {
			folders, err := w.Next()
			if err != nil {
				return
			}
			select {
			case changes <- folders:
			case <-ctx.Done():
				return
			}
		}
	}()
	return w, changes
}

// lookOnce makes a picture and watches the folders that it is of.
func (s *Store) lookOnce(ctx context.Context, changed map[string]bool, w *cache.Watcher, log *slog.Logger) {
	if _, err := s.Look(ctx, changed); err != nil {
		if ctx.Err() == nil {
			log.Warn("cannot look at the model folders", "error", err)
		}
		return
	}
	if w == nil || ctx.Err() != nil {
		return
	}
	s.storage.looking.Lock()
	folders := s.storage.scanner.Folders()
	s.storage.looking.Unlock()
	if all := w.Watch(folders); !all && ctx.Err() == nil {
		s.storage.unwatched.Do(func() {
			log.Warn("not all model folders can be watched: changes in the others are seen at the next scan. See fs.inotify.max_user_watches.", "folders", len(folders), "every", scanEvery)
		})
	}
}
