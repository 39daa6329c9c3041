package e2e

import (
	"bytes"
	"crypto/sha256"
	le "encoding/binary"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/test/hub"
	"github.com/nebula-serve/nebula/test/llama"
)

// heavy makes a model file larger without changing what it answers: a metadata field that engines read over.
func heavy(model []byte, bytesMore int) []byte {
	const key, kindString, align = "nebula.test.padding", 8, 32
	const head = 4 + 4 + 8 + 8 // magic, version, tensors, fields
	size := bytesMore/align*align - (8 + len(key) + 4 + 8)
	var field bytes.Buffer
	_ = le.Write(&field, le.LittleEndian, uint64(len(key))) // a buffer takes everything
	field.WriteString(key)
	_ = le.Write(&field, le.LittleEndian, uint32(kindString))
	_ = le.Write(&field, le.LittleEndian, uint64(size))
	noise := make([]byte, size)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(key))).Read(noise)
	for i := range noise {
		noise[i] = 'a' + noise[i]%26
	}
	field.Write(noise)
	out := bytes.Clone(model[:head])
	le.LittleEndian.PutUint64(out[16:], le.LittleEndian.Uint64(out[16:])+1)
	return append(append(out, field.Bytes()...), model[head:]...)
}

// share is a server, nodes that can run a model of some megabytes, and the hub that it comes from.
type share struct {
	*nebula
	hub   *hub.Hub
	nodes []*machine
	size  int64
}

const sharedFile = "tiny-Q4_K_M.gguf"

func newShare(t *testing.T, nodes, megabytes, perSecond int) *share {
	engine := llama.Need(t)
	r := repo(t, "From one download.")
	r.Files[sharedFile] = heavy(r.Files[sharedFile], megabytes<<20)
	h := hub.Start(t, r)
	h.Break(hub.Faults{AllBytesPerSecond: perSecond << 20})
	s := &share{nebula: begin(t, "server", "--fleet-listen", port(t), "--node-id", "server1"), hub: h, size: int64(len(r.Files[sharedFile]))}
	for i := range nodes {
		s.nodes = append(s.nodes, join(t, s.nebula, "node", fmt.Sprintf("node%d", i+1), "--listen", port(t), "--llama-server", engine, "--hf-endpoint", h.URL))
	}
	s.nodesReady(nodes)
	s.must("model", "create", "acme/Tiny-GGUF", "--uid", "tiny", "--replicas", fmt.Sprint(nodes), "--start")
	return s
}

// blob returns where a node has the complete file; empty: it has it not.
func (m *machine) blob(size int64) string {
	found := ""
	_ = filepath.WalkDir(filepath.Join(m.dir, "models"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Base(filepath.Dir(path)) != "blobs" || strings.Contains(d.Name(), ".nebula.") {
			return nil // what is not there yet has no complete file
		}
		if fi, err := d.Info(); err == nil && fi.Mode().IsRegular() && fi.Size() == size {
			found = path
		}
		return nil
	})
	return found
}

// complete waits until nodes have the file, and looks into each.
func (s *share) complete(nodes ...*machine) {
	s.t.Helper()
	for _, m := range nodes {
		eventually(s.t, 120*time.Second, func() error {
			if m.blob(s.size) == "" {
				return fmt.Errorf("%s is not complete in %s; the hub has sent %d of %d bytes", sharedFile, m.dir, s.hub.Sent(), s.size)
			}
			return nil
		})
		b, err := os.ReadFile(m.blob(s.size))
		if err != nil || fmt.Sprintf("%x", sha256.Sum256(b)) != filepath.Base(m.blob(s.size)) {
			s.t.Errorf("the file of %s has another hash than its name: %v", m.dir, err)
		}
	}
}

func (s *share) sentAtMost(most int64) {
	s.t.Helper()
	if got := s.hub.Sent(); got > most {
		s.t.Errorf("the hub sent %d bytes of a model of %d, and %d were allowed", got, s.size, most)
	}
}

// holder waits until a node fetches the file from the hub, and until the hub has sent so much of it.
func (s *share) holder(sent int64) (holder *machine, others []*machine) {
	s.t.Helper()
	eventually(s.t, 60*time.Second, func() error {
		if got := s.hub.Sent(); got < sent {
			return fmt.Errorf("the hub has sent %d bytes", got)
		}
		return nil
	})
	for _, m := range s.nodes {
		if strings.Contains(m.log.String(), "this node fetches a file for the cluster") {
			holder = m
		} else {
			others = append(others, m)
		}
	}
	if holder == nil || len(others) != len(s.nodes)-1 {
		s.t.Fatalf("%d nodes fetch the file from the hub, not one", len(s.nodes)-len(others))
	}
	return holder, others
}

