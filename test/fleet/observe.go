package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
	"github.com/nebula-serve/nebula/internal/feed"
	"github.com/nebula-serve/nebula/internal/link"
	"github.com/nebula-serve/nebula/internal/pki"
	"github.com/nebula-serve/nebula/internal/store"
)

// observerArg makes this program an observer: a process on the people's host that writes through the API and watches as a gateway does.
const observerArg = "-observe"

// observation is what an observer is told.
type observation struct {
	Dir       string   // for its credential
	URLs      []string // of the servers, for people
	Fleet     []string // of the servers, for machines
	Token     string   // of a person
	JoinToken string   // for a gateway
	Model     string   // the path of what is declared
}

// Writes begin at a fixed pace, one server after the other, whether or not those before have ended: so a gap is one of the cluster, as a client
// sees it that may use any server, and not of one request or one server.
const (
	writeEvery = 50 * time.Millisecond
	writeTime  = 2 * time.Second
)

// observe runs until standard input ends. It prints a line for each fact: "ack NANOS UID" for a model whose declaration was acknowledged, "word
// NANOS REVISION" for changes that the watch told.
func observe(ctx context.Context, text string) error {
	var o observation
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	clock := pki.NewClock(time.Now)
	cred, _, err := link.Join(ctx, link.JoinConfig{
		Clock: clock, Server: o.Fleet[0], Token: o.JoinToken, Role: api.MachineGateway, ID: "observer", Dir: filepath.Join(o.Dir, "pki"),
	})
	if err != nil {
		return err
	}
	servers := link.NewServers(link.ServersConfig{Addrs: o.Fleet, Credential: cred, Clock: clock, Log: slog.New(slog.DiscardHandler)})
	defer servers.Close()
	var out lines
	var working sync.WaitGroup
	defer working.Wait()
	working.Go(func() { out.watch(ctx, feed.NewKV(servers)) })
	var clients []*client.Client
	for _, url := range o.URLs {
		clients = append(clients, client.New(url, o.Token))
	}
	tick := time.NewTicker(writeEvery)
	defer tick.Stop()
	for n := 0; ; n++ {
		working.Go(func() { out.write(ctx, clients[n%len(clients)], fmt.Sprintf("w%06d", n), o.Model) })
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// lines writes whole lines of several goroutines.
type lines struct{ mu sync.Mutex }

func (l *lines) say(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Printf(format+"\n", args...)
}

func (l *lines) write(ctx context.Context, c *client.Client, uid, path string) {
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	_, err := c.CreateModel(ctx, api.CreateModel{ModelUID: uid, ModelName: uid, ModelSource: api.SourceLocal, ModelPath: path})
	if err == nil {
		l.say("ack %d %s", time.Now().UnixNano(), uid)
	}
}

// watch does what a gateway's store does: it watches again from where it was.
func (l *lines) watch(ctx context.Context, kv store.KV) {
	_, after, err := kv.List(ctx, "/models/")
	for ctx.Err() == nil {
		if err != nil {
			_ = wait(ctx, 50*time.Millisecond)
		}
		if after == 0 {
			_, after, err = kv.List(ctx, "/models/")
			continue
		}
		err = kv.Watch(ctx, "/models/", after, func(b store.Batch) error {
			after = b.Revision
			if len(b.Events) > 0 {
				l.say("word %d %d", time.Now().UnixNano(), b.Revision)
			}
			return nil
		})
	}
}

// observer is an observer's process, and what it has said.
type observer struct {
	cmd   *exec.Cmd
	stdin io.Closer
	read  sync.WaitGroup

	mu    sync.Mutex
	at    map[string][]time.Time
	acked []string
}

func (l *lab) observer(ctx context.Context) (*observer, error) {
	token, err := l.joinToken(ctx, api.MachineGateway)
	if err != nil {
		return nil, err
	}
	told := observation{Dir: filepath.Join(l.o.dir, "observer"), Fleet: l.fleetAddrs(), Token: l.token, JoinToken: token}
	for _, s := range l.servers {
		told.URLs = append(told.URLs, s.url)
	}
	if told.Model, err = l.demo(); err != nil {
		return nil, err
	}
	text, err := json.Marshal(told)
	if err != nil {
		return nil, err
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ob := &observer{cmd: exec.Command(exe, observerArg, string(text)), at: map[string][]time.Time{}}
	ob.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	ob.cmd.Stderr = os.Stderr
	if ob.stdin, err = ob.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	said, err := ob.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	start := ob.cmd.Start
	if l.people != nil {
		start = func() error { return l.people.Start(ob.cmd) }
	}
	if err := start(); err != nil {
		return nil, err
	}
	ob.read.Go(func() {
		for in := bufio.NewScanner(said); in.Scan(); {
			ob.hear(in.Text())
		}
	})
	return ob, nil
}

func (ob *observer) hear(line string) {
	var what, rest string
	var nanos int64
	if got, _ := fmt.Sscan(line, &what, &nanos, &rest); got != 3 {
		return
	}
	ob.mu.Lock()
	defer ob.mu.Unlock()
	ob.at[what] = append(ob.at[what], time.Unix(0, nanos))
	if what == "ack" {
		ob.acked = append(ob.acked, rest)
	}
}

func (ob *observer) times(what string) []time.Time {
	ob.mu.Lock()
	defer ob.mu.Unlock()
	return slices.Clone(ob.at[what])
}

// stop ends the process and returns the models whose declaration was acknowledged.
func (ob *observer) stop() []string {
	_ = ob.stdin.Close()
	ob.read.Wait()
	_ = ob.cmd.Wait() // it ends with its standard input; what it had to say was said
	return ob.acked
}
