package peer_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
	"github.com/nebula-serve/nebula/internal/modelfiles/peer"
	"github.com/nebula-serve/nebula/internal/nodeapi"
	"github.com/nebula-serve/nebula/internal/pki"
	"github.com/nebula-serve/nebula/internal/registry"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

// club is a cluster: a real registry on a store in memory, nodes with real ports, and an origin that counts.
type club struct {
	t     *testing.T
	kv    *storetest.MemKV
	reg   *registry.Registry
	st    *store.Store
	ca    *pki.CA
	clock *pki.Clock
	away  atomic.Bool // the servers do not answer
	hub   *origin
	dir   string
}

func newClub(t *testing.T) *club {
	t.Helper()
	kv := storetest.NewMem()
	quiet := slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(context.Background())
	st, err := store.Open(ctx, kv, quiet)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() { _ = st.Run(ctx) })
	t.Cleanup(func() { cancel(); all.Wait() })
	ca, err := pki.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &club{
		t: t, kv: kv, st: st, reg: registry.New(registry.Config{Store: st, Leases: kv, Log: quiet}), ca: ca, clock: pki.NewClock(time.Now),
		hub: &origin{content: map[string][]byte{}}, dir: t.TempDir(),
	}
}

// file puts a random file at the origin.
func (c *club) file(name string, size int) manifest.Entry {
	b := make([]byte, size)
	rng := rand.NewChaCha8(sha256.Sum256([]byte(name)))
	_, _ = rng.Read(b)
	hex := fmt.Sprintf("%x", sha256.Sum256(b))
	c.hub.content[hex] = b
	return manifest.Entry{Path: name, Size: int64(size), Hash: manifest.Hash{Algo: manifest.SHA256, Hex: hex}}
}

func (c *club) credential(id string) *pki.Credential {
	c.t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		c.t.Fatal(err)
	}
	csr, err := pki.Request(key)
	if err != nil {
		c.t.Fatal(err)
	}
	cert, err := c.ca.Issue(csr, pki.Identity{Cluster: "c1", Role: api.MachineNode, ID: id}, nil, time.Now())
	if err != nil {
		c.t.Fatal(err)
	}
	cred, err := pki.NewCredential("", key, cert.Raw, c.ca.Cert.Raw)
	if err != nil {
		c.t.Fatal(err)
	}
	return cred
}

// origin is a hub with a limit for all of its readers together.
type origin struct {
	content map[string][]byte
	sent    atomic.Int64
	rate    atomic.Int64 // bytes per second; 0 = none
	stuck   atomic.Bool  // it sends nothing

	mu   sync.Mutex
	next time.Time
}

type hubSource struct {
	o *origin
	e manifest.Entry
}

func (hubSource) Name() string { return "hub" }
func (hubSource) Peer() bool   { return false }

func (s hubSource) Open(ctx context.Context, from, to int64) (io.ReadCloser, int64, error) {
	return &hubBody{ctx, s.o, s.o.content[s.e.Hex][from:to]}, to, nil
}

type hubBody struct {
	ctx  context.Context
	o    *origin
	left []byte
}

func (b *hubBody) Close() error { return nil }

func (b *hubBody) Read(p []byte) (int, error) {
	for b.o.stuck.Load() {
		select {
		case <-b.ctx.Done():
			return 0, b.ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	if len(b.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), 64<<10)], b.left)
	if rate := b.o.rate.Load(); rate > 0 {
		b.o.mu.Lock()
		now := time.Now()
		if b.o.next.Before(now) {
			b.o.next = now
		}
		at := b.o.next
		b.o.next = at.Add(time.Duration(int64(n) * int64(time.Second) / rate))
		b.o.mu.Unlock()
		select {
		case <-time.After(time.Until(at)):
		case <-b.ctx.Done():
			return 0, b.ctx.Err()
		}
	}
	b.left = b.left[n:]
	b.o.sent.Add(int64(n))
	return n, nil
}

// node is a node of the club: its port, its disk, and what it fetches.
type node struct {
	*peer.Peers
	club *club
	id   string
	dir  string
	addr string
	cred *pki.Credential
	stop func() // dead at once, as by kill -9

	mu    sync.Mutex
	parts map[string]*part
	asked atomic.Int64 // for files, by others
	spoil atomic.Bool  // it sends wrong bytes
	stall atomic.Bool  // it takes requests and says nothing
}

// part is a file that a node is fetching.
type part struct {
	*os.File
	size int64

	mu    sync.Mutex
	have  int64
	grown chan struct{}
}

func (p *part) Size() int64  { return p.size }
func (p *part) Close() error { return nil } // the fetch closes it

func (p *part) Frontier() (int64, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.have, p.grown
}

func (p *part) set(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.have = n
	close(p.grown)
	p.grown = make(chan struct{})
}

func (n *node) path(h manifest.Hash) string { return filepath.Join(n.dir, h.Hex) }

// Whole opens a complete blob.
func (n *node) Whole(h manifest.Hash) (*os.File, func(), bool) {
	f, err := os.Open(n.path(h))
	return f, func() {}, err == nil
}

