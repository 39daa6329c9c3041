package transfer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

// markAt is the state after the first n bytes.
func markAt(t testing.TB, e manifest.Entry, content []byte, n int64) mark {
	t.Helper()
	var d digest
	d.reset(e.Hash, e.Size)
	d.write(content[:n])
	m, err := d.mark()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestRun_resumes: what the journal of a killed transfer says is neither fetched nor, before its mark, read again.
func TestRun_resumes(t *testing.T) {
	content := random(large, 1)
	e := entryOf(content)
	here := spans{{0, 12 << 20}, {14 << 20, 20<<20 + 7}}
	var missing int64
	for _, gap := range here.gaps(e.Size) {
		missing += gap.size()
	}
	now := progress{here, markAt(t, e, content, 9<<20)}
	synced := progress{spans{{0, 10 << 20}}, markAt(t, e, content, 9<<20)}
	unknown := mark{9 << 20, []byte("nonsense"), now.Mark.Pieces, 0}
	for name, c := range map[string]struct {
		j     journal
		harm  []int64 // bytes of the partial file that changed
		fetch int64
	}{
		"the same boot": {journal{Boot: "this", Now: now, Synced: synced}, nil, missing},
		// Bytes that were hashed are not read again: nobody would notice here, and the last look is the reader's.
		"another boot trusts what was synced":     {journal{Boot: "other", Now: now, Synced: synced}, []int64{11 << 20, 15 << 20}, e.Size - 10<<20},
		"another boot, and a synced piece is bad": {journal{Boot: "other", Now: now, Synced: synced}, []int64{5}, e.Size - 2<<20},
		"another boot, nothing synced":            {journal{Boot: "other", Now: now}, []int64{5, 11 << 20}, e.Size},
		"no boot is known":                        {journal{Now: now, Synced: synced}, []int64{15 << 20}, e.Size - 10<<20},
		"a state of the hash that is none":        {journal{Boot: "this", Now: progress{here, unknown}}, nil, missing},
		"no state of the hash":                    {journal{Boot: "this", Now: progress{Written: here}}, nil, missing},
	} {
		t.Run(name, func(t *testing.T) {
			o := serve(t, content)
			j := jobFor(t.TempDir(), e, o.source(t))
			left := make([]byte, e.Size)
			for _, s := range here {
				copy(left[s.From:s.To], content[s.From:s.To])
			}
			for _, at := range c.harm {
				left[at] ^= 1
			}
			if err := os.WriteFile(j.Part, left[:20<<20+7], 0o644); err != nil {
				t.Fatal(err)
			}
			c.j.Version, c.j.Hash, c.j.Size = journalVersion, e.Hash, e.Size
			if err := disk.WriteJSON(j.Journal, c.j, false); err != nil {
				t.Fatal(err)
			}
			mustRun(t, j, content)
			if sent := o.sent.Load(); sent != c.fetch {
				t.Errorf("sent %d bytes, want %d", sent, c.fetch)
			}
		})
	}
}

// TestRun_journalLies: a journal that is wrong costs a second download, never a wrong file.
func TestRun_journalLies(t *testing.T) {
	content := random(large, 2)
	e := entryOf(content)
	for name, c := range map[string]struct {
		left int
		now  progress
	}{
		"other bytes are there":    {large, progress{Written: spans{{0, 16 << 20}}}},
		"the file is gone":         {0, progress{Written: spans{{0, 16 << 20}}}},
		"the file is shorter":      {5 << 20, progress{spans{{0, 16 << 20}}, markAt(t, e, content, 9<<20)}},
		"a state of other content": {large, progress{spans{{0, 16 << 20}}, markAt(t, e, random(large, 3), 9<<20)}},
	} {
		t.Run(name, func(t *testing.T) {
			o := serve(t, content)
			j := jobFor(t.TempDir(), e, o.source(t))
			if c.left > 0 {
				if err := os.WriteFile(j.Part, random(c.left, 4), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			n := journal{Version: journalVersion, Boot: "this", Hash: e.Hash, Size: e.Size, Now: c.now}
			if err := disk.WriteJSON(j.Journal, n, false); err != nil {
				t.Fatal(err)
			}
			mustRun(t, j, content)
		})
	}
}

// TestRun_hashesOnce: a resumed transfer hashes from its mark on. The bytes before it are changed on the disk, which only
// somebody who reads them again would notice.
func TestRun_hashesOnce(t *testing.T) {
	content := random(large, 5)
	e := entryOf(content)
	o := serve(t, content)
	j := jobFor(t.TempDir(), e, o.source(t))
	left := bytes.Clone(content[:12<<20])
	left[1000] ^= 1
	if err := os.WriteFile(j.Part, left, 0o644); err != nil {
		t.Fatal(err)
	}
	n := journal{Version: journalVersion, Boot: "this", Hash: e.Hash, Size: e.Size, Now: progress{spans{{0, 12 << 20}}, markAt(t, e, content, 12<<20)}}
	if err := disk.WriteJSON(j.Journal, n, false); err != nil {
		t.Fatal(err)
	}
	if _, err := New(j).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if sent := o.sent.Load(); sent != e.Size-12<<20 {
		t.Errorf("sent %d bytes: it was read again", sent)
	}
}

// fetchAsProcess is the body of a process that fetches and may be killed at any time. TestMain runs it.
func fetchAsProcess(dir, url, hash, size string) int {
	n, err := strconv.ParseInt(size, 10, 64)
	if err == nil {
		s := &web{url: url, size: n, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32, ReadBufferSize: 64 << 10}}, ranged: true}
		_, err = New(jobFor(dir, manifest.Entry{Path: "a.gguf", Size: n, Hash: manifest.Hash{Algo: manifest.SHA256, Hex: hash}}, s)).Run(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// TestKill9 kills a transfer at random times. Each time at most a second's traffic and a mebibyte for each connection are
// fetched again, and the end is right.
func TestKill9(t *testing.T) {
	const connections, perConnection = 16, 2 << 20
	content := random(64<<20, 6)
	e := entryOf(content)
	o := serve(t, content)
	o.set(func(w http.ResponseWriter, r *http.Request, _ int, from, to int64) bool {
		o.slowly(w, r, from, to, perConnection)
		return true
	})
	dir := t.TempDir()
	j := jobFor(dir, e, o.source(t))
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	kills := int64(0)
	for ; kills < 4; kills++ {
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), "TRANSFER_TEST_DIR="+dir, "TRANSFER_TEST_URL="+o.URL, "TRANSFER_TEST_HASH="+e.Hex, "TRANSFER_TEST_SIZE="+strconv.FormatInt(e.Size, 10))
		cmd.Stderr = os.Stderr
		began := Written(j.Journal)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(time.Minute); Written(j.Journal) < began+1<<20; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("the process gets nowhere")
			}
		}
		time.Sleep(rand.N(300 * time.Millisecond)) // at any point of what it does
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if cmd.ProcessState.Exited() {
			break // it was faster
		}
		unpublished(t, j)
	}
	o.set(nil)
	mustRun(t, j, content)
	again, allowed := o.sent.Load()-e.Size, kills*connections*(perConnection+1<<20)
	if again > allowed {
		t.Errorf("%d bytes were sent again after %d kills, %d may be", again, kills, allowed)
	}
	t.Logf("%d kills, %d bytes sent again", kills, again)
}

