package etcd

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	// memberName is the name of the only member; it is stored in the data.
	memberName = "nebula"
	// peerURL is where other members would find this one: nowhere, it has no peer listener. etcd wants an address.
	peerURL = "unix://" + memberName
	// defaultQuota is the size at which etcd takes no more writes.
	defaultQuota = 4 << 30
	// defaultLockWait is how long a new process waits for one that is ending.
	defaultLockWait = 10 * time.Second
	// closeTime bounds the graceful end: open watches of clients hold it up, and a kill loses nothing either.
	closeTime = 3 * time.Second
)

// ServeConfig says what Serve works on. Only Dir is required.
type ServeConfig struct {
	// Dir is the store directory. Everything lies below it; it is made with mode 0700.
	Dir string
	// QuotaBytes is the size of the database at which it takes no more writes: 4 GiB when zero. Cluster makes the server a member of a
	// cluster. When neither is given, both come from the file that [Supervise] has left in Dir.
	QuotaBytes int64
	Cluster    *ClusterConfig
	// Release is deleted when the parent is gone. Like Cluster it comes from the file when it is not given.
	Release Held
	// Parent is read until its end, which means that the parent process is gone, by whatever death. A child process
	// passes os.Stdin. Nil: there is no parent.
	Parent io.Reader
	// Report is where Serve tells the parent that it is ready, or why it ended. A child process passes os.Stdout and
	// writes nothing else there. Nil: nobody wants to know.
	Report io.Writer
	Log    *slog.Logger
	// LockWait is how long to wait for the directory while the process that holds it is ending: 10 s when zero.
	LockWait time.Duration
}

// report is one line of what a child tells its parent.
type report struct {
	Endpoint string `json:"endpoint,omitempty"` // ready, and listening here
	Error    string `json:"error,omitempty"`    // ended, because of this
	Kind     string `json:"kind,omitempty"`     // which of kinds the error is
}

// kinds are the errors that keep their identity on the way to the parent.
var kinds = map[string]error{"in_use": ErrInUse, "damaged": ErrDamaged, "removed": ErrRemoved}

// ErrRemoved says that the other members have removed this one for good.
var ErrRemoved = errors.New("this member was removed from the store's cluster")

// Serve runs etcd on a unix socket until ctx ends or the parent is gone, and then returns nil. It is the whole life of
// a child process that [Supervise] starts: on a full disk, or when a disk fails, etcd ends the process that it runs in.
// The only listener is a socket that this user alone can reach, and, in a cluster, the two of [ClusterConfig]. A single member is
// ready when it serves, a member of a cluster when it listens: it serves when most of the others are there.
//
// The error is one sentence for people. [ErrInUse], [ErrDamaged] and [ErrRemoved] are among the causes.
func Serve(ctx context.Context, cfg ServeConfig) error {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Parent != nil {
		// Log lines for a parent that is gone must not kill this process before it has closed its files.
		broken := make(chan os.Signal, 1)
		signal.Notify(broken, syscall.SIGPIPE)
		defer signal.Stop(broken)
	}
	err := serve(ctx, cfg)
	if err != nil {
		r := report{Error: err.Error()}
		for kind, is := range kinds {
			if errors.Is(err, is) {
				r.Kind = kind
			}
		}
		err = errors.Join(err, tell(cfg.Report, r))
	}
	return err
}

func tell(to io.Writer, r report) error {
	if to == nil {
		return nil
	}
	if err := json.NewEncoder(to).Encode(r); err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, io.ErrClosedPipe) {
		return fmt.Errorf("report to the parent: %w", err)
	}
	return nil
}

func serve(ctx context.Context, cfg ServeConfig) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if cfg.Parent != nil {
		go func() { // ends with its parent, or with the process: a read cannot be interrupted
			_, _ = io.Copy(io.Discard, cfg.Parent)
			cancel()
		}()
	}
	if err := prepare(cfg.Dir); err != nil {
		return err
	}
	socket, err := SocketPath(cfg.Dir)
	if err != nil {
		return err
	}
	lock, err := lockDir(ctx, cfg.Dir, orDefault(cfg.LockWait, defaultLockWait))
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer func() { _ = lock.Close() }()
	if cfg.Cluster == nil && cfg.QuotaBytes == 0 {
		s, err := readSetup(cfg.Dir)
		if err != nil {
			return err
		}
		cfg.Cluster, cfg.QuotaBytes, cfg.Release = s.Cluster, s.QuotaBytes, s.Release
	}
	data := filepath.Join(cfg.Dir, "data")
	if err := checkData(data, checkBudget); err != nil {
		return err
	}
	return run(ctx, cfg, data, socket)
}

