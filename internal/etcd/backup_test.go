package etcd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/store"
)

func backup(t *testing.T, c *Client) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "backup")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Snapshot(t.Context(), f), f.Close(), CheckBackup(path)); err != nil {
		t.Fatal(err)
	}
	return path
}

func restored(ctx context.Context, c *Client) error {
	return store.Restored(ctx, c, time.UnixMilli(77))
}

func values(kvs []store.KeyValue) map[string]string {
	out := map[string]string{}
	for _, kv := range kvs {
		out[kv.Key] = string(kv.Value)
	}
	return out
}

// TestRestore loses a store after a backup and more writes, and gets the backup back.
func TestRestore(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "etcd")
	s, _ := supervise(t, dir)
	c := dial(t, s.Endpoint(), "")
	mustPut(t, c, "/cluster/info", `{"id":"c1","history":"h1","history_accepted":true}`)
	mustPut(t, c, "/models/m/spec", "saved")
	lease, err := c.Grant(t.Context(), 3600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Txn(t.Context(), nil, []store.Op{{Key: "/nodes/n/status", Value: []byte("alive"), Lease: lease}}); err != nil {
		t.Fatal(err)
	}
	file := backup(t, c)
	last := mustPut(t, c, "/models/later/spec", "not saved")

	conf := RestoreConfig{File: file, Dir: dir, Edit: restored}
	conf.Log, _ = newLog(t)
	if _, err := Restore(t.Context(), conf); !errors.Is(err, ErrInUse) {
		t.Errorf("into a store that runs: %v, want ErrInUse", err)
	}
	s.Stop()
	aside, err := Restore(t.Context(), conf)
	if err != nil || aside != dir+".before-restore-1" {
		t.Fatalf("got %q, %v", aside, err)
	}
	if err := checkData(aside, time.Minute); err != nil {
		t.Errorf("the former data: %v", err)
	}
	if again, err := Restore(t.Context(), conf); err != nil || again != dir+".before-restore-2" {
		t.Errorf("a second time: %q, %v", again, err)
	}

	next, _ := supervise(t, dir)
	c = dial(t, next.Endpoint(), "")
	kvs, rev, err := c.List(t.Context(), "/")
	if err != nil {
		t.Fatal(err)
	}
	got := values(kvs)
	var info api.ClusterInfo
	if err := json.Unmarshal([]byte(got["/cluster/info"]), &info); err != nil {
		t.Fatal(err)
	}
	if info.ID != "c1" || info.History == "h1" || info.History == "" || info.HistoryAccepted || info.RestoredAtMS != 77 {
		t.Errorf("cluster: %+v", info)
	}
	if len(got) != 2 || got["/models/m/spec"] != "saved" {
		t.Errorf("restored: %v", got)
	}
	if rev <= last {
		t.Errorf("revision %d is not above %d", rev, last)
	}
	if err := c.Watch(t.Context(), "/", last, func(store.Batch) error { return errAny }); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("a watch from the old history: %v, want ErrCompacted", err)
	}
}

// TestRestore_ofCluster: the backup of three members becomes one, which others can join.
func TestRestore_ofCluster(t *testing.T) {
	t.Parallel()
	tc := newCluster(t)
	first := tc.add()
	first.conf.Init = true
	first.start(t)
	c := tc.client(first)
	second := tc.add()
	tc.join(c, second)
	mustPut(t, c, "/k", "saved")
	file := backup(t, c)
	first.sup.Stop() // the second runs on, and must not find the restored one to be of its cluster
	if _, err := Restore(t.Context(), RestoreConfig{File: file, Dir: first.dir, Edit: restored}); err != nil {
		t.Fatal(err)
	}
	first.start(t)
	c = tc.client(first)
	members, err := c.Members(t.Context())
	if err != nil || len(members) != 1 {
		t.Fatalf("members: %+v, %v", members, err)
	}
	third := tc.add()
	tc.join(c, third)
	kvs, _, err := tc.client(third).List(t.Context(), "/")
	if err != nil || values(kvs)["/k"] != "saved" {
		t.Errorf("got %v, %v", kvs, err)
	}
}

