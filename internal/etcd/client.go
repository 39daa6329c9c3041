// Package etcd is the store's key-value interface on etcd: a client, and an embedded server that runs as a
// supervised child process. It is the only package that knows etcd. It moves bytes: it never looks into a value and
// knows no table.
package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"

	"github.com/nebula-serve/nebula/internal/store"
)

const (
	// defaultTimeout bounds one request whose context ends later.
	defaultTimeout = 5 * time.Second
	// page is how many keys one answer to a List holds at most.
	page = 1000
	// listAttempts is how often List tries to stay ahead of compactions; the last time it asks for all in one answer.
	listAttempts = 3
)

// Config says which etcd to use. Only Endpoints is required.
type Config struct {
	// Endpoints are where members listen: "unix:///run/x.sock", "http://host:2379" or "https://host:2379". The first is used while it can
	// serve: the server's own member.
	Endpoints []string
	// Members: the members are Nebula's own. The client learns from them where the others are, follows changes, and makes voters of new
	// members that have caught up.
	Members   bool
	Patient   bool        // an etcd that does not answer the first call is no error: it may come
	Namespace string      // goes before every key, so that several clusters can share one etcd; none may begin with another
	TLS       *tls.Config // for https, see [ClientTLS]
	Log       *slog.Logger
	// DialTimeout bounds the first call, RequestTimeout one request of a later call; both are 5 s when zero. A
	// context that ends earlier wins.
	DialTimeout    time.Duration
	RequestTimeout time.Duration
}

// Client is a [store.KV] on etcd. It is safe for concurrent use, and connects again by itself: while there is
// no connection, requests wait for one until their time is up.
//
// Of several endpoints it uses one at a time, and another within 1.5 s when that one is dead, silent, or without a leader: what has not
// been answered is then asked again there, except transactions that may have happened, which end with ErrAmbiguous.
type Client struct {
	namespace     string
	timeout       time.Duration
	tls           *tls.Config
	log           *slog.Logger
	followMembers bool

	closing  chan struct{} // closed by Close
	tending  sync.WaitGroup
	era      atomic.Pointer[era]
	renewals renewals

	mu    sync.Mutex
	lanes []*lane // changed by tend alone; the first is the preferred one
}

var _ store.KV = (*Client)(nil)

// Dial makes a client and a first call with it: an error means that etcd is not there, or is there without a
// leader. Close the client in the end.
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	c := &Client{
		namespace: cfg.Namespace, timeout: orDefault(cfg.RequestTimeout, defaultTimeout), tls: cfg.TLS,
		log: orDefault(cfg.Log, slog.New(slog.DiscardHandler)), followMembers: cfg.Members, closing: make(chan struct{}),
	}
	if len(cfg.Endpoints) == 0 {
		return nil, errors.New("etcd client: no endpoints")
	}
	for _, endpoint := range cfg.Endpoints {
		if err := c.addLane(endpoint, true); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	ctx, cancel := context.WithTimeout(ctx, orDefault(cfg.DialTimeout, defaultTimeout))
	defer cancel()
	c.begin(ctx)
	if err := c.answers(ctx); err != nil && !cfg.Patient {
		return nil, errors.Join(fmt.Errorf("etcd at %q does not answer: %w", cfg.Endpoints, err), c.Close())
	}
	if len(cfg.Endpoints) > 1 || cfg.Members {
		c.tending.Go(func() {
			ctx, cancel := until(context.Background(), c.closing)
			defer cancel()
			c.tend(ctx)
		})
	}
	return c, nil
}

// answers asks until there is an answer or ctx ends: a first call may have more time than one request.
func (c *Client) answers(ctx context.Context) error {
	for {
		err := c.Health(ctx)
		late := errors.Is(err, context.DeadlineExceeded) || code(err) == codes.DeadlineExceeded
		if !late || ctx.Err() != nil {
			return err
		}
	}
}

// addLane opens the way to an endpoint.
func (c *Client) addLane(endpoint string, configured bool) error {
	e, err := c.connect(endpoint)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lanes = append(c.lanes, &lane{
		endpoint: endpoint, configured: configured, etcd: e,
		watches: pb.NewWatchClient(e.ActiveConnection()), leases: pb.NewLeaseClient(e.ActiveConnection()),
	})
	return nil
}

// connect makes the library's client of one endpoint. It returns at once.
func (c *Client) connect(endpoint string) (*clientv3.Client, error) {
	cfg := clientv3.Config{
		Endpoints: []string{endpoint},
		// What the library would say aloud comes back as an error too, and is said by whoever gets that.
		Logger: zap.New(zapCore{to: c.log.Handler(), level: onlyDebug}),
		// A connection that is silent is closed after 13 s; gRPC allows no less. Watch and tend look more closely.
		DialKeepAliveTime:    10 * time.Second,
		DialKeepAliveTimeout: 3 * time.Second,
		// The library would send a transaction again after some time-outs, and then report the conflict with itself.
		MaxUnaryRetries: 1,
		DialOptions: []grpc.DialOption{
			grpc.WithChainUnaryInterceptor(noteSent),
			// Without this a client is lost for up to two minutes after a long outage.
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
				MinConnectTimeout: 2 * time.Second,
			}),
		},
	}
	if strings.HasPrefix(endpoint, "https:") {
		cfg.TLS = orDefault(c.tls, &tls.Config{MinVersion: tls.VersionTLS12})
	}
	e, err := clientv3.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("etcd client for %q: %w", endpoint, err)
	}
	return e, nil
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// Close ends all calls and watches and disconnects. It may be called once.
func (c *Client) Close() error {
	close(c.closing)
	c.tending.Wait()
	if e := c.era.Load(); e != nil {
		close(e.over)
	}
	c.renewals.wait()
	var errs []error
	for _, l := range c.allLanes() {
		if err := l.etcd.Close(); err != nil && !errors.Is(err, context.Canceled) {
			errs = append(errs, fmt.Errorf("close etcd client: %w", err))
		}
	}
	return errors.Join(errs...)
}

