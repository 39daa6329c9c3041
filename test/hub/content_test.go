package hub

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// big is a repository whose file is a block of 1,000 bytes, two and a half times.
func big(t *testing.T) (Repo, []byte) {
	t.Helper()
	block := bytes.Repeat([]byte("0123456789abcdefghij"), 50)
	name := filepath.Join(t.TempDir(), "block")
	if err := os.WriteFile(name, block, 0o644); err != nil {
		t.Fatal(err)
	}
	whole := append(append(bytes.Clone(block), block...), block[:500]...)
	return Repo{ID: "org/model", Big: map[string]Big{"w.gguf": {Block: name, Size: 2500}, "huge.gguf": {Size: 400 << 30, SHA256: strings.Repeat("a", 64)}}}, whole
}

// TestBig: a file that is never held whole is the same as one that is, in every part, whole, and with a wrong bit.
func TestBig(t *testing.T) {
	r, whole := big(t)
	h := Start(t, r)
	resp, _ := get(t, h.URL+"/org/model/resolve/main/w.gguf")
	if resp.Header.Get("X-Linked-Etag") != `"`+sha256Hex(whole)+`"` || resp.Header.Get("X-Linked-Size") != "2500" {
		t.Errorf("%v", resp.Header)
	}
	at := resp.Header.Get("Location")
	for _, c := range []struct {
		byteRange string
		want      []byte
	}{{"", whole}, {"bytes=0-999", whole[:1000]}, {"bytes=900-2100", whole[900:2101]}, {"bytes=1000-", whole[1000:]}} {
		if _, body := get(t, at, "Range", c.byteRange); body != string(c.want) {
			t.Errorf("%q: %d bytes that differ", c.byteRange, len(body))
		}
	}
	want := int64(2500 + 1000 + 1201 + 1500)
	if h.Sent() != want {
		t.Errorf("%d bytes counted, want %d", h.Sent(), want)
	}
	h.Break(Faults{Flip: 1, FlipAt: 1234})
	if _, body := get(t, at, "Range", "bytes=1000-1999"); body[234] == whole[1234] || body[:234]+body[235:] != string(whole[1000:1234])+string(whole[1235:2000]) {
		t.Error("not exactly that byte is wrong")
	}
	h.Break(Faults{Gzip: 1})
	if resp, body := get(t, at, "Accept-Encoding", "identity"); resp.Header.Get("Content-Encoding") != "gzip" || unpacked(t, body) != string(whole) {
		t.Errorf("%v, %d bytes", resp.Header, len(body))
	}
	h.Break(Faults{BridgeLimit: 300 << 30})
	resp, _ = get(t, h.URL+"/org/model/resolve/main/huge.gguf")
	if resp, _ = get(t, resp.Header.Get("Location"), "Range", "bytes=0-9"); resp.StatusCode != http.StatusBadRequest || h.Happened().BridgeLimit != 1 {
		t.Errorf("a file that is too large for the bridge: %d", resp.StatusCode)
	}
	if _, err := h.Publish(Repo{ID: "org/none", Big: map[string]Big{"w": {Block: "/nowhere", Size: 1}}}); err == nil {
		t.Error("a block file that is not there is no error")
	}
}

// TestPacer: bytes take their time, lateness is made up for a little, and pauses save nothing up.
func TestPacer(t *testing.T) {
	begin := time.Unix(1000, 0)
	var p pacer
	at := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
	for i, c := range []struct {
		now  int
		n    int64
		want int // ms to wait
	}{
		{0, 100, 100}, {100, 100, 100}, {210, 100, 90}, {300, 50, 50}, {350, 100, 100}, {5000, 100, 80},
	} {
		if got := p.take(c.n, 1000, at(c.now)); got != time.Duration(c.want)*time.Millisecond {
			t.Errorf("step %d: %s, want %d ms", i, got, c.want)
		}
	}
}

// TestSlow: every kind of slowness gives all bytes in the end.
func TestSlow(t *testing.T) {
	h := Start(t, repo())
	for name, f := range map[string]Faults{
		"each connection": {BytesPerSecond: 20_000},
		"all together":    {AllBytesPerSecond: 20_000},
		"drip":            {Drip: Always, DripBytes: 50, DripEvery: time.Millisecond},
	} {
		h.Break(f)
		resp, _ := get(t, h.URL+"/org/model/resolve/main/a%20b/weights.gguf")
		begun := time.Now()
		if _, body := get(t, resp.Header.Get("Location")); body != string(repo().Files["a b/weights.gguf"]) {
			t.Errorf("%s: %d bytes", name, len(body))
		}
		if d := time.Since(begun); d < 15*time.Millisecond {
			t.Errorf("%s: all in %s", name, d)
		}
		if open := h.Open(); open > 0 { // the handler may return a moment after its last byte came
			continue
		}
		if r := h.Requests(); r[len(r)-1].Ended.IsZero() {
			t.Errorf("%s: nothing is under way, and an answer has not ended", name)
		}
	}
}

// TestChanges: a renamed repository leads on, and one that changes after a listing has changed for the next request.
func TestChanges(t *testing.T) {
	h := Start(t, repo())
	h.Rename("org/model", "org/renamed")
	resp, _ := get(t, h.URL+"/org/model/resolve/main/README.md?x=1")
	if resp.StatusCode != 307 || resp.Header.Get("Location") != "/org/renamed/resolve/main/README.md?x=1" {
		t.Errorf("renamed: %d %v", resp.StatusCode, resp.Header)
	}
	resp, _ = get(t, h.URL+"/api/models/org/model/revision/main")
	if _, body := get(t, h.URL+resp.Header.Get("Location")); !strings.Contains(body, `"id":"org/renamed"`) {
		t.Errorf("renamed: %d %v, then %s", resp.StatusCode, resp.Header, body)
	}
	changed := repo()
	changed.ID, changed.Files["README.md"] = "org/renamed", []byte("# longer now")
	h.PushAfterListing(changed)
	_, listing := get(t, h.URL+"/api/models/org/renamed/tree/main?recursive=true")
	_, after := get(t, h.URL+"/api/models/org/renamed/revision/main?blobs=true")
	if !strings.Contains(listing, `"size":7,"path":"README.md"`) || !strings.Contains(after, `{"rfilename":"README.md","size":12,"blobId":"`+GitSHA1([]byte("# longer now"))+`"}`) {
		t.Errorf("%s\nthen %s", listing, after)
	}
	if sum := sha256Hex(repo().Files["a b/weights.gguf"]); !strings.Contains(after, `"lfs":{"sha256":"`+sum+`","size":1000,"pointerSize":135}`) {
		t.Errorf("large file: %s", after)
	}
}

func unpacked(t *testing.T, body string) string {
	t.Helper()
	z, err := gzip.NewReader(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