// Part opens a blob that is being fetched.
func (n *node) Part(h manifest.Hash) (peer.Part, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.parts[h.Hex]
	return p, p != nil
}

// start runs a node.
func (c *club) start(id string) *node {
	c.t.Helper()
	n := &node{club: c, id: id, dir: filepath.Join(c.dir, id), parts: map[string]*part{}}
	if err := os.MkdirAll(n.dir, 0o755); err != nil {
		c.t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	n.addr = ln.Addr().String()
	cred := c.credential(id)
	n.cred = cred
	log := slog.New(slog.DiscardHandler)
	n.Peers = peer.New(peer.Config{
		TLS: func(node string) *tls.Config { return cred.ClientTLS(c.clock, api.MachineNode, node) }, Shelf: n, Log: log,
		Ask: func(ctx context.Context, ask api.BlobsAsk) (api.BlobsAnswer, error) {
			if c.away.Load() {
				return api.BlobsAnswer{}, errors.New("no server answers")
			}
			return c.reg.Blobs(ctx, id, ask)
		},
	})
	port := nodeapi.New(nodeapi.Config{Cluster: "c1", Log: log, Blobs: func(w http.ResponseWriter, r *http.Request, algo, hash string, from api.BlobCaller) {
		n.asked.Add(1)
		if n.stall.Load() {
			<-r.Context().Done()
			return
		}
		if n.spoil.Load() {
			w = spoiler{w}
		}
		n.ServeBlob(w, r, algo, hash, from)
	}})
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { _ = port.Serve(ctx, ln, cred.ServerTLS(c.clock), 0) })
	all.Go(func() { _ = n.Run(ctx) })
	all.Go(func() {
		for { // signs of life
			select {
			case <-ctx.Done():
				return
			case <-time.After(4 * time.Second):
				_ = c.reg.Heartbeat(ctx, id, api.NodeHeartbeat{Epoch: 1, Seq: 1})
			}
		}
	})
	n.stop = sync.OnceFunc(func() { cancel(); all.Wait() })
	c.t.Cleanup(n.stop)
	c.member(id, cred.KeyHash())
	c.report(n)
	return n
}

func (c *club) member(id, key string) {
	c.t.Helper()
	if _, err := c.st.Update(c.t.Context(), store.OwnerControl, func(tx *store.Tx) error {
		m := api.Member{Role: api.MachineNode, ID: id, KeyHash: key}
		return store.Members.Put(tx, m.Key(), m)
	}); err != nil {
		c.t.Fatal(err)
	}
}

// report tells the cluster of the node, and that it has the models.
func (c *club) report(n *node, models ...string) {
	c.t.Helper()
	o := api.NodeObserved{Node: api.NodeStatus{NodeID: n.id, APIAddr: n.addr, Epoch: 1, Seq: 1}, Disk: &api.NodeDiskStatus{NodeID: n.id}}
	for _, m := range models {
		o.Cache = append(o.Cache, api.ModelCacheEntry{NodeID: n.id, ModelName: m, Complete: true})
	}
	if err := c.reg.Report(c.t.Context(), n.id, o); err != nil {
		c.t.Fatal(err)
	}
}

// spoiler flips a bit of every piece.
type spoiler struct{ http.ResponseWriter }

func (s spoiler) Write(p []byte) (int, error) {
	b := append([]byte(nil), p...)
	b[len(b)/2] ^= 1
	return s.ResponseWriter.Write(b)
}

func (s spoiler) Unwrap() http.ResponseWriter { return s.ResponseWriter }

const model = "acme/m"

// fetch is a transfer reduced to what matters here: one connection, lowest bytes first, nothing published unverified.
func (n *node) fetch(ctx context.Context, e manifest.Entry) (err error) {
	f, err := os.Create(n.path(e.Hash) + ".part")
	if err != nil {
		return err
	}
	defer f.Close()
	p := &part{File: f, size: e.Size, grown: make(chan struct{})}
	n.mu.Lock()
	n.parts[e.Hex] = p
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.parts, e.Hex)
	}()
	b := n.Begin(e, model)
	defer func() { b.End(err == nil) }()
	sum, at, buf := sha256.New(), int64(0), make([]byte, 256<<10)
	for {
		if at == e.Size {
			if fmt.Sprintf("%x", sum.Sum(nil)) == e.Hex {
				return os.Rename(f.Name(), n.path(e.Hash))
			}
			b.Wrong()
			sum, at = sha256.New(), 0
			p.set(0)
		}
		sources, err := b.Sources(ctx, hubSource{n.club.hub, e})
		if err != nil {
			return err
		}
		body, end, err := sources[0].Open(ctx, at, e.Size)
		if err == nil {
			for at < end && err == nil {
				var k int
				k, err = body.Read(buf)
				if _, err := f.WriteAt(buf[:k], at); err != nil {
					return err
				}
				sum.Write(buf[:k])
				at += int64(k)
				p.set(at)
				if e := ctx.Err(); e != nil {
					err = e
				}
			}
			_ = body.Close()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}
