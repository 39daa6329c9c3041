package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

var gateway1 = api.Member{Role: api.MachineGateway, ID: "g1", KeyHash: "abc"}

func join(t *testing.T, kv store.KV, m api.Member) {
	t.Helper()
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	put(t, kv, memberKey(&m), string(b))
}

func put(t *testing.T, kv store.KV, key, value string) int64 {
	t.Helper()
	res, err := kv.Txn(t.Context(), nil, []store.Op{{Key: key, Value: []byte(value)}})
	if err != nil {
		t.Fatal(err)
	}
	return res.Revision
}

func del(t *testing.T, kv store.KV, key string) {
	t.Helper()
	if _, err := kv.Txn(t.Context(), nil, []store.Op{{Key: key, Delete: true}}); err != nil {
		t.Fatal(err)
	}
}

// server is a server's feed on a real socket; it is [Servers] too.
type server struct {
	*httptest.Server
	client *http.Client
}

func serve(t *testing.T, cfg Config) *server {
	t.Helper()
	cfg.Log = slog.New(slog.DiscardHandler)
	cfg.Caller = func(*http.Request) (*api.Member, error) { m := gateway1; return &m, nil }
	s := &server{httptest.NewServer(Handler(cfg)), &http.Client{Transport: &http.Transport{}}}
	t.Cleanup(func() { s.client.CloseIdleConnections(); s.CloseClientConnections(); s.Close() })
	return s
}

func (s *server) Stream(ctx context.Context, path string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", s.URL+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != 200 {
		defer res.Body.Close()
		var e api.Envelope
		if err := json.NewDecoder(res.Body).Decode(&e); err != nil {
			return nil, fmt.Errorf("status %d: %w", res.StatusCode, err)
		}
		return nil, &e.Error
	}
	return res.Body, nil
}

// both reads through the feed and writes beside it.
type both struct {
	store.KV // writes
	feed     *KV
}

func (b both) List(ctx context.Context, prefix string) ([]store.KeyValue, int64, error) {
	all, rev, err := b.feed.List(ctx, prefix)
	return slices.DeleteFunc(all, func(kv store.KeyValue) bool { return strings.HasPrefix(kv.Key, "/members/") }), rev, err
}

func (b both) Watch(ctx context.Context, prefix string, revision int64, fn func(store.Batch) error) error {
	return b.feed.Watch(ctx, prefix, revision, fn)
}

func (b both) Compact(ctx context.Context, revision int64) error {
	return b.KV.(interface {
		Compact(context.Context, int64) error
	}).Compact(ctx, revision)
}

// The feed is as good a KV as the one behind it, for whoever reads.
func TestConformance(t *testing.T) {
	open := func(t *testing.T) store.KV {
		kv := storetest.NewMem()
		join(t, kv, gateway1)
		return both{kv, NewKV(serve(t, Config{KV: kv, Prefixes: []string{""}}))}
	}
	storetest.Conformance(t, open)
	storetest.ConformanceCompacting(t, open)
}

