package etcd

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/nebula-serve/nebula/internal/store"
)

func header(rev int64) *pb.ResponseHeader { return &pb.ResponseHeader{Revision: rev} }

func change(key string, rev int64) *mvccpb.Event {
	return &mvccpb.Event{Kv: &mvccpb.KeyValue{Key: []byte(key), Value: []byte("v"), ModRevision: rev}}
}

func wantEvent(key string, rev int64) store.Event {
	return store.Event{KeyValue: store.KeyValue{Key: key, Value: []byte("v"), ModRev: rev}}
}

// TestWatch_take feeds answers of etcd to a watch that has seen everything up to revision 10.
func TestWatch_take(t *testing.T) {
	for _, c := range []struct {
		name    string
		answers []*pb.WatchResponse
		want    []store.Batch
		err     error
	}{
		{
			name:    "events lead to their own revision, not to the header's",
			answers: []*pb.WatchResponse{{Header: header(99), Events: []*mvccpb.Event{change("n/a", 11), change("n/b", 12)}}},
			want:    []store.Batch{{Revision: 12, Events: []store.Event{wantEvent("a", 11), wantEvent("b", 12)}}},
		}, {
			name:    "what has been seen is dropped",
			answers: []*pb.WatchResponse{{Header: header(11), Events: []*mvccpb.Event{change("n/a", 10), change("n/b", 11)}}},
			want:    []store.Batch{{Revision: 11, Events: []store.Event{wantEvent("b", 11)}}},
		}, {
			name:    "an answer with nothing new is no batch",
			answers: []*pb.WatchResponse{{Header: header(10), Events: []*mvccpb.Event{change("n/a", 10)}}},
		}, {
			name: "progress moves the revision, never back",
			answers: []*pb.WatchResponse{
				{Header: header(10), Created: true}, {Header: header(10)}, {Header: header(15)}, {Header: header(14)},
			},
			want: []store.Batch{{Revision: 10}, {Revision: 15}},
		}, {
			name: "a deletion has no value",
			answers: []*pb.WatchResponse{{Events: []*mvccpb.Event{
				{Type: mvccpb.Event_DELETE, Kv: &mvccpb.KeyValue{Key: []byte("n/a"), ModRevision: 11}},
			}}},
			want: []store.Batch{{Revision: 11, Events: []store.Event{{KeyValue: store.KeyValue{Key: "a", ModRev: 11}, Deleted: true}}}},
		}, {
			name:    "compacted",
			answers: []*pb.WatchResponse{{Header: header(50), Canceled: true, CompactRevision: 40}},
			err:     store.ErrCompacted,
		}, {
			name:    "a store that went back",
			answers: []*pb.WatchResponse{{Header: header(9), Created: true}},
			err:     store.ErrCompacted,
		}, {
			name:    "canceled",
			answers: []*pb.WatchResponse{{Header: header(10), Created: true, Canceled: true, CancelReason: "etcdserver: permission denied"}},
			err:     errAny,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []store.Batch
			w := watch{namespace: "n/", after: 10, fn: func(b store.Batch) error {
				got = append(got, b)
				return nil
			}}
			var err error
			for _, r := range c.answers {
				if err = w.take(r); err != nil {
					break
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("batches (-want +got):\n%s", diff)
			}
			if !errors.Is(err, c.err) && (!errors.Is(c.err, errAny) || err == nil) {
				t.Errorf("got %v, want %v", err, c.err)
			}
		})
	}
}

var errAny = errors.New("any error")

// TestWatch_patience: a watch that has missed something waits longer until it has that.
func TestWatch_patience(t *testing.T) {
	w := watch{after: 10, fn: func(store.Batch) error { return nil }}
	for i, c := range []struct {
		answer *pb.WatchResponse
		want   time.Duration
	}{
		{&pb.WatchResponse{Header: header(12), Created: true}, catchUp},
		{&pb.WatchResponse{Header: header(12), Events: []*mvccpb.Event{change("a", 11)}}, catchUp},
		{&pb.WatchResponse{Header: header(12)}, silence},
		{&pb.WatchResponse{Header: header(13), Events: []*mvccpb.Event{change("a", 13)}}, silence},
	} {
		if err := w.take(c.answer); err != nil || w.patience() != c.want {
			t.Errorf("after answer %d: %s, %v, want %s", i, w.patience(), err, c.want)
		}
	}
}

func TestWatch_takeReturnsErrorOfFn(t *testing.T) {
	full := errors.New("full")
	w := watch{after: 10, fn: func(store.Batch) error { return full }}
	if err := w.take(&pb.WatchResponse{Events: []*mvccpb.Event{change("a", 11)}}); !errors.Is(err, full) || !errors.Is(w.fnErr, full) {
		t.Errorf("got %v", err)
	}
}

func TestKeyRange(t *testing.T) {
	for _, c := range []struct{ prefix, from, end string }{
		{"", "\x00", "\x00"},
		{"/a/", "/a/", "/a0"},
		{"/a\xff", "/a\xff", "/b"},
		{"\xff", "\xff", "\x00"},
	} {
		if from, end := keyRange(c.prefix); from != c.from || end != c.end {
			t.Errorf("%q: got %q to %q", c.prefix, from, end)
		}
	}
	if strings.Compare("/a/\xff", "/a0") >= 0 {
		t.Error("the end of a range is not after its keys")
	}
}