func prepare(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the store directory: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("make the store directory private: %w", err)
	}
	return nil
}

// run is the life of the server proper.
func run(ctx context.Context, cfg ServeConfig, data, socket string) error {
	var ending atomic.Bool
	conf, err := embedConfig(cfg, data, socket)
	if err != nil {
		return err
	}
	conf.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.New(zapCore{to: cfg.Log.Handler(), level: func(e zapcore.Entry) slog.Level {
		if ending.Load() && e.Level < zapcore.DPanicLevel {
			return slog.LevelDebug // it reports its own closed listeners as errors
		}
		return serverLevel(e)
	}}))
	start := time.Now()
	e, err := embed.StartEtcd(conf)
	if err != nil {
		return startError(err, data)
	}
	defer func() {
		ending.Store(true)
		closeEtcd(e, cfg.Log)
	}()
	if cfg.Cluster != nil { // alone it cannot serve, and whoever waits for it here would never use the other members
		if err := tell(cfg.Report, report{Endpoint: "unix://" + socket}); err != nil {
			return err
		}
	}
	select {
	case <-e.Server.ReadyNotify():
	case err := <-e.Err():
		return fmt.Errorf("etcd: %w", err)
	case <-e.Server.StopNotify():
		return stopped(e, "etcd ended while it started")
	case <-ctx.Done():
		return nil
	}
	cfg.Log.Debug("store is ready", "dir", cfg.Dir, "took", time.Since(start).Round(time.Millisecond).String())
	if cfg.Cluster == nil {
		if err := tell(cfg.Report, report{Endpoint: "unix://" + socket}); err != nil {
			return err
		}
	} else {
		ctx, cancel := context.WithCancel(ctx)
		var moving sync.WaitGroup
		defer moving.Wait()
		defer cancel()
		moving.Go(func() { tellPeerURL(ctx, e.Server, cfg.Cluster.PeerURL, cfg.Log) })
	}
	select {
	case <-ctx.Done():
		if cfg.Release != (Held{}) {
			release(e.Server, cfg.Release, cfg.Log)
		}
		return nil
	case err := <-e.Err():
		return fmt.Errorf("etcd: %w", err)
	case <-e.Server.StopNotify():
		return stopped(e, "etcd ended by itself")
	}
}

func startError(err error, data string) error {
	if errors.Is(err, wal.ErrCRCMismatch) || errors.Is(err, wal.ErrSliceOutOfRange) || errors.Is(err, wal.ErrFileNotFound) {
		return fmt.Errorf("%w: the log in %s: %w; %s", ErrDamaged, data, err, restoreHint)
	}
	return fmt.Errorf("start etcd: %w", err)
}

// stopped says why etcd has ended without being told to.
func stopped(e *embed.Etcd, otherwise string) error {
	if c, ok := e.Server.Cluster().(*membership.RaftCluster); ok && c.IsIDRemoved(e.Server.MemberID()) {
		return fmt.Errorf("%w: to take it in again, move the data directory away and join as a new server", ErrRemoved)
	}
	return errors.New(otherwise)
}

// peerURLPause is the time between two tries to tell the other members where this one is.
const peerURLPause = time.Second

// tellPeerURL makes the member list say where this member is, until that is done. It says something else after a change of
// configuration, and when the member began alone on a socket.
func tellPeerURL(ctx context.Context, s *etcdserver.EtcdServer, peerURL string, log *slog.Logger) {
	for {
		me := s.Cluster().Member(s.MemberID())
		if me == nil || slices.Equal(me.PeerURLs, []string{peerURL}) {
			return
		}
		attributes := membership.RaftAttributes{PeerURLs: []string{peerURL}, IsLearner: me.IsLearner}
		try, cancel := context.WithTimeout(ctx, defaultTimeout)
		_, err := s.UpdateMember(try, membership.Member{ID: me.ID, RaftAttributes: attributes})
		cancel()
		if err == nil {
			log.Info("told the other members this member's address", "was", me.PeerURLs, "is", peerURL)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(peerURLPause):
		}
	}
}

