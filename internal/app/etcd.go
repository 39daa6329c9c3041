package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/renameio/v2"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/etcd"
	"github.com/nebula-serve/nebula/internal/store"
)

// firstAnswer is how long a server waits for the store before it begins with what it knew last, if it knew anything.
const firstAnswer = 5 * time.Second

// startStore starts the embedded etcd as a child of ours, because etcd ends its process when the disk is full, and connects to it; or it connects
// to an etcd that somebody else runs.
func (s *server) startStore(ctx context.Context) (*etcd.Client, error) {
	cfg := etcd.Config{Log: s.o.Log.With("component", "etcd-client"), Patient: s.cred != nil, DialTimeout: firstAnswer}
	var err error
	if ext := s.o.Serving.External; len(ext.Endpoints) > 0 {
		cfg.Endpoints = ext.Endpoints
		if ext.CA != "" {
			if cfg.TLS, err = etcd.ClientTLS(ext.CA, ext.Cert, ext.Key); err != nil {
				return nil, api.Errorf(api.CodeInvalidRequest, "the certificates for your etcd cannot be used: %v", err)
			}
		}
	} else if err := s.superviseStore(ctx, &cfg); err != nil {
		return nil, err
	}
	kv, err := etcd.Dial(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to the store: %w", err)
	}
	s.life.onStop("etcd client", func(context.Context) error { return kv.Close() })
	s.life.goRun("store space", func(ctx context.Context) error { return kv.WatchSpace(ctx, s.o.Log.With("component", "store")) })
	if cfg.Members {
		s.life.goRun("store members", func(ctx context.Context) error { return s.noteMembers(ctx, kv) })
	}
	return kv, nil
}

func (s *server) superviseStore(ctx context.Context, cfg *etcd.Config) error {
	dir := filepath.Join(s.o.DataDir, "etcd")
	sc := etcd.SuperviseConfig{
		Command: []string{s.o.Exe, etcdCommand, dir}, Dir: dir, QuotaBytes: s.o.Serving.QuotaBytes,
		Release: etcd.Held{Key: store.LeaderKey(schedulerOffice), Value: s.o.NodeID}, Log: s.o.Log.With("component", "etcd"),
	}
	if s.o.Serving.ClusterInit || s.o.Serving.Join {
		member, err := s.memberConfig()
		if err != nil {
			return err
		}
		host, _, _ := net.SplitHostPort(s.o.Serving.EtcdListen) // memberConfig has looked at it
		files, err := s.keys.store(s.o, append([]string{host}, s.hosts...))
		if err != nil {
			return fmt.Errorf("certificate for the store: %w", err)
		}
		member.CAFile, member.CertFile, member.KeyFile = files.ca, files.cert, files.key
		member.Init, member.Initial = s.o.Serving.ClusterInit, initialMembers(s.o)
		sc.Cluster = member
		if cfg.TLS, err = etcd.ClientTLS(files.ca, files.cert, files.key); err != nil {
			return err
		}
		cfg.Members = true
	}
	sup, err := etcd.Supervise(ctx, sc)
	if err != nil {
		return fmt.Errorf("start the store: %w%s", err, diskHint(s.o.DataDir))
	}
	s.life.onStop("etcd", func(context.Context) error { sup.Stop(); return nil })
	cfg.Endpoints = []string{sup.Endpoint()}
	if cfg.Members {
		cfg.Endpoints = append(cfg.Endpoints, s.notedMembers()...)
	}
	return nil
}

// initialFile holds what a member that joins needs for its first start, which may be cut off and come again. Once the member serves it goes:
// one that has lost its data must not begin anew under its old name, with votes that it has forgotten.
const initialFile = "store-initial"

func initialMembers(o Options) string {
	b, err := os.ReadFile(filepath.Join(o.DataDir, initialFile))
	if err != nil || !o.Serving.Join {
		return "" // it did not join
	}
	return string(b)
}

func forgetInitial(o Options) error {
	err := os.Remove(filepath.Join(o.DataDir, initialFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the store's first members: %w", err)
	}
	return nil
}

// membersFile holds the addresses of the store's other members, for a start at which this server's own member is of no use.
const membersFile = "store-members"

// membersEvery is how often they are looked at.
const membersEvery = 30 * time.Second

// noteMembers keeps the file up to date until ctx ends.
func (s *server) noteMembers(ctx context.Context, kv *etcd.Client) error {
	noted := s.notedMembers()
	tick := time.NewTicker(membersEvery)
	defer tick.Stop()
	for {
		var others []string
		members, err := kv.Members(ctx)
		for _, m := range members {
			if m.Name != s.o.NodeID {
				others = append(others, m.ClientURLs...)
			}
		}
		if err == nil && !slices.Equal(others, noted) {
			path := filepath.Join(s.o.DataDir, membersFile)
			if err := renameio.WriteFile(path, []byte(strings.Join(others, "\n")), 0o600); err != nil {
				s.o.Log.Warn("the addresses of the store's other members are not noted", "error", err)
			}
			noted = others
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (s *server) notedMembers() []string {
	b, err := os.ReadFile(filepath.Join(s.o.DataDir, membersFile))
	if err != nil {
		return nil // none noted yet
	}
	return strings.Fields(string(b))
}

// etcdPort is where etcd's members look for each other; their clients use the port below.
const etcdPort = 2380

// memberConfig is this server's place among the store's members, but for the certificates.
func (s *server) memberConfig() (*etcd.ClusterConfig, error) {
	if s.fleet == nil {
		return nil, api.Errorf(api.CodeInvalidRequest, "several servers must reach each other: give --fleet-listen")
	}
	reached, _, err := net.SplitHostPort(s.info.FleetAddr)
	if err != nil {
		return nil, fmt.Errorf("own address: %w", err)
	}
	host, port := reached, etcdPort
	if listen := s.o.Serving.EtcdListen; listen != "" {
		h, p, err := net.SplitHostPort(listen)
		if err == nil {
			host = h
			port, err = strconv.Atoi(p)
		}
		if err != nil || port < 2 || port > 65535 {
			return nil, api.Errorf(api.CodeInvalidRequest, "--etcd-listen %q is not HOST:PORT, for example 10.0.0.1:2380", listen)
		}
	}
	at := func(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
	return &etcd.ClusterConfig{
		Name: s.o.NodeID, PeerListen: at(host, port), PeerURL: "https://" + at(reached, port),
		ClientListen: at(host, port-1), ClientURL: "https://" + at(reached, port-1),
	}, nil
}

// storeNeeds is what etcd takes of a disk before it can start: it lays out its log ahead, 64 MiB a file.
const storeNeeds = 150 << 20

// diskHint says that the disk is full, when it is.
func diskHint(dir string) string {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return ""
	}
	free := fs.Bavail * uint64(fs.Bsize)
	if free >= storeNeeds {
		return ""
	}
	return fmt.Sprintf("; the disk of %s has %d MiB free, and the store needs %d: free some, or choose another --data-dir", dir, free>>20, storeNeeds>>20)
}