// Health returns nil when etcd has a leader and answers: one small read that goes through consensus.
func (c *Client) Health(ctx context.Context) error {
	if _, err := c.get(ctx, c.namespace+"health", clientv3.WithCountOnly()); err != nil {
		return fmt.Errorf("health: %w", readError(err))
	}
	return nil
}

// bound gives one request its time.
func (c *Client) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, c.timeout)
}

// callOptions are those that the library gives its own calls.
func callOptions() []grpc.CallOption {
	return []grpc.CallOption{grpc.WaitForReady(true), grpc.MaxCallRecvMsgSize(math.MaxInt32)}
}

// List implements [store.KV]. It reads pages of 1,000 keys, all as of the revision of the first.
func (c *Client) List(ctx context.Context, prefix string) ([]store.KeyValue, int64, error) {
	for attempt := 1; ; attempt++ {
		limit := int64(page)
		if attempt == listAttempts {
			limit = 0
		}
		kvs, revision, err := c.listOnce(ctx, prefix, limit)
		if err == nil {
			return kvs, revision, nil
		}
		if attempt == listAttempts || !errors.Is(err, store.ErrCompacted) {
			return nil, 0, fmt.Errorf("list %q: %w", prefix, err)
		}
	}
}

func (c *Client) listOnce(ctx context.Context, prefix string, limit int64) ([]store.KeyValue, int64, error) {
	var all []store.KeyValue
	from, end := keyRange(c.namespace + prefix)
	revision := int64(0)
	for {
		resp, err := c.get(ctx, from, clientv3.WithRange(end), clientv3.WithRev(revision), clientv3.WithLimit(limit))
		if err != nil {
			return nil, 0, readError(err)
		}
		if revision == 0 {
			revision = resp.Header.Revision
		}
		for _, kv := range resp.Kvs {
			all = append(all, store.KeyValue{
				Key: string(kv.Key)[len(c.namespace):], Value: kv.Value, ModRev: kv.ModRevision, Lease: kv.Lease,
			})
		}
		if !resp.More || len(resp.Kvs) == 0 {
			return all, revision, nil
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}

func (c *Client) get(ctx context.Context, key string, opts ...clientv3.OpOption) (resp *clientv3.GetResponse, err error) {
	err = c.call(ctx, func(ctx context.Context, l *lane) (err error) {
		resp, err = l.etcd.Get(ctx, key, opts...)
		return err
	})
	return resp, err
}

// keyRange returns the half-open range of all keys that start with prefix, as etcd wants it.
func keyRange(prefix string) (from, end string) {
	if prefix == "" {
		return "\x00", "\x00"
	}
	return prefix, clientv3.GetPrefixRangeEnd(prefix)
}

// Txn implements [store.KV].
func (c *Client) Txn(ctx context.Context, ifs []store.Cond, ops []store.Op) (store.TxnResult, error) {
	if err := store.CheckTxn(ifs, ops); err != nil {
		return store.TxnResult{}, err
	}
	conds := make([]clientv3.Cmp, len(ifs))
	for i, cond := range ifs {
		what := clientv3.ModRevision(c.namespace + cond.Key)
		if cond.Create {
			what = clientv3.CreateRevision(c.namespace + cond.Key)
		}
		conds[i] = clientv3.Compare(what, "=", cond.ModRev)
	}
	writes := make([]clientv3.Op, len(ops))
	for i, op := range ops {
		key := c.namespace + op.Key
		if op.Delete {
			writes[i] = clientv3.OpDelete(key)
		} else {
			writes[i] = clientv3.OpPut(key, string(op.Value), clientv3.WithLease(clientv3.LeaseID(op.Lease)))
		}
	}
	var resp *clientv3.TxnResponse
	sent := new(bool)
	err := c.call(ctx, func(ctx context.Context, l *lane) (err error) {
		if *sent {
			return errLeft
		}
		ctx, sent = watchSending(ctx)
		resp, err = l.etcd.Txn(ctx).If(conds...).Then(writes...).Commit()
		return err
	})
	if err != nil {
		return store.TxnResult{}, fmt.Errorf("transaction: %w", txnError(err, *sent))
	}
	return store.TxnResult{OK: resp.Succeeded, Revision: resp.Header.Revision}, nil
}

// errLeft ends a transaction that was under way when the client went on to another endpoint.
var errLeft = errors.New("the member that it was sent to does not answer")
