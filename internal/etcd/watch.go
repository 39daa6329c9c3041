package etcd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/nebula-serve/nebula/internal/store"
)

const (
	// askEvery is how often a watch asks etcd how far it is.
	askEvery = time.Second
	// silence is how long a watch waits for an answer before it calls the connection dead.
	silence = 3 * time.Second
	// catchUp takes the place of silence while etcd reads from its disk what the watch has missed: until that is
	// complete, it says nothing.
	catchUp = 10 * time.Second
)

func silent(d time.Duration) error {
	return fmt.Errorf("watch: silent for %s: %w", d, store.ErrUnavailable)
}

// Watch implements [store.KV].
//
// It speaks etcd's watch protocol itself, one stream per call, because the library's watcher mends connections behind
// our back for as long as it takes, with goroutines that outlive the caller's context. Here a watch ends when its connection does,
// after 3 s without an answer, and when the client leaves its endpoint for a better one, and the caller decides.
func (c *Client) Watch(ctx context.Context, prefix string, revision int64, fn func(store.Batch) error) error {
	w := watch{namespace: c.namespace, after: revision, fn: fn}
	err := c.watch(ctx, prefix, &w)
	for errors.Is(err, errBehind) {
		if at, readErr := c.newest(ctx); readErr != nil {
			err = fmt.Errorf("watch: %w", readErr)
		} else if at < w.after {
			break
		} else { // the member was behind the others, and has caught up by now
			err = c.watch(ctx, prefix, &w)
		}
	}
	if ctx.Err() != nil && w.fnErr == nil {
		return ctx.Err()
	}
	return err
}

// errBehind says that the member knows less than the watch has seen already: the store's history went back, or only this member's.
var errBehind = fmt.Errorf("the store is behind: %w", store.ErrCompacted)

// newest is the store's revision by the word of a majority; the member in use has come to it then.
func (c *Client) newest(ctx context.Context) (int64, error) {
	resp, err := c.get(ctx, c.namespace+"health", clientv3.WithCountOnly())
	if err != nil {
		return 0, readError(err)
	}
	return resp.Header.Revision, nil
}

// watch runs one stream until it breaks.
func (c *Client) watch(parent context.Context, prefix string, w *watch) error {
	e := c.era.Load()
	ctx, cancel := e.bind(clientv3.WithRequireLeader(parent))
	var receiving sync.WaitGroup
	defer receiving.Wait()
	defer cancel()

	late := time.AfterFunc(silence, cancel)
	stream, err := e.watches.Watch(ctx, callOptions()...)
	if !late.Stop() {
		return silent(silence)
	}
	if err != nil {
		return fmt.Errorf("watch: %w", readError(err))
	}
	if err := stream.Send(createRequest(c.namespace+prefix, w.after)); err != nil {
		return fmt.Errorf("watch: %w", readError(err))
	}

	answers := make(chan answer)
	receiving.Go(func() { receive(ctx, stream, answers) })
	ask := time.NewTicker(askEvery)
	defer ask.Stop()
	dead := time.NewTimer(silence)
	defer dead.Stop()
	for {
		select {
		case a := <-answers:
			if a.err != nil {
				return fmt.Errorf("watch: %w", readError(a.err))
			}
			if err := w.take(a.resp); err != nil {
				return err
			}
			dead.Reset(w.patience()) // not counting the time that fn took
		case <-ask.C:
			// An error comes back through receive.
			_ = stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}})
		case <-dead.C:
			return silent(w.patience())
		case <-ctx.Done():
			if parent.Err() == nil {
				return fmt.Errorf("watch: the member at %s is left for another: %w", e.endpoint, store.ErrUnavailable)
			}
			return ctx.Err()
		}
	}
}

// createRequest asks for all changes at and after the given revision, not only after it: etcd reports no progress
// to a watch that begins in the future, and an idle store would look like a dead one. What was asked for too much
// is dropped by watch.deliver.
//
// It does not ask for fragments: etcd 3.7 cuts them in quadratic time, more than 3 s for the 18,000 events of a catch-up
// that takes 0.12 s in one piece. A connection of ours takes messages of any size.
func createRequest(prefix string, revision int64) *pb.WatchRequest {
	from, end := keyRange(prefix)
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{
		Key: []byte(from), RangeEnd: []byte(end), StartRevision: max(revision, 1),
	}}}
}

type answer struct {
	resp *pb.WatchResponse
	err  error
}

// receive passes on what comes from etcd, and one error at the end.
func receive(ctx context.Context, stream pb.Watch_WatchClient, to chan<- answer) {
	for {
		resp, err := stream.Recv()
		select {
		case to <- answer{resp, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// watch turns etcd's answers into batches. It is the part without effects but fn.
type watch struct {
	namespace string
	after     int64 // everything up to this revision has been delivered
	began     int64 // where the store was when the watch began
	fn        func(store.Batch) error
	fnErr     error
}

// patience is how long etcd may be silent now.
func (w *watch) patience() time.Duration {
	if w.after < w.began {
		return catchUp
	}
	return silence
}

// take handles one answer. Its error ends the watch.
func (w *watch) take(r *pb.WatchResponse) error {
	switch {
	case r.CompactRevision != 0:
		return fmt.Errorf("watch after revision %d, compacted up to %d: %w", w.after, r.CompactRevision, store.ErrCompacted)
	case r.Canceled:
		return fmt.Errorf("watch: canceled by etcd: %w", readError(errors.New(r.CancelReason)))
	case r.Created:
		if at := r.GetHeader().GetRevision(); at < w.after {
			return fmt.Errorf("watch after revision %d, the store is at %d: %w", w.after, at, errBehind)
		}
		w.began = r.GetHeader().GetRevision()
		return nil
	case len(r.Events) > 0:
		return w.deliver(r.Events)
	}
	if at := r.GetHeader().GetRevision(); at >= w.after {
		return w.call(store.Batch{Revision: at})
	}
	return nil
}

// deliver passes on the events of one answer, which are always those of whole transactions. Their batch leads to the
// revision of the last event and not to that of the answer's header, which runs ahead of them while etcd catches up.
func (w *watch) deliver(events []*mvccpb.Event) error {
	b := store.Batch{Revision: w.after}
	for _, ev := range events {
		if ev.Kv.ModRevision <= w.after {
			continue
		}
		b.Revision = ev.Kv.ModRevision
		b.Events = append(b.Events, event(w.namespace, ev))
	}
	if len(b.Events) == 0 {
		return nil
	}
	return w.call(b)
}

func (w *watch) call(b store.Batch) error {
	w.after = b.Revision
	w.fnErr = w.fn(b)
	return w.fnErr
}

func event(namespace string, ev *mvccpb.Event) store.Event {
	e := store.Event{
		KeyValue: store.KeyValue{Key: string(ev.Kv.Key)[len(namespace):], ModRev: ev.Kv.ModRevision},
		Deleted:  ev.Type == mvccpb.Event_DELETE,
	}
	if !e.Deleted {
		e.Value, e.Lease = ev.Kv.Value, ev.Kv.Lease
	}
	return e
}