func FuzzJournal(f *testing.F) {
	e := manifest.Entry{Path: "a", Size: 20 << 20, Hash: manifest.Hash{Algo: manifest.SHA256, Hex: strings.Repeat("a", 64)}}
	content := make([]byte, 9<<20)
	good := journal{Version: journalVersion, Boot: "b", Hash: e.Hash, Size: e.Size, Now: progress{spans{{0, 9 << 20}, {10 << 20, 11 << 20}}, markAt(f, e, content, 9<<20)}}
	good.Synced = good.Now
	b, err := json.Marshal(good)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("{}"))
	f.Add([]byte(`{"version":2,"size":20971520,"algo":"sha256","now":{"written":[{"from":5,"to":3}]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		j := decodeJournal(b)
		for _, boot := range []string{"", "b", j.Boot} {
			for _, length := range []int64{0, 5 << 20, 20 << 20, 1 << 40} {
				e.Hash, e.Size = j.Hash, j.Size
				p, _ := j.trusted(e, boot, length)
				if !p.Written.sound(e.Size) || p.Written.total() > max(length, 0) || p.Mark.At > p.Written.prefix() {
					t.Fatalf("believes %v and %d of a file of %d bytes", p.Written, p.Mark.At, length)
				}
				var d digest
				d.reset(e.Hash, e.Size)
				if d.resume(e.Hash, e.Size, p.Mark); d.at != 0 && d.at != p.Mark.At {
					t.Fatalf("hashes from %d on", d.at)
				}
				d.write([]byte("x"))
				d.result()
			}
		}
	})
}