// TestRestore_damaged: a backup that is not what was saved is refused, and the store stays as it was.
func TestRestore_damaged(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "etcd")
	s, _ := supervise(t, dir)
	c := dial(t, s.Endpoint(), "")
	mustPut(t, c, "/k", "present")
	good, err := os.ReadFile(backup(t, c))
	if err != nil {
		t.Fatal(err)
	}
	s.Stop()
	flipped := slices.Clone(good)
	flipped[len(flipped)/2] ^= 1
	files := filepath.Join(t.TempDir(), "file")
	for name, content := range map[string][]byte{
		"empty": nil, "cut short": good[:len(good)/2], "without its hash": good[:len(good)-32], "one bit": flipped,
		"another file": bytes.Repeat([]byte("x"), 512*4+32), "one byte more": append(slices.Clone(good), 0),
	} {
		if err := os.WriteFile(files, content, 0o600); err != nil {
			t.Fatal(err)
		}
		aside, err := Restore(t.Context(), RestoreConfig{File: files, Dir: dir, Edit: restored})
		if !errors.Is(err, ErrBackup) || aside != "" || !strings.Contains(err.Error(), "take another") {
			t.Errorf("%s: %q, %v", name, aside, err)
		}
	}
	if _, err := Restore(t.Context(), RestoreConfig{File: "/no/such/file", Dir: dir}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(files, good, 0o600); err != nil {
		t.Fatal(err)
	}
	full := errors.New("edit failed")
	if _, err := Restore(t.Context(), RestoreConfig{File: files, Dir: dir, Edit: func(context.Context, *Client) error { return full }}); !errors.Is(err, full) {
		t.Errorf("a failed edit: %v", err)
	}
	next, _ := supervise(t, dir)
	kvs, _, err := dial(t, next.Endpoint(), "").List(t.Context(), "/")
	if err != nil || values(kvs)["/k"] != "present" {
		t.Errorf("got %v, %v", kvs, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "data.restoring")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
}

// TestReclaim is the way out of a full store. The first try finds that nothing was deleted.
func TestReclaim(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const keys = 20
	before, _ := supervise(t, dir)
	wide := dial(t, before.Endpoint(), "")
	for i := range keys {
		mustPut(t, wide, fmt.Sprintf("/k/%d", i), string(make([]byte, 100_000)))
	}
	before.Stop()
	log, _ := newLog(t)
	conf := childConfig(dir, log)
	conf.QuotaBytes = 1 << 20 // half of what is there
	s, err := Supervise(t.Context(), conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	c := dial(t, s.Endpoint(), "")
	if _, err := c.Txn(t.Context(), nil, []store.Op{put("/k", "one too many")}); !errors.Is(err, store.ErrFull) {
		t.Fatalf("got %v, want ErrFull", err)
	}
	file := backup(t, c)
	if _, err := c.Reclaim(t.Context()); !errors.Is(err, ErrStillFull) || !strings.Contains(err.Error(), "--etcd-quota") {
		t.Errorf("with nothing deleted: %v, want ErrStillFull", err)
	}
	for i := range keys {
		if _, err := c.Txn(t.Context(), nil, []store.Op{{Key: fmt.Sprintf("/k/%d", i), Delete: true}}); err != nil {
			t.Fatalf("delete: %v", err)
		}
	}
	after, err := c.Reclaim(t.Context())
	if err != nil || after.Full || after.Bytes >= 1<<20 {
		t.Fatalf("got %+v, %v", after, err)
	}
	mustPut(t, c, "/k", "writes again")

	other := filepath.Join(t.TempDir(), "etcd") // the backup of a full store
	if _, err := Restore(t.Context(), RestoreConfig{File: file, Dir: other, Edit: func(ctx context.Context, c *Client) error {
		_, err := c.Txn(ctx, nil, []store.Op{put("/edited", "yes")})
		return err
	}}); err != nil {
		t.Error(err)
	}
}

func TestOverview(t *testing.T) {
	t.Parallel()
	tc := newCluster(t)
	first := tc.add()
	first.conf.Init = true
	first.start(t)
	c := tc.client(first)
	second := tc.add()
	tc.join(c, second)
	eventually(t, "both members' answers", func() bool {
		o, err := c.Overview(t.Context())
		return err == nil && len(o) == 2 && o[0].Answers && o[1].Answers && o[0].Status.Leader != o[1].Status.Leader
	})
	if err := c.Defragment(t.Context()); err != nil {
		t.Errorf("defragment: %v", err)
	}
	second.sup.Stop() // half of two is no majority
	eventually(t, "one member's silence", func() bool {
		o, err := c.Overview(t.Context())
		return err == nil && len(o) == 2 && o[0].Answers && !o[1].Answers
	})
	if err := c.Defragment(t.Context()); err == nil || !strings.Contains(err.Error(), "s2") {
		t.Errorf("defragment without the second: %v", err)
	}
}

func TestSpace(t *testing.T) {
	for _, c := range []struct {
		status Status
		was    space
		want   space
		says   string
	}{
		{Status{Bytes: 10, QuotaBytes: 100}, roomy, roomy, ""},
		{Status{Bytes: 90, QuotaBytes: 100}, roomy, little, "nearly full"},
		{Status{Bytes: 90, QuotaBytes: 100}, little, little, ""},
		{Status{Bytes: 90, QuotaBytes: 100, Full: true}, little, none, "nebula admin reclaim"},
		{Status{Bytes: 10, QuotaBytes: 100}, none, roomy, "room again"},
		{Status{Bytes: 90, QuotaBytes: 0}, roomy, roomy, ""},
	} {
		log, lines := newLog(t)
		got := c.status.space()
		got.say(c.was, c.status, log)
		if text := strings.Join(lines.lines, "\n"); got != c.want || (c.says == "") != (text == "") || !strings.Contains(text, c.says) {
			t.Errorf("%+v after %d: %d, %q", c.status, c.was, got, text)
		}
	}
}
