//go:build chaos

package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
	"github.com/nebula-serve/nebula/internal/demomodel"
	"github.com/nebula-serve/nebula/test/llama"
	"github.com/nebula-serve/nebula/test/procs"
	"github.com/nebula-serve/nebula/test/traffic"
)

// solo starts "nebula up", everything in one process, and ends it with all it started when the test does.
func solo(t *testing.T) *server {
	t.Helper()
	name := strings.ToLower(strings.SplitN(strings.TrimPrefix(t.Name(), "Test"), "_", 2)[0])
	s := &server{program: newProgram(name, nil, "up", "--listen", "127.0.0.1:0", "--llama-server", llama.Need(t))}
	t.Cleanup(func() {
		if s.runs() {
			if err := s.Interrupt(time.Minute); err != nil {
				t.Error(err)
			}
			if left, err := procs.Of(s.dir + "/"); err != nil || len(left) > 0 {
				t.Errorf("left after the end in order: %v %v", left, err)
			}
		}
		keepLogs(t, s.program)
		if err := errors.Join(end(s.dir), os.RemoveAll(s.dir)); err != nil {
			t.Error(err)
		}
	})
	s.up(t)
	return s
}

// up starts the program and waits until it takes requests.
func (s *server) up(t *testing.T) {
	t.Helper()
	_ = os.Remove(filepath.Join(s.dir, "server.addr"))
	ok(t, s.start())
	eventually(t, time.Minute, func() error {
		if err := s.check(); err != nil {
			t.Fatal(err)
		}
		addr, err := os.ReadFile(filepath.Join(s.dir, "server.addr"))
		if err != nil {
			return err
		}
		token, err := s.token()
		if err != nil {
			return err
		}
		s.url = strings.TrimSpace(string(addr))
		s.client = client.New(s.url, token)
		return s.client.Ready(context.Background())
	})
}

// reply is what the rows' demo models answer: long enough for a fault to find streams under way.
var reply = strings.Repeat("All is well here. ", 12) + "The end."

// model declares and starts a demo model and waits until all replicas are ready.
func (s *server) model(t *testing.T, uid string, replicas uint32) {
	t.Helper()
	path := filepath.Join(lab.dir, "demo.gguf")
	if _, err := os.Stat(path); err != nil {
		ok(t, demomodel.WriteFile(path, demomodel.Options{Reply: reply}))
	}
	_, err := s.client.CreateModel(context.Background(), api.CreateModel{
		ModelName: uid, ModelUID: uid, ModelSource: api.SourceLocal, ModelPath: path, AutoStart: true, Replicas: &replicas,
	})
	ok(t, err)
	s.settled(t, uid)
}

// settled waits until a model runs with all its replicas ready.
func (s *server) settled(t *testing.T, uid string) time.Duration {
	t.Helper()
	return eventually(t, 2*time.Minute, func() error {
		d, err := s.client.Model(context.Background(), uid)
		if err != nil {
			return err
		}
		if d.State != api.StateRunning || d.Replicas.Ready != d.Replicas.Desired || len(d.Endpoints) != int(d.Replicas.Desired) {
			return fmt.Errorf("%s is %s with %+v, %d endpoints: %+v", uid, d.State, d.Replicas, len(d.Endpoints), d.Reason)
		}
		return nil
	})
}

// replicas returns each ready replica's engine; one that is not running any more is an error.
func (s *server) replicas(t *testing.T, uid string) map[uint32]procs.ID {
	t.Helper()
	d, err := s.client.Model(context.Background(), uid)
	ok(t, err)
	out := map[uint32]procs.ID{}
	for _, e := range d.Endpoints {
		id, runs := procs.Find(e.PID)
		if e.Status == api.EndpointReady && runs {
			out[e.ReplicaID] = id
		}
	}
	return out
}

// gateway is the server as the load's clients reach it.
func (s *server) gateway(t *testing.T) traffic.Gateway {
	t.Helper()
	token, err := s.token()
	ok(t, err)
	return traffic.Gateway{Name: s.name, URL: s.url, Token: token}
}

// heard is what each endpoint's node said last, and when.
type heard map[string]int64

// heard returns what the nodes have said of their endpoints so far.
func (s *server) heard() (heard, error) {
	all, err := models(s.client)
	if err != nil {
		return nil, err
	}
	out := heard{}
	for _, m := range all {
		for _, e := range m.Endpoints {
			out[fmt.Sprintf("%s/%d on %s", e.ModelUID, e.ReplicaID, e.NodeID)] = e.LastHeartbeatMS
		}
	}
	return out, nil
}

// die kills the program and returns what its agent had said.
func (s *server) die(t *testing.T) heard {
	t.Helper()
	h, err := s.heard()
	ok(t, err)
	ok(t, s.Kill())
	return h
}

// again starts the program anew, on the port that its clients know, and waits until its agent has said something of every endpoint that there was:
// until then the cluster shows what the agent of before had said. It returns how long that took from when the program was ready.
func (s *server) again(t *testing.T, before heard) time.Duration {
	t.Helper()
	s.args[2] = s.url[len("http://"):]
	s.up(t)
	return s.news(t, before)
}

// news waits until nothing is left of what had been heard before.
func (s *server) news(t *testing.T, before heard) time.Duration {
	t.Helper()
	return eventually(t, time.Minute, func() error {
		now, err := s.heard()
		if err != nil {
			return err
		}
		for name, at := range before {
			if now[name] == at {
				return fmt.Errorf("nothing new has been heard of %s", name)
			}
		}
		return nil
	})
}
