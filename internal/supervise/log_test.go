package supervise

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nebula-serve/nebula/api"
)

func readLog(t *testing.T, dir string, o LogOptions) string {
	t.Helper()
	r, err := OpenLog(t.Context(), dir, "model", 0, o)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// More output than the files hold: the newest part is kept, whole and in order, and read back over the files' borders.
func TestLog_rotates(t *testing.T) {
	dir := t.TempDir()
	p := start(t, newDriver(t, dir), 0, launch("-chat", "60000", "-code", "0")) // 4.6 MB into 3 files of 1 MiB
	waitDone(t, p)
	names, err := logFiles(p.dir)
	if err != nil || len(names) != 3 {
		t.Fatalf("files %v %v", names, err)
	}
	all := readLog(t, dir, LogOptions{})
	lines := strings.Split(strings.TrimSuffix(all, "\n"), "\n")
	first := 60000 - len(lines) + 1
	for i, line := range lines[1:] { // the first one may have lost its begin
		if want := fmt.Sprintf("line %07d of the log", first+i); !strings.HasPrefix(line, want) {
			t.Fatalf("line %d is %q, want %q", i, line, want)
		}
	}
	if len(all) < 2<<20 {
		t.Errorf("only %d bytes are kept", len(all))
	}
	for _, n := range []int{1, 2, 20000} { // the last reaches into an older file
		want := strings.Join(lines[len(lines)-n:], "\n")
		if got := readLog(t, dir, LogOptions{Tail: n}); got != want+"\n" {
			t.Errorf("tail %d gives %d bytes, want %d", n, len(got), len(want)+1)
		}
		if got := strings.Join(p.Tail(n), "\n"); got != want {
			t.Errorf("Tail(%d) gives %d bytes, want %d", n, len(got), len(want))
		}
	}
}

// A follower sees every line once, over rotations and into the next run, until it leaves.
func TestOpenLog_follows(t *testing.T) {
	dir := t.TempDir()
	d := newDriver(t, dir)
	p := start(t, d, 0, launch("-say", "first run"))
	eventually(t, "log", func() bool { return strings.Contains(logText(p), "listening") })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := OpenLog(ctx, dir, "model", 0, LogOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	lines := bufio.NewScanner(r)
	next := func(want string) {
		t.Helper()
		if !lines.Scan() || !strings.Contains(lines.Text(), want) {
			t.Fatalf("got %q %v, want %q", lines.Text(), lines.Err(), want)
		}
	}
	next("first run")
	next("listening")
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	next("got TERM")
	waitDone(t, start(t, d, 0, launch("-chat", "30000", "-code", "0"))) // rotates twice
	for i := range 30000 {
		next(fmt.Sprintf("line %07d ", i))
	}
	cancel()
	if lines.Scan() || lines.Err() != nil {
		t.Errorf("after leaving: %q %v", lines.Text(), lines.Err())
	}
}

func TestOpenLog_choosesTheRun(t *testing.T) {
	dir := t.TempDir()
	d := newDriver(t, dir)
	if _, err := OpenLog(t.Context(), dir, "model", 0, LogOptions{}); !api.HasCode(err, api.CodeNotFound) {
		t.Errorf("no run: %v", err)
	}
	if _, err := OpenLog(t.Context(), dir, "../model", 0, LogOptions{}); !api.HasCode(err, api.CodeInvalidUID) {
		t.Errorf("bad uid: %v", err)
	}
	waitDone(t, start(t, d, 0, launch("-say", "one with Bearer abcdefgh", "-code", "0")))
	if _, err := OpenLog(t.Context(), dir, "model", 0, LogOptions{Previous: true}); !api.HasCode(err, api.CodeNotFound) {
		t.Errorf("no previous run: %v", err)
	}
	waitDone(t, start(t, d, 0, launch("-say", "two", "-code", "0")))
	if got := readLog(t, dir, LogOptions{Previous: true, Follow: true}); got != "one with Bearer ***\n" {
		t.Errorf("previous %q", got)
	}
	if got := readLog(t, dir, LogOptions{Tail: 5}); got != "two\n" {
		t.Errorf("newest %q", got)
	}
}

// Closing a reader ends it, also while nothing comes.
func TestOpenLog_closes(t *testing.T) {
	dir := t.TempDir()
	if _, err := nextRun(filepath.Join(dir, "model", "0")); err != nil {
		t.Fatal(err)
	}
	r, err := OpenLog(t.Context(), dir, "model", 0, LogOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := r.Read(make([]byte, 1)); err == nil {
		t.Error("read after close")
	}
}

func TestTailStart(t *testing.T) {
	cases := []struct {
		name  string
		files []string
		n     int
		want  string
	}{
		{"all", []string{"a\nb\n"}, 9, "a\nb\n"},
		{"last", []string{"a\nb\n"}, 1, "b\n"},
		{"no end yet", []string{"a\nb"}, 1, "b"},
		{"over files", []string{"a\nb\n", "c\nd\n"}, 3, "b\nc\nd\n"},
		{"exactly a file", []string{"a\nb\n", "c\nd\n"}, 2, "c\nd\n"},
		{"a line over files", []string{"a\nb", "c\nd\n"}, 2, "bc\nd\n"},
		{"the end in the next file", []string{"a\nb", "\nc\n"}, 2, "b\nc\n"},
		{"newest is empty", []string{"a\nb\n", ""}, 1, "b\n"},
		{"newest has begun", []string{"a\nb\n", "c"}, 1, "c"},
		{"nothing", []string{""}, 1, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var names []string
			dir := t.TempDir()
			for i, text := range c.files {
				names = append(names, filepath.Join(dir, fmt.Sprint(i)))
				if err := os.WriteFile(names[i], []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			i, at, err := tailStart(names, c.n)
			if err != nil {
				t.Fatal(err)
			}
			if got := c.files[i][at:] + strings.Join(c.files[i+1:], ""); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// However the output is cut into pieces, the port is found once, and only in a line of its own.
func TestPortFinder(t *testing.T) {
	re := regexp.MustCompile(`listening on http://127\.0\.0\.1:(\d+)`)
	text := strings.Repeat("x", 20000) + "\nlistening on http://127.0.0.1:99999\nprogress\rlistening on http://127.0.0.1:45019\nlistening on http://127.0.0.1:1\n"
	for _, size := range []int{1, 7, 4096, len(text)} {
		f := portFinder{re: re}
		var got []int
		for b := []byte(text); len(b) > 0; b = b[min(size, len(b)):] {
			if port := f.feed(b[:min(size, len(b))]); port > 0 {
				got = append(got, port)
			}
		}
		if diff := cmp.Diff([]int{45019}, got); diff != "" {
			t.Errorf("in pieces of %d: %v", size, got)
		}
	}
}

func TestMasker_cutsNoSecret(t *testing.T) {
	var out bytes.Buffer
	m := masker{w: &out}
	for _, piece := range []string{"token hf_abc", "defghijkl and\nmore hf_", "secretsecret"} {
		if _, err := m.Write([]byte(piece)); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.flush(); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "token hf_*** and\nmore hf_***" {
		t.Errorf("got %q", got)
	}
	long := strings.Repeat("x", longestLine+1)
	if _, err := m.Write([]byte(long)); err != nil || !strings.HasSuffix(out.String(), long) {
		t.Error("a line without end is held back for ever")
	}
}

// Logs of replicas that are gone for long are removed, others are not, and nothing on record is.
func TestAdopt_expiresOldLogs(t *testing.T) {
	dir := t.TempDir()
	d := newDriver(t, dir)
	old := time.Now().Add(-8 * 24 * time.Hour)
	var ps []*Process
	for replica := range uint32(3) {
		p := start(t, d, replica, launch("-say", "hello", "-code", "0"))
		waitDone(t, p)
		ps = append(ps, p)
		if replica != 2 {
			if err := p.Remove(); err != nil {
				t.Fatal(err)
			}
		}
		if replica != 1 {
			if err := os.Chtimes(p.LogPath(), old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	d.Close()
	if got := adopt(t, dir); len(got) != 1 || got[0].Identity().ReplicaID != 2 {
		t.Errorf("adopted %v", got)
	}
	for i, want := range []bool{false, true, true} {
		if _, err := os.Stat(ps[i].LogPath()); (err == nil) != want {
			t.Errorf("log of replica %d: kept is %v, want %v", i, err == nil, want)
		}
	}
}
