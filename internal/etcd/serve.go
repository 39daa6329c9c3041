package etcd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
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
	// QuotaBytes is the size of the database at which it takes no more writes: 4 GiB when zero.
	QuotaBytes int64
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
var kinds = map[string]error{"in_use": ErrInUse, "damaged": ErrDamaged}

// Serve runs etcd on a unix socket until ctx ends or the parent is gone, and then returns nil. It is the whole life of
// a child process that [Supervise] starts: on a full disk, or when a disk fails, etcd ends the process that it runs in.
// The only listener is a socket that this user alone can reach.
//
// The error is one sentence for people. [ErrInUse] and [ErrDamaged] are among the causes.
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
	conf := embedConfig(data, socket, orDefault(cfg.QuotaBytes, defaultQuota))
	conf.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.New(zapCore{to: cfg.Log.Handler(), level: func(e zapcore.Entry) slog.Level {
		if ending.Load() && e.Level < zapcore.DPanicLevel {
			return slog.LevelDebug // it reports its own closed listeners as errors
		}
		return serverLevel(e)
	}}))
	start := time.Now()
	e, err := embed.StartEtcd(conf)
	switch {
	case errors.Is(err, wal.ErrCRCMismatch), errors.Is(err, wal.ErrSliceOutOfRange), errors.Is(err, wal.ErrFileNotFound):
		return fmt.Errorf("%w: the log in %s: %w; restore the directory from a backup", ErrDamaged, data, err)
	case err != nil:
		return fmt.Errorf("start etcd: %w", err)
	}
	defer func() {
		ending.Store(true)
		closeEtcd(e, cfg.Log)
	}()
	select {
	case <-e.Server.ReadyNotify():
	case err := <-e.Err():
		return fmt.Errorf("etcd: %w", err)
	case <-e.Server.StopNotify():
		return errors.New("etcd ended while it started")
	case <-ctx.Done():
		return nil
	}
	cfg.Log.Debug("store is ready", "dir", cfg.Dir, "took", time.Since(start).Round(time.Millisecond).String())
	if err := tell(cfg.Report, report{Endpoint: "unix://" + socket}); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-e.Err():
		return fmt.Errorf("etcd: %w", err)
	case <-e.Server.StopNotify():
		return errors.New("etcd ended by itself")
	}
}

func embedConfig(data, socket string, quota int64) *embed.Config {
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
	conf.QuotaBackendBytes = quota
	conf.EnableGRPCGateway = false
	return conf
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
