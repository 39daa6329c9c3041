package peer_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
	"github.com/nebula-serve/nebula/internal/modelfiles/peer"
)

// shelf is a node's disk with one complete file and one that is coming.
type shelf struct {
	whole, part manifest.Hash
	file        string
	coming      *part
}

func (s *shelf) Whole(h manifest.Hash) (*os.File, func(), bool) {
	f, err := os.Open(s.file)
	return f, func() {}, err == nil && h == s.whole
}

func (s *shelf) Part(h manifest.Hash) (peer.Part, bool) { return s.coming, h == s.part }

// serving is a node's files on a real socket; the caller's name is in a header.
type serving struct {
	*shelf
	t   *testing.T
	url string
}

func newServing(t *testing.T, size int64, have int64) *serving {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	text := strings.Repeat("abcdefghijklmnopqrstuvwxyz", int(size)/26+1)
	if _, err := f.WriteString(text[:size]); err != nil {
		t.Fatal(err)
	}
	s := &shelf{
		whole: manifest.Hash{Algo: manifest.SHA256, Hex: strings.Repeat("a", 64)}, part: manifest.Hash{Algo: manifest.GitSHA1, Hex: strings.Repeat("b", 40)},
		file: f.Name(), coming: &part{File: f, size: size, have: have, grown: make(chan struct{})},
	}
	p := peer.New(peer.Config{Shelf: s, Ask: func(context.Context, api.BlobsAsk) (api.BlobsAnswer, error) {
		return api.BlobsAnswer{}, errors.New("no server answers")
	}})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parts := strings.Split(r.URL.Path, "/")
		p.ServeBlob(w, r, parts[1], parts[2], api.BlobCaller{NodeID: r.Header.Get("Me")})
	}))
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	return &serving{s, t, srv.URL}
}

// reply is the head of an answer; its body is closed by the end of the test.
type reply struct {
	status int
	header http.Header
	body   io.ReadCloser
}

func (s *serving) open(method string, h manifest.Hash, me, span string) reply {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+"/"+string(h.Algo)+"/"+h.Hex, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Me", me)
	req.Header.Set("Prefer", "wait=60")
	if span != "" {
		req.Header.Set("Range", span)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = res.Body.Close() })
	return reply{res.StatusCode, res.Header, res.Body}
}

func TestServeBlob_answers(t *testing.T) {
	s := newServing(t, 30, 10)
	other := manifest.Hash{Algo: manifest.SHA256, Hex: strings.Repeat("c", 64)}
	for _, c := range []struct {
		method string
		h      manifest.Hash
		span   string
		want   string // status, Content-Range, bytes that the node has, body
	}{
		{"GET", s.whole, "", `200 "" 30 abcdefghijklmnopqrstuvwxyzabcd`},
		{"GET", s.whole, "bytes=2-4", `206 "bytes 2-4/30" 30 cde`},
		{"GET", s.whole, "bytes=28-99", `206 "bytes 28-29/30" 30 cd`},
		{"GET", s.whole, "bytes=30-40", `416 "bytes */30" 30 `},
		{"GET", s.whole, "bytes=4-2", `416 "bytes */30" 30 `},
		{"GET", s.whole, "bytes=-5", `416 "bytes */30" 30 `},
		{"GET", s.whole, "bytes=1-2,4-5", `416 "bytes */30" 30 `},
		{"GET", s.whole, "lines=1-2", `416 "bytes */30" 30 `},
		{"HEAD", s.whole, "", `200 "" 30 `},
		{"GET", s.part, "bytes=2-4", `206 "bytes 2-4/30" 10 cde`},
		{"GET", s.part, "bytes=8-29", `206 "bytes 8-9/30" 10 ij`},
		{"GET", s.part, "bytes=10-29", `204 "" 10 `}, // whoever has no claim waits for nothing
		{"HEAD", s.part, "", `200 "" 10 `},
		{"GET", other, "bytes=0-1", `404 "" `},
		{"GET", manifest.Hash{Algo: "sha256", Hex: "x"}, "", `404 "" `},
	} {
		res := s.open(c.method, c.h, "n2", c.span)
		b, err := io.ReadAll(res.body)
		if err != nil {
			t.Errorf("%s %s: %v", c.method, c.span, err)
		}
		got := fmt.Sprintf("%d %q %s", res.status, res.header.Get("Content-Range"), res.header.Get("Nebula-Blob-Have"))
		if res.status != 404 {
			got += " " + string(b)
		}
		if got != c.want {
			t.Errorf("%s %s: %s, want %s", c.method, c.span, got, c.want)
		}
	}
}

// Readers beyond the limits are sent away for a moment; one node is one reader however many requests it has open.
func TestServeBlob_limits(t *testing.T) {
	s := newServing(t, 40<<20, 40<<20)
	full := func(h manifest.Hash, me string) int {
		return s.open("GET", h, me, fmt.Sprintf("bytes=0-%d", 40<<20)).status
	}
	for i := range 4 { // nobody reads the bodies, which are larger than what sockets hold
		if got := full(s.part, fmt.Sprint("n", i)); got != 206 {
			t.Fatalf("reader %d: %d", i, got)
		}
	}
	if got := full(s.part, "n0"); got != 206 {
		t.Errorf("another request of a reader: %d", got)
	}
	res := s.open("GET", s.part, "n4", "bytes=0-9")
	if res.status != 503 || res.header.Get("Retry-After") == "" || res.header.Get("Nebula-Blob-Have") == "" {
		t.Errorf("the fifth reader of a part: %d, %v", res.status, res.header)
	}
	for i := range 4 {
		if got := full(s.whole, fmt.Sprint("n", i)); got != 206 {
			t.Fatalf("reader %d of the whole: %d", i, got)
		}
	}
	if got := full(s.whole, "n9"); got != 503 {
		t.Errorf("the ninth reader of the node: %d", got)
	}
}

// A reader that leaves makes room.
func TestServeBlob_readerLeaves(t *testing.T) {
	s := newServing(t, 40<<20, 40<<20)
	var open []reply
	for i := range 4 {
		open = append(open, s.open("GET", s.part, fmt.Sprint("n", i), ""))
	}
	_ = open[0].body.Close()
	deadline := time.Now().Add(10 * time.Second)
	for s.open("GET", s.part, "n9", "bytes=0-9").status != 206 {
		if time.Now().After(deadline) {
			t.Fatal("no room was made")
		}
	}
}
