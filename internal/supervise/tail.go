package supervise

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// logFiles lists the files of a run's log, the oldest first; rotated ones carry the time in their name.
func logFiles(run string) ([]string, error) {
	entries, err := os.ReadDir(run)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("list log files: %w", err)
	}
	var out []string
	current := false
	for _, e := range entries { // in order of name
		switch name := e.Name(); {
		case name == logName:
			current = true
		case strings.HasPrefix(name, logStem+"-") && strings.HasSuffix(name, ".log"):
			out = append(out, filepath.Join(run, name))
		}
	}
	if current {
		out = append(out, filepath.Join(run, logName))
	}
	return out, nil
}

// tailStart finds where the last n lines of the files begin: the index of a file and an offset in it.
func tailStart(files []string, n int) (int, int64, error) {
	last := true
	for i, name := range slices.Backward(files) {
		f, err := os.Open(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, 0, err
		}
		end, err := f.Seek(0, io.SeekEnd)
		if err == nil && end > 0 {
			var at int64
			var seen int
			at, seen, err = lastLines(f, end, n, last)
			if n -= seen; n <= 0 && err == nil {
				f.Close()
				return i, at, nil
			}
			last = false
		}
		f.Close()
		if err != nil {
			return 0, 0, err
		}
	}
	return 0, 0, nil
}

// lastLines looks in one file, from its end, for the beginning of the nth line from there. It returns how many line ends
// it has passed. A line end at the very end of the log ends the last line and begins none.
func lastLines(f io.ReaderAt, end int64, n int, last bool) (at int64, seen int, err error) {
	buf := make([]byte, 32<<10)
	for pos := end; pos > 0; {
		size := min(pos, int64(len(buf)))
		pos -= size
		if _, err := f.ReadAt(buf[:size], pos); err != nil {
			return 0, 0, err
		}
		for i := size - 1; i >= 0; i-- {
			if buf[i] != '\n' || last && pos+i == end-1 {
				continue
			}
			if seen++; seen == n {
				return pos + i + 1, seen, nil
			}
		}
	}
	return 0, seen, nil
}

// tailLines returns the last lines of a run's log, at most n. Progress bars, which return to the line's begin, count as
// lines of their own.
func tailLines(run string, n int) []string {
	files, err := logFiles(run)
	if err != nil || len(files) == 0 || n <= 0 {
		return nil
	}
	i, at, err := tailStart(files, n)
	if err != nil {
		return nil
	}
	var b bytes.Buffer
	for ; i < len(files); i, at = i+1, 0 {
		f, err := os.Open(files[i])
		if err != nil {
			continue
		}
		if _, err := f.Seek(at, io.SeekStart); err == nil {
			_, _ = io.Copy(&b, f)
		}
		f.Close()
	}
	var out []string
	for line := range strings.FieldsFuncSeq(b.String(), func(r rune) bool { return r == '\n' || r == '\r' }) {
		out = append(out, line[:min(len(line), longestLine)])
	}
	return out[max(0, len(out)-n):]
}

// portInLog looks for the port in the log as it is on disk.
func portInLog(run string, re *regexp.Regexp) int {
	if re == nil {
		return 0
	}
	files, err := logFiles(run)
	if err != nil {
		return 0
	}
	find := portFinder{re: re}
	buf := make([]byte, 64<<10)
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		for {
			n, err := f.Read(buf)
			if port := find.feed(buf[:n]); port > 0 {
				f.Close()
				return port
			}
			if err != nil {
				break
			}
		}
		f.Close()
	}
	return 0
}