// Held is a key with the value that it has while the parent holds what it stands for.
type Held struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// releaseTime bounds the release: without a majority it cannot be done, and the key's lease does it later.
const releaseTime = time.Second

// release deletes what a parent held that is gone: nobody has to wait until its lease runs out, which begins anew, besides, when this very
// member led the others. A key that somebody else holds by now has another value and stays.
func release(server *etcdserver.EtcdServer, held Held, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), releaseTime)
	defer cancel()
	key := []byte(held.Key)
	_, err := server.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{{
			Key: key, Target: pb.Compare_VALUE, Result: pb.Compare_EQUAL, TargetUnion: &pb.Compare_Value{Value: []byte(held.Value)},
		}},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: key}}}},
	})
	if err != nil {
		log.Debug("what the parent held is left to its lease", "key", held.Key, "error", err)
	}
}

// embedConfig is etcd's configuration for the directory.
func embedConfig(cfg ServeConfig, data, socket string) (*embed.Config, error) {
	client := url.URL{Scheme: "unix", Path: socket}
	conf := embed.NewConfig()
	conf.Name = memberName
	conf.Dir = data
	conf.ListenClientUrls = []url.URL{client}
	conf.AdvertiseClientUrls = []url.URL{client}
	// etcd would listen for peers on an abstract socket, which every user of the machine can reach. There are none.
	conf.ListenPeerUrls = nil
	conf.AdvertisePeerUrls = []url.URL{{Scheme: "unix", Host: memberName}}
	conf.InitialCluster = memberName + "=" + peerURL
	conf.AutoCompactionMode = embed.CompactorModePeriodic
	conf.AutoCompactionRetention = "1h"
	conf.QuotaBackendBytes = orDefault(cfg.QuotaBytes, defaultQuota)
	conf.EnableGRPCGateway = false
	if cfg.Cluster == nil {
		return conf, nil
	}
	if err := cfg.Cluster.check(); err != nil {
		return nil, err
	}
	return conf, joinCluster(conf, cfg.Cluster, data)
}

// joinCluster adds what a member of a cluster has more than a single one.
func joinCluster(conf *embed.Config, c *ClusterConfig, data string) error {
	peer, err1 := url.Parse(c.PeerURL)
	client, err2 := url.Parse(c.ClientURL)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	conf.Name = c.Name
	conf.ListenPeerUrls = []url.URL{{Scheme: "https", Host: c.PeerListen}}
	conf.AdvertisePeerUrls = []url.URL{*peer}
	conf.ListenClientUrls = append(conf.ListenClientUrls, url.URL{Scheme: "https", Host: c.ClientListen})
	conf.AdvertiseClientUrls = []url.URL{*client}
	conf.TlsMinVersion = "TLS1.3"
	conf.PeerTLSInfo = transport.TLSInfo{
		TrustedCAFile: c.CAFile, CertFile: c.CertFile, KeyFile: c.KeyFile, ClientCertAuth: true,
		// Whoever holds a certificate of this authority is a server; from which address it calls proves nothing, behind a NAT less than that.
		SkipClientSANVerify: true,
	}
	conf.ClientTLSInfo = conf.PeerTLSInfo
	// Two clusters that began on the same addresses must not take each other for one.
	conf.InitialClusterToken = "nebula-" + rand.Text()
	switch {
	case wal.Exist(filepath.Join(data, "member", "wal")):
		conf.InitialCluster = c.Name + "=" + c.PeerURL // not used
	case c.Initial != "":
		conf.InitialCluster, conf.ClusterState = c.Initial, embed.ClusterStateFlagExisting
	case c.Init:
		conf.InitialCluster = c.Name + "=" + c.PeerURL
	default:
		return fmt.Errorf("there is no data in %s: remove this server from the cluster and join it again as a new one", data)
	}
	return nil
}

// closeEtcd ends the server in an orderly way if that takes no longer than closeTime. After it the process ends,
// which is safe at any time.
func closeEtcd(e *embed.Etcd, log *slog.Logger) {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		e.Close()
	}()
	select {
	case <-closed:
	case <-time.After(closeTime):
		log.Warn("store has open connections, ending without waiting for them")
	}
}
