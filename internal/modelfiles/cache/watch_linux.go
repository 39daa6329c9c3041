package cache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// maxWatches is the most folders that are watched: a user's programs share the watches that the kernel gives.
const maxWatches = 16_384

// watched are the changes worth a look. Of names that come and go a folder's own time tells too; of a file that was rewritten in place only its being
// closed does.
const watched = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_CLOSE_WRITE |
	unix.IN_ONLYDIR | unix.IN_DONT_FOLLOW | unix.IN_EXCL_UNLINK

// Watcher tells of changes in folders as they happen. It misses some (on network file systems, past its bounds, when too many come at once): it
// shortens the wait for the next scan and replaces none.
type Watcher struct {
	file *os.File
	most int

	mu    sync.Mutex
	paths map[int32]string // by watch
	ids   map[string]int32
}

// NewWatcher returns a Watcher of nothing yet; an error means that the kernel gives no more of them.
func NewWatcher() (*Watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	return &Watcher{file: os.NewFile(uintptr(fd), "inotify"), most: maxWatches, paths: map[int32]string{}, ids: map[string]int32{}}, nil
}

// Close ends Next.
func (w *Watcher) Close() error { return w.file.Close() }

// Watch watches these folders and no others. All tells whether it could watch every one.
func (w *Watcher) Watch(folders []string) (all bool) {
	all = len(folders) <= w.most
	folders = folders[:min(len(folders), w.most)]
	want := make(map[string]bool, len(folders))
	for _, f := range folders {
		want[f] = true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for path, id := range w.ids {
		if !want[path] {
			// It fails when the folder is gone, which ended the watch.
			_, _ = unix.InotifyRmWatch(w.fd(), uint32(id))
			w.drop(id)
		}
	}
	for _, path := range folders {
		if _, ok := w.ids[path]; ok {
			continue
		}
		id, err := unix.InotifyAddWatch(w.fd(), path, watched)
		switch {
		case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.ENOMEM):
			return false
		case err == nil:
			w.drop(int32(id)) // the same folder under another name
			w.paths[int32(id)], w.ids[path] = path, int32(id)
		case !errors.Is(err, fs.ErrNotExist):
			all = false
		}
	}
	return all
}

// fd is the kernel's number of the watcher; asking os.File for it would make reads uninterruptible.
func (w *Watcher) fd() int {
	fd := -1
	if c, err := w.file.SyscallConn(); err == nil {
		// After Close there is none, and each use of it fails.
		_ = c.Control(func(n uintptr) { fd = int(n) })
	}
	return fd
}

func (w *Watcher) drop(id int32) {
	if path, ok := w.paths[id]; ok {
		delete(w.ids, path)
		delete(w.paths, id)
	}
}

// Next waits for changes and returns the folders in which they were; none when so many came that the kernel dropped some. It fails after Close.
func (w *Watcher) Next() ([]string, error) {
	buf := make([]byte, 64<<10)
	for {
		n, err := w.file.Read(buf)
		if err != nil {
			return nil, err
		}
		if changed, lost := w.changes(buf[:n]); lost || len(changed) > 0 {
			return changed, nil
		}
	}
}

// changes reads the kernel's events.
func (w *Watcher) changes(events []byte) (folders []string, lost bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	seen := map[string]bool{}
	for len(events) >= unix.SizeofInotifyEvent {
		id := int32(binary.NativeEndian.Uint32(events))
		mask := binary.NativeEndian.Uint32(events[4:])
		end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(events[12:]))
		if end > len(events) {
			break
		}
		name := string(bytes.TrimRight(events[unix.SizeofInotifyEvent:end], "\x00"))
		events = events[end:]
		path := w.paths[id]
		switch {
		case mask&unix.IN_Q_OVERFLOW != 0:
			lost = true
		case mask&unix.IN_IGNORED != 0:
			w.drop(id)
		case path == "" || seen[path] || passing(name):
		default:
			seen[path] = true
			folders = append(folders, path)
		}
	}
	return folders, lost
}

// passing tells whether a name is of a file that a running download writes again and again: the scan at the minute is soon enough for those.
func passing(name string) bool {
	return strings.Contains(name, ".nebula.") || strings.HasSuffix(name, ".tmp") || strings.HasSuffix(name, ".lock")
}