// TestPeers_oneDownloadForTheCluster: four nodes start one model at the same moment, and the hub sends it once.
func TestPeers_oneDownloadForTheCluster(t *testing.T) {
	s := newShare(t, 4, 48, 12)
	s.complete(s.nodes...)
	s.sentAtMost(s.size + s.size/100)
	d := s.until("tiny", 120*time.Second, api.StateRunning)
	where := map[string]bool{}
	for _, e := range d.Endpoints {
		where[e.NodeID] = true
	}
	if len(where) != 4 {
		t.Errorf("replicas on %v, not on four nodes", where)
	}
	if got, err := s.ask("tiny"); err != nil || got != "From one download." {
		t.Errorf("answer %q, %v", got, err)
	}
}

// TestPeers_holderIsKilled: the node that fetches for all is killed half way; the others finish, and fetch again only what it had not passed on.
func TestPeers_holderIsKilled(t *testing.T) {
	s := newShare(t, 4, 48, 12)
	holder, others := s.holder(s.size / 2)
	passedOn := s.passedOn(holder)
	holder.kill9()
	sent := s.hub.Sent()
	s.complete(others...)
	s.sentAtMost(s.size + s.size/20 + sent - passedOn)
}

// passedOn is the most that a node other than the holder has of the file.
func (s *share) passedOn(holder *machine) int64 {
	most := uint64(0)
	if d := s.model("tiny").DownloadProgress; d != nil {
		for _, p := range d.Replicas {
			if p.NodeID != nodeName(holder) {
				most = max(most, p.DownloadedBytes)
			}
		}
	}
	return int64(most)
}

// TestPeers_holderHangs: the node that fetches for all is paused half way; its connections stay open and nothing comes over them. The others finish
// without it, and it finishes when it goes on.
func TestPeers_holderHangs(t *testing.T) {
	s := newShare(t, 3, 48, 12)
	holder, others := s.holder(s.size / 2)
	passedOn := s.passedOn(holder)
	if err := holder.proc.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	sent := s.hub.Sent()
	s.complete(others...)
	s.sentAtMost(s.size + s.size/20 + sent - passedOn)
	if err := holder.proc.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	s.complete(holder)
}

// TestPeers_rottenFile: the disk of a node has changed a byte of a file without anybody noticing. Whoever reads it there notices, and gets the file
// from the hub.
func TestPeers_rottenFile(t *testing.T) {
	s := newShare(t, 1, 16, 0)
	s.complete(s.nodes...)
	path := s.nodes[0].blob(s.size)
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0}, s.size/2); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, time.Time{}, fi.ModTime()); err != nil {
		t.Fatal(err)
	}
	late := join(t, s.nebula, "node", "late", "--listen", port(t), "--llama-server", llama.Need(t), "--hf-endpoint", s.hub.URL)
	s.nodesReady(2)
	s.must("model", "scale", "tiny", "--replicas", "2")
	s.complete(late)
	s.sentAtMost(2*s.size + s.size/50)
	if !strings.Contains(late.log.String(), "a node has sent wrong bytes") {
		t.Error("the node did not get the rotten file at all")
	}
}

// nodeName is what the cluster calls a machine.
func nodeName(m *machine) string { return m.args[slices.Index(m.args, "--node-id")+1] }

// TestPeers_serversAreAway: the only server is killed while nodes fetch; they go on, and the hub still sends the model once.
func TestPeers_serversAreAway(t *testing.T) {
	s := newShare(t, 3, 48, 8)
	s.holder(s.size / 4)
	s.kill9()
	s.complete(s.nodes...)
	s.sentAtMost(s.size + s.size/100)
}

// TestPeers_laterNode: what one node has, the next one gets from there.
func TestPeers_laterNode(t *testing.T) {
	s := newShare(t, 1, 16, 0)
	s.complete(s.nodes...)
	late := join(t, s.nebula, "node", "late", "--listen", port(t), "--llama-server", llama.Need(t), "--hf-endpoint", s.hub.URL)
	s.nodesReady(2)
	s.must("model", "scale", "tiny", "--replicas", "2")
	s.complete(late)
	s.sentAtMost(s.size + s.size/100)
}
