package registry_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

// blobHash is the nth blob of a test.
func blobHash(n int) string { return fmt.Sprintf("%064x", n+1) }

func wanted(wish api.ClaimWish, blobs ...int) []api.BlobWant {
	var out []api.BlobWant
	for _, n := range blobs {
		out = append(out, api.BlobWant{Hash: blobHash(n), Size: api.MinSharedBlob, Model: "acme/m", Claim: wish})
	}
	return out
}

// alive makes nodes members with a port that others reach.
func (s *server) alive(ids ...string) {
	s.t.Helper()
	s.join(ids...)
	for _, id := range ids {
		o := numbered(id, 1, 1)
		o.Node.APIAddr = id + ":1"
		if err := s.report(o); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *server) ask(id string, ask api.BlobsAsk) []api.BlobStanding {
	s.t.Helper()
	got, err := s.Blobs(s.t.Context(), id, ask)
	if err != nil {
		s.t.Fatal(err)
	}
	return got.Blobs
}

// mine lists which of the standings are the node's own.
func mine(all []api.BlobStanding) string {
	var out []string
	for i, b := range all {
		if b.Mine {
			out = append(out, fmt.Sprint(i))
		}
	}
	return strings.Join(out, " ")
}

func TestBlobs_oneClaimAtATimeAmongSeveralNodes(t *testing.T) {
	s := serve(t, storetest.NewMem())
	s.alive("n1")
	if got := mine(s.ask("n1", api.BlobsAsk{Want: wanted(api.ClaimNeeded, 0, 1, 2)})); got != "0 1 2" {
		t.Errorf("a node without others got %q, want all", got)
	}
	s.ask("n1", api.BlobsAsk{Drop: []string{blobHash(0), blobHash(1), blobHash(2)}})
	s.alive("n2")
	want := api.BlobsAsk{Want: wanted(api.ClaimNeeded, 0, 1, 2)}
	for i, step := range []struct{ id, mine string }{{"n1", "0"}, {"n2", "1"}, {"n1", "0 2"}, {"n2", "1"}} {
		if got := mine(s.ask(step.id, want)); got != step.mine {
			t.Errorf("ask %d: %s has %q, want %q", i, step.id, got, step.mine)
		}
	}
	got := s.ask("n2", want)
	if got[0].Holder != "n1" || len(got[0].Peers) != 1 || got[0].Peers[0].Addr != "n1:1" {
		t.Errorf("n2 is told %+v of what n1 fetches", got[0])
	}
	st, _ := s.st.Current()
	leases := map[int64]bool{}
	for c := range st.BlobClaims.All() {
		leases[c.Lease] = true
	}
	if len(leases) != 2 || leases[0] {
		t.Errorf("claims of two nodes are under the leases %v", leases)
	}
}

func TestBlobs_whoHasTheModelIsAskedFirst(t *testing.T) {
	s := serve(t, storetest.NewMem())
	s.alive("n1", "n2", "n3")
	o := numbered("n3", 1, 2)
	o.Node.APIAddr = "n3:1"
	o.Disk = &api.NodeDiskStatus{NodeID: "n3"}
	o.Cache = []api.ModelCacheEntry{{NodeID: "n3", ModelName: "acme/m", Complete: true}}
	if err := s.report(o); err != nil {
		t.Fatal(err)
	}
	got := s.ask("n1", api.BlobsAsk{Want: wanted(api.ClaimNeeded, 0)})[0]
	if got.Mine || len(got.Peers) != 1 || got.Peers[0] != (api.BlobPeer{NodeID: "n3", Addr: "n3:1", Whole: true}) {
		t.Errorf("told %+v, want to try n3", got)
	}
	if got := s.ask("n1", api.BlobsAsk{Want: wanted(api.ClaimNow, 0)})[0]; !got.Mine {
		t.Errorf("told %+v after n3 was of no use, want the claim", got)
	}
}

func TestBlobs_takenOverOnceAndEndsWithTheLease(t *testing.T) {
	kv := storetest.NewMem()
	s := serve(t, kv)
	s.alive("n1", "n2", "n3")
	s.ask("n1", api.BlobsAsk{Want: wanted(api.ClaimNeeded, 0)})
	want := wanted(api.ClaimNow, 0)
	want[0].Over = s.ask("n2", api.BlobsAsk{Want: want})[0].Claim
	if got := s.ask("n2", api.BlobsAsk{Want: want})[0]; !got.Mine {
		t.Fatalf("n2 did not take the claim over: %+v", got)
	}
	if got := s.ask("n3", api.BlobsAsk{Want: want})[0]; got.Mine || got.Holder != "n2" {
		t.Errorf("n3 took over a claim that n2 had taken over already: %+v", got)
	}
	if got := s.ask("n1", api.BlobsAsk{Want: wanted(api.ClaimNow, 0), Drop: []string{blobHash(0)}, Renew: true})[0]; got.Holder != "n2" {
		t.Errorf("n1 changed the claim of n2: %+v", got)
	}
	st, _ := s.st.Current()
	c, _ := st.BlobClaims.Get(blobHash(0))
	kv.Expire(c.Lease)
	eventually(t, func() bool { st, _ := s.st.Current(); return st.BlobClaims.Len() == 0 })
	if got := s.ask("n3", api.BlobsAsk{Want: wanted(api.ClaimNow, 0)})[0]; !got.Mine {
		t.Errorf("n3 is told %+v of a claim that ended", got)
	}
}

func TestBlobs_refusesWhoIsNoMemberAndWhatIsNoBlob(t *testing.T) {
	s := serve(t, storetest.NewMem())
	s.alive("n1", "n2")
	s.remove("n2")
	if _, err := s.Blobs(t.Context(), "n2", api.BlobsAsk{Want: wanted(api.ClaimNow, 0)}); !api.HasCode(err, api.CodeForbidden) {
		t.Errorf("a removed node: %v", err)
	}
	for name, spoil := range map[string]func(*api.BlobWant){
		"path as a hash": func(w *api.BlobWant) { w.Hash = "../../etc/passwd" },
		"upper case":     func(w *api.BlobWant) { w.Hash = strings.ToUpper(strings.Repeat("a", 64)) },
		"small":          func(w *api.BlobWant) { w.Size = 9 },
		"no model":       func(w *api.BlobWant) { w.Model = "" },
		"strange wish":   func(w *api.BlobWant) { w.Claim = "always" },
	} {
		w := wanted(api.ClaimNow, 0)
		spoil(&w[0])
		if _, err := s.Blobs(t.Context(), "n1", api.BlobsAsk{Want: w}); !api.HasCode(err, api.CodeInvalidRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var many []int
	for i := range api.MaxBlobsAsked + 1 {
		many = append(many, i)
	}
	if _, err := s.Blobs(t.Context(), "n1", api.BlobsAsk{Want: wanted(api.ClaimNow, many...)}); !api.HasCode(err, api.CodeInvalidRequest) {
		t.Errorf("too many: %v", err)
	}
	if st, _ := s.st.Current(); st.BlobClaims.Len() != 0 {
		t.Errorf("%d claims stored", st.BlobClaims.Len())
	}
}

// Whatever nodes ask of whichever server, and whatever ends, a blob never passes from one holder to another but by a take-over that
// named exactly the claim that was there.
func TestBlobs_oneHolderAtATime(t *testing.T) {
	kv := storetest.NewMem()
	servers := []*server{serve(t, kv), serve(t, kv), serve(t, kv)}
	nodes := []string{"n1", "n2", "n3", "n4", "n5"}
	servers[0].alive(nodes...)
	for _, s := range servers {
		eventually(t, func() bool { st, _ := s.st.Current(); return st.Nodes.Len() == len(nodes) })
	}
	begin := kv.Revision()
	var mu sync.Mutex
	over := map[string]bool{} // "node hash revision" of every take-over that was asked for
	var all sync.WaitGroup
	for i, id := range nodes {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(i)))
			seen := map[int]int64{}
			for range 150 {
				n := rng.IntN(4)
				ask := api.BlobsAsk{Want: wanted(api.ClaimNow, n), Renew: rng.IntN(3) == 0}
				switch rng.IntN(4) {
				case 0:
					ask.Want[0].Over = seen[n]
					mu.Lock()
					over[fmt.Sprint(id, blobHash(n), seen[n])] = true
					mu.Unlock()
				case 1:
					ask.Want, ask.Drop = nil, []string{blobHash(n)}
				}
				s := servers[rng.IntN(len(servers))]
				got, err := s.Blobs(t.Context(), id, ask)
				if err != nil && !api.HasCode(err, api.CodeConflict) {
					t.Error(err)
					return
				}
				for _, b := range got.Blobs {
					seen[n] = b.Claim
				}
				if st, _ := s.st.Current(); rng.IntN(10) == 0 {
					for c := range st.BlobClaims.All() {
						kv.Expire(c.Lease)
						break
					}
				}
			}
		})
	}
	all.Wait()

	end := kv.Revision()
	now, changes := map[string]store.KeyValue{}, 0
	done := fmt.Errorf("all seen")
	err := kv.Watch(context.Background(), "/blob_claims/", begin, func(b store.Batch) error {
		for _, e := range b.Events {
			was, held := now[e.Key]
			if e.Deleted {
				delete(now, e.Key)
				continue
			}
			var old, claim api.BlobClaim
			if err := json.Unmarshal(e.Value, &claim); err != nil {
				t.Error(err)
			}
			changes++
			if held {
				_ = json.Unmarshal(was.Value, &old) // written by the servers
				if old.NodeID != claim.NodeID && !over[fmt.Sprint(claim.NodeID, claim.Hash, was.ModRev)] {
					t.Errorf("%s took %s from %s without a word", claim.NodeID, claim.Hash, old.NodeID)
				}
			}
			now[e.Key] = e.KeyValue
		}
		if b.Revision >= end {
			return done
		}
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "all seen") || changes < 50 {
		t.Errorf("saw %d claims: %v", changes, err)
	}
	for _, s := range servers {
		eventually(t, func() bool { st, _ := s.st.Current(); return st.BlobClaims.Len() == len(now) })
		st, _ := s.st.Current()
		for c := range st.BlobClaims.All() {
			if !slices.Contains(nodes, c.Value.NodeID) || c.Lease == 0 {
				t.Errorf("claim %+v", c)
			}
		}
	}
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatal("it did not come to that within 10 s")
		}
		time.Sleep(time.Millisecond)
	}
}
