package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/nebula-serve/nebula/internal/etcd"
	"github.com/nebula-serve/nebula/internal/store"
)

// serverArg makes this program one server: the parent of a member, and the member's client.
const serverArg = "-server-of"

// job is what a server is told.
type job struct {
	Nebula  string
	Dir     string
	Cluster etcd.ClusterConfig
}

// Writes begin at a fixed pace, whether or not those before have ended: so a gap is one of the store, and not of one request.
const (
	writeEvery = 25 * time.Millisecond
	writeTime  = 2 * time.Second
)

// server runs a member until standard input ends. It prints a line for each fact: "pid PID", "ack NANOS KEY", "word NANOS".
func server(text string) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	sup, err := etcd.Supervise(ctx, etcd.SuperviseConfig{Command: []string{j.Nebula, "__etcd", j.Dir}, Dir: j.Dir, Cluster: &j.Cluster})
	if err != nil {
		return err
	}
	defer sup.Stop()
	tls, err := etcd.ClientTLS(j.Cluster.CAFile, j.Cluster.CertFile, j.Cluster.KeyFile)
	if err != nil {
		return err
	}
	kv, err := etcd.Dial(ctx, etcd.Config{Endpoints: append([]string{sup.Endpoint()}, others(j.Cluster)...), Members: true, TLS: tls, DialTimeout: patience})
	if err != nil {
		return err
	}
	defer func() { _ = kv.Close() }()
	var out printer
	var working sync.WaitGroup
	defer working.Wait()
	working.Go(func() { watch(ctx, kv, &out) })
	tick := time.NewTicker(writeEvery)
	defer tick.Stop()
	for n, pid := 0, 0; ; n++ {
		if now := sup.PID(); now != pid {
			pid = now
			out.say("pid %d", pid)
		}
		key := fmt.Sprintf("/gap/%s/%d", j.Cluster.Name, n)
		working.Go(func() { write(ctx, kv, key, &out) })
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// others finds the clients' addresses of those that were there before, which here differ from the peers' in the port.
func others(c etcd.ClusterConfig) []string {
	if c.Initial == "" {
		return nil
	}
	return []string{firstClientURL(c.Initial)}
}

func write(ctx context.Context, kv *etcd.Client, key string, out *printer) {
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	if _, err := kv.Txn(ctx, nil, []store.Op{{Key: key, Value: []byte("x")}}); err == nil {
		out.say("ack %d %s", time.Now().UnixNano(), key)
	}
}

// watch is what the store does: it watches again from where it was.
func watch(ctx context.Context, kv *etcd.Client, out *printer) {
	_, after, err := kv.List(ctx, "/cluster/")
	for ctx.Err() == nil {
		if err != nil {
			time.Sleep(50 * time.Millisecond)
		}
		err = kv.Watch(ctx, "/", after, func(b store.Batch) error {
			after = b.Revision
			out.say("word %d", time.Now().UnixNano())
			return nil
		})
	}
}

// printer writes whole lines of several goroutines.
type printer struct{ mu sync.Mutex }

func (p *printer) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Printf(format+"\n", args...)
}
