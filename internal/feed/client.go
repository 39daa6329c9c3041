package feed

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"time"

	"github.com/nebula-serve/nebula/internal/store"
)

// Servers opens a long answer of one of the servers, and the next one at another when this one has broken.
type Servers interface {
	Stream(ctx context.Context, path string) (io.ReadCloser, error)
}

// KV is a [store.KV] that reads from the servers. It writes nothing.
type KV struct {
	servers Servers
	silence time.Duration
}

// silence is how long a watch waits for a sign of life. One comes about every second. Before a list comes, the server reads it whole.
const (
	silence     = 4 * time.Second
	listSilence = 20 * time.Second
)

// NewKV returns a KV over the servers.
func NewKV(s Servers) *KV { return &KV{s, silence} }

// ErrReadOnly is the error of everything that would write.
var ErrReadOnly = errors.New("a gateway writes nothing to the store")

// List implements [store.KV].
func (k *KV) List(ctx context.Context, prefix string) (all []store.KeyValue, revision int64, err error) {
	done := errors.New("done")
	err = k.read(ctx, Path+"?"+url.Values{"prefix": {prefix}}.Encode(), listSilence, func(l line) error {
		for _, kv := range l.KVs {
			all = append(all, kv.stored())
		}
		if l.End == listed {
			revision = l.Revision
			return done
		}
		return nil
	})
	if !errors.Is(err, done) {
		return nil, 0, fmt.Errorf("list %q: %w", prefix, err)
	}
	return all, revision, nil
}

// Watch implements [store.KV].
func (k *KV) Watch(ctx context.Context, prefix string, revision int64, fn func(store.Batch) error) error {
	at := url.Values{"prefix": {prefix}, "after": {strconv.FormatInt(revision, 10)}}
	return k.read(ctx, Path+"?"+at.Encode(), k.silence, func(l line) error {
		b := store.Batch{Revision: l.Revision}
		for _, ev := range l.Events {
			b.Events = append(b.Events, store.Event{KeyValue: ev.stored(), Deleted: ev.Deleted})
		}
		return fn(b)
	})
}

// longest bounds one line: a transaction is at most [store.MaxTxnBytes], but a watch that comes late gets many in one.
const longest = 256 << 20

// read hands the lines of one answer to fn until fn returns an error, which is returned as it is, the answer ends, ctx does, or nothing
// has come for too long.
func (k *KV) read(ctx context.Context, path string, patience time.Duration, fn func(line) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	quiet := time.AfterFunc(patience, func() { cancel(fmt.Errorf("feed: silent for %s: %w", patience, store.ErrUnavailable)) })
	defer quiet.Stop()
	body, err := k.servers.Stream(ctx, path)
	if err != nil {
		return broken(ctx, err)
	}
	defer func() { _ = body.Close() }()
	defer context.AfterFunc(ctx, func() { _ = body.Close() })() // also a body that does not know the context
	in := bufio.NewReaderSize(&awake{body, quiet, patience}, 64<<10)
	for {
		b, err := readLine(in)
		if err != nil {
			return broken(ctx, err)
		}
		if len(b) <= 1 {
			continue
		}
		var l line
		if err := json.Unmarshal(b, &l); err != nil {
			return fmt.Errorf("line of the feed: %w", errors.Join(err, store.ErrUnavailable))
		}
		switch l.End {
		case "", listed:
		case compacted:
			return fmt.Errorf("watch: %s: %w", l.Message, store.ErrCompacted)
		default:
			return fmt.Errorf("feed ended (%s): %s: %w", l.End, l.Message, store.ErrUnavailable)
		}
		quiet.Stop() // fn takes the time it takes
		if err := fn(l); err != nil {
			return err
		}
		quiet.Reset(patience)
		if err := ctx.Err(); err != nil {
			return broken(ctx, err)
		}
	}
}

// broken says why an answer is over.
func broken(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return fmt.Errorf("feed: %w: %w", store.ErrUnavailable, err)
}

// readLine returns one whole line.
func readLine(in *bufio.Reader) ([]byte, error) {
	var all []byte
	for {
		part, err := in.ReadSlice('\n')
		if err == nil && all == nil {
			return part, nil
		}
		all = append(all, part...)
		if err == nil {
			return all, nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		if len(all) > longest {
			return nil, fmt.Errorf("a line is longer than %d bytes", longest)
		}
	}
}

// awake puts off a timer with every byte that comes.
type awake struct {
	from     io.Reader
	timer    *time.Timer
	patience time.Duration
}

func (a *awake) Read(b []byte) (int, error) {
	n, err := a.from.Read(b)
	if n > 0 {
		a.timer.Reset(a.patience)
	}
	return n, err
}

// Txn implements [store.KV]: it refuses.
func (k *KV) Txn(context.Context, []store.Cond, []store.Op) (store.TxnResult, error) {
	return store.TxnResult{}, ErrReadOnly
}

// Grant implements [store.Leases]: it refuses.
func (k *KV) Grant(context.Context, int64) (int64, error) { return 0, ErrReadOnly }

// KeepAlive implements [store.Leases]: it refuses.
func (k *KV) KeepAlive(context.Context, int64) error { return ErrReadOnly }

// Revoke implements [store.Leases]: it refuses.
func (k *KV) Revoke(context.Context, int64) error { return ErrReadOnly }
