package supervise

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/engine"
)

// LogOptions choose a part of a replica's log.
type LogOptions struct {
	Tail     int  // last lines; 0 = all that is kept
	Follow   bool // go on with what is written next, also by the next runs, until the reader is closed or ctx ends
	Previous bool // the run before the newest
}

// followEvery is how often a log at its end is looked at again.
const followEvery = 200 * time.Millisecond

// longestLine is how much of a line is kept together while its end has not come.
const longestLine = 64 << 10

// OpenLog opens the log of a replica's engine under the folder of a driver, with secrets masked. It needs no driver and
// no running engine. The caller closes it. A replica without a log is an *api.Error with the code not_found.
func OpenLog(ctx context.Context, dir, uid string, replica uint32, o LogOptions) (io.ReadCloser, error) {
	folder, err := replicaDir(dir, uid, replica)
	if err != nil {
		return nil, err
	}
	runs, err := runDirs(folder)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("open log: %w", err)
	}
	back := 1
	if o.Previous {
		back, o.Follow = 2, false
	}
	if len(runs) < back {
		which := "has not run on this node"
		if o.Previous {
			which = "has no earlier run on this node"
		}
		return nil, api.Errorf(api.CodeNotFound, "replica %d of %s %s: there is no log of it", replica, uid, which)
	}
	ctx, cancel := context.WithCancel(ctx)
	r, w := io.Pipe()
	l := &logReader{PipeReader: r, cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(l.ended)
		f := follower{run: runs[len(runs)-back], out: &masker{w: w}, follow: o.Follow}
		_ = w.CloseWithError(f.copy(ctx, o.Tail)) // nil is the end of the log
	}()
	return l, nil
}

// logReader ends its goroutine when it is closed.
type logReader struct {
	*io.PipeReader
	cancel context.CancelFunc
	ended  chan struct{}
}

// Close ends the reading and waits for what it started.
func (l *logReader) Close() error {
	l.cancel()
	err := l.PipeReader.Close()
	<-l.ended
	return err
}

// follower copies the log of a run file by file, and then those of the runs after it.
type follower struct {
	run    string
	file   *os.File
	out    *masker
	follow bool
}

func (f *follower) copy(ctx context.Context, tail int) error {
	defer func() {
		if f.file != nil {
			f.file.Close()
		}
	}()
	if err := f.begin(tail); err != nil {
		return err
	}
	for {
		if err := f.drain(ctx); err != nil {
			return err
		}
		moved, err := f.advance(ctx)
		switch {
		case err != nil:
			return err
		case moved:
			continue
		case !f.follow:
			return f.out.flush()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followEvery):
		}
	}
}

// begin opens the first file to read, at the first of the last lines. A run that has written nothing yet has none.
func (f *follower) begin(tail int) error {
	files, err := logFiles(f.run)
	if err != nil || len(files) == 0 {
		return err
	}
	i, at := 0, int64(0)
	if tail > 0 {
		if i, at, err = tailStart(files, tail); err != nil {
			return err
		}
	}
	if f.file, err = os.Open(files[i]); err != nil {
		return err
	}
	_, err = f.file.Seek(at, io.SeekStart)
	return err
}

// drain copies up to the end of the open file.
func (f *follower) drain(ctx context.Context) error {
	if f.file == nil {
		return nil
	}
	buf := make([]byte, 32<<10)
	for ctx.Err() == nil {
		n, err := f.file.Read(buf)
		if _, err := f.out.Write(buf[:n]); err != nil {
			return err
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
	}
	return nil
}

// advance opens the file after the one at its end: the next of this run, else, when following, the first of the next.
func (f *follower) advance(ctx context.Context) (bool, error) {
	files, err := logFiles(f.run)
	if err != nil {
		return false, err
	}
	next := ""
	switch i := f.index(files); {
	case f.file == nil && len(files) > 0:
		next = files[0]
	case i >= 0 && i+1 < len(files):
		next = files[i+1]
	case i < 0 && len(files) > 0: // it was rotated out while we were away
		next = files[0]
	case f.follow:
		if run := f.nextRun(); run != "" {
			f.run, next = run, "" // its first file may still be to come
			if err := f.drain(ctx); err != nil {
				return false, err
			}
			if f.file != nil {
				f.file.Close()
				f.file = nil
			}
			return true, f.out.flush()
		}
	}
	if next == "" {
		return false, nil
	}
	if err := f.drain(ctx); err != nil { // what was written between the end and the rotation
		return false, err
	}
	file, err := os.Open(next)
	if err != nil {
		return false, nil // rotated again: look anew
	}
	if f.file != nil {
		f.file.Close()
	}
	f.file = file
	return true, nil
}

// index finds the open file among files, whatever it is called by now; -1 when it is not there any more.
func (f *follower) index(files []string) int {
	if f.file == nil {
		return -1
	}
	mine, err := f.file.Stat()
	if err != nil {
		return -1
	}
	return slices.IndexFunc(files, func(name string) bool {
		fi, err := os.Stat(name)
		return err == nil && os.SameFile(fi, mine)
	})
}

func (f *follower) nextRun() string {
	runs, err := runDirs(filepath.Dir(f.run))
	if err != nil {
		return ""
	}
	i := slices.IndexFunc(runs, func(r string) bool { return number(r) > number(f.run) })
	if i < 0 {
		return ""
	}
	return runs[i]
}

// masker passes whole lines on with their secrets masked.
type masker struct {
	w    io.Writer
	line []byte
}

// Write takes any piece of the log.
func (m *masker) Write(b []byte) (int, error) {
	m.line = append(m.line, b...)
	end := bytes.LastIndexByte(m.line, '\n') + 1
	if end == 0 && len(m.line) > longestLine {
		end = len(m.line)
	}
	if end == 0 {
		return len(b), nil
	}
	_, err := m.w.Write([]byte(engine.Mask(string(m.line[:end]))))
	m.line = append(m.line[:0], m.line[end:]...)
	return len(b), err
}

// flush passes on a last line without an end.
func (m *masker) flush() error {
	if len(m.line) == 0 {
		return nil
	}
	_, err := m.w.Write([]byte(engine.Mask(string(m.line))))
	m.line = nil
	return err
}