func TestFeed_onlyWhatRoutingNeeds(t *testing.T) {
	kv := storetest.NewMem()
	join(t, kv, gateway1)
	s := serve(t, Config{KV: kv})
	allowed := []string{"/models/m/spec", "/deployments/m", "/placements/m", "/nodes/n1/status", "/endpoints/m/0", "/cluster/info", "/members/node/n1"}
	secret := []string{"/join_tokens/x", "/leader", "/download_progress/m/0", "/keys/x", "/modelsx", "/alerts/n1/a"}
	want := append(slices.Clone(allowed), "/members/gateway/g1")
	slices.Sort(want)
	for _, key := range slices.Concat(allowed, secret) {
		put(t, kv, key, "{}")
	}
	for _, prefix := range []string{"/", ""} {
		all, _, err := NewKV(s).List(t.Context(), prefix)
		var got []string
		for _, e := range all {
			got = append(got, e.Key)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("list %q: %q, %v", prefix, got, err)
		}
	}
	if all, _, err := NewKV(s).List(t.Context(), "/join_tokens/"); len(all) != 0 || err != nil {
		t.Errorf("got %v, %v", all, err)
	}
	var got []string
	enough := errors.New("enough")
	err := NewKV(s).Watch(t.Context(), "/", 1, func(b store.Batch) error {
		for _, ev := range b.Events {
			got = append(got, ev.Key)
		}
		if slices.Contains(got, "/members/node/n1") {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || !slices.Equal(got, append([]string{"/members/gateway/g1"}, allowed...)) {
		t.Errorf("watched %q, %v", got, err)
	}
}

func TestFeed_endsWithMembership(t *testing.T) {
	for name, change := range map[string]func(*testing.T, store.KV){
		"removed":                     func(t *testing.T, kv store.KV) { del(t, kv, memberKey(&gateway1)) },
		"another joined as the same":  func(t *testing.T, kv store.KV) { m := gateway1; m.KeyHash = "other"; join(t, kv, m) },
		"the entry cannot be decoded": func(t *testing.T, kv store.KV) { put(t, kv, memberKey(&gateway1), "?") },
	} {
		t.Run(name, func(t *testing.T) {
			kv := storetest.NewMem()
			join(t, kv, gateway1)
			feed := NewKV(serve(t, Config{KV: kv}))
			started := make(chan bool)
			ended := make(chan error)
			go func() {
				once := sync.OnceFunc(func() { close(started) })
				ended <- feed.Watch(t.Context(), "/models/", 1, func(store.Batch) error { once(); return nil })
			}()
			<-started
			change(t, kv)
			if err := <-ended; !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "removed") {
				t.Errorf("the watch ended with %v", err)
			}
			_, _, err := feed.List(t.Context(), "/")
			if e, ok := api.AsError(err); !ok || e.Code != api.CodeForbidden {
				t.Errorf("a list is answered with %v", err)
			}
			if err := feed.Watch(t.Context(), "/", 1, func(store.Batch) error { return nil }); err == nil {
				t.Error("a watch begins")
			}
		})
	}
}

func TestFeed_bounds(t *testing.T) {
	kv := storetest.NewMem()
	join(t, kv, gateway1)
	closing := make(chan struct{})
	s := serve(t, Config{KV: kv, Most: 1, Closing: closing})
	body, err := s.Stream(t.Context(), Path+"?prefix=/&after=1")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := NewKV(s).List(t.Context(), "/"); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("one too many: %v", err)
	}
	for _, q := range []string{"after=x", "after=-1", "after=99999999999999999999"} {
		if _, err := s.Stream(t.Context(), Path+"?"+q); err == nil {
			t.Errorf("%s is answered", q)
		}
	}
	close(closing) // the server ends: the feed says so and does not hold it up
	b, err := io.ReadAll(body)
	if err != nil || !strings.Contains(string(b), `"end":"unavailable"`) {
		t.Errorf("got %q, %v", b, err)
	}
	body.Close()
	k := NewKV(s)
	_, txn := k.Txn(t.Context(), nil, nil)
	_, grant := k.Grant(t.Context(), 1)
	for _, err := range []error{txn, grant, k.KeepAlive(t.Context(), 1), k.Revoke(t.Context(), 1)} {
		if !errors.Is(err, ErrReadOnly) {
			t.Errorf("got %v, want ErrReadOnly", err)
		}
	}
}

// Who was removed and has joined again is a member, also for a watch that comes from before that.
func TestFeed_joinedAgain(t *testing.T) {
	kv := storetest.NewMem()
	join(t, kv, gateway1)
	_, before, err := kv.List(t.Context(), "/")
	if err != nil {
		t.Fatal(err)
	}
	del(t, kv, memberKey(&gateway1))
	join(t, kv, gateway1)
	last := put(t, kv, "/models/m/spec", "{}")
	enough := errors.New("enough")
	err = NewKV(serve(t, Config{KV: kv})).Watch(t.Context(), "/", before, func(b store.Batch) error {
		if b.Revision >= last {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Errorf("the watch ended with %v", err)
	}
}

// A server that says nothing any more is left.
type mute struct{ first string }

func (m mute) Stream(ctx context.Context, _ string) (io.ReadCloser, error) {
	r, w := io.Pipe()
	go func() {
		_, _ = io.WriteString(w, m.first)
		<-ctx.Done()
	}()
	return r, nil
}

func TestKV_silenceAndNonsense(t *testing.T) {
	for name, first := range map[string]string{"nothing": "", "half a line": `{"revision":`, "a line, then nothing": "{\"revision\":5}\n", "no JSON": "x\n"} {
		k := NewKV(mute{first})
		k.silence = 20 * time.Millisecond
		if err := k.Watch(t.Context(), "/", 1, func(store.Batch) error { return nil }); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A Store over the feed follows, through a server that goes away and another that comes.
func TestStore_overFeed(t *testing.T) {
	kv := storetest.NewMem()
	join(t, kv, gateway1)
	first := serve(t, Config{KV: kv})
	servers := &moving{at: first}
	s, err := store.Open(t.Context(), NewKV(servers), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = s.Run(ctx) })
	defer running.Wait()
	defer cancel()
	shows := func(uid string) {
		t.Helper()
		put(t, kv, "/models/"+uid+"/spec", `{"model_uid":"`+uid+`","model_name":"x"}`)
		until(t, "the model "+uid, func() bool { st, _ := s.Current(); return st.Models.Has(uid) })
	}
	shows("a")
	servers.move(serve(t, Config{KV: kv}))
	first.CloseClientConnections()
	shows("b")
	if got := s.Stats().Relists; got != 0 {
		t.Errorf("%d lists, although the other server goes on where the first was", got)
	}
}

type moving struct {
	mu sync.Mutex
	at *server
}

func (m *moving) move(to *server) { m.mu.Lock(); defer m.mu.Unlock(); m.at = to }

func (m *moving) Stream(ctx context.Context, path string) (io.ReadCloser, error) {
	m.mu.Lock()
	at := m.at
	m.mu.Unlock()
	return at.Stream(ctx, path)
}
