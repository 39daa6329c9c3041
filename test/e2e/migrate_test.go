package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/etcd/etcdtest"
	"github.com/nebula-serve/nebula/internal/store"
)

// A migration that is killed in the middle, with its server, leaves each model whole or not at all, and repeating it ends where one that nobody disturbed
// ends. Two that race each other end there, too. Nothing that runs is planned anew.
func TestMigrate_disturbed(t *testing.T) {
	quiet := newOld(t)
	quiet.serve()
	quiet.migrate(quiet.servers[0])
	want := quiet.wishes()

	t.Run("killed again and again", func(t *testing.T) {
		t.Parallel()
		o := newOld(t)
		n := o.serve()
		before := dump(t, o.kv)
		for _, after := range []int{1, 300, 700} { // models that are stored by then; there are 1,009
			o.killAfter(n, after)
			halfDone := o.wishes()
			for key := range halfDone {
				if uid, ok := strings.CutPrefix(key, "/deployments/bulk_"); ok != (halfDone["/models/bulk_"+uid+"/spec"] != "") && ok {
					t.Errorf("bulk_%s has a deployment and no model", uid)
				}
				if uid, ok := strings.CutPrefix(key, "/models/bulk_"); ok && halfDone["/deployments/bulk_"+strings.TrimSuffix(uid, "/spec")] == "" {
					t.Errorf("bulk_%s is a model without a deployment", strings.TrimSuffix(uid, "/spec"))
				}
			}
			n.start()
		}
		o.migrate(n)
		o.endedAs(want, before)
	})
	t.Run("two at once", func(t *testing.T) {
		t.Parallel()
		o := newOld(t)
		a, b := o.serve(), o.serve()
		before := dump(t, o.kv)
		var both sync.WaitGroup
		both.Go(func() { o.migrate(a) })
		both.Go(func() { o.migrate(b) })
		both.Wait()
		o.endedAs(want, before)
	})
}

// old is a cluster of the existing Nebula in a real etcd, and the servers that have opened it.
type old struct {
	t       *testing.T
	kv      *etcdtest.Server
	servers []*nebula
	fleet   string // where machines join
}

func newOld(t *testing.T) *old {
	o := &old{t: t, kv: etcdtest.Serve(t)}
	load(t, o.kv, oldKeys(t))
	return o
}

// serve starts a server on the cluster, and waits until nothing of it is to be done but the migration.
func (o *old) serve() *nebula {
	o.t.Helper()
	own := port(o.t)
	args := []string{"--etcd-endpoints", o.kv.Endpoint, "--fleet-listen", own, "--node-id", fmt.Sprintf("server%d", len(o.servers))}
	if len(o.servers) == 0 {
		o.fleet = own
	} else {
		made, err := o.servers[0].client.CreateToken(o.t.Context(), api.CreateJoinToken{For: api.MachineServer, Name: "server1"})
		if err != nil {
			o.t.Fatal(err)
		}
		args = append(args, "--join", "https://"+o.fleet, "--token", made.Token)
	}
	n := begin(o.t, "server", args...)
	eventually(o.t, time.Minute, func() error { return settled(o.t, n, o.kv) })
	o.servers = append(o.servers, n)
	return n
}

func (o *old) migrate(n *nebula) {
	o.t.Helper()
	m, err := n.client.Migrate(o.t.Context())
	if err != nil || m.Total != m.Migrated+m.Skipped+m.Failed {
		o.t.Errorf("migrated %d, skipped %d, failed %d of %d: %v", m.Migrated, m.Skipped, m.Failed, m.Total, err)
	}
}

// wishes are the documents that people write, as they are stored, but for when.
func (o *old) wishes() map[string]string {
	o.t.Helper()
	out := map[string]string{}
	for key, value := range dump(o.t, o.kv) {
		for _, prefix := range []string{"/models/", "/deployments/", "/model_requests/"} {
			if strings.HasPrefix(key, prefix) {
				out[key] = times.ReplaceAllString(value, `"$1":"NOW"`)
			}
		}
	}
	return out
}

// killAfter has a server migrate, and kills it when so many models of the bulk are stored.
func (o *old) killAfter(n *nebula, models int) {
	o.t.Helper()
	now, revision, err := o.kv.List(o.t.Context(), "/models/bulk_")
	if err != nil {
		o.t.Fatal(err)
	}
	stored, errEnough := len(now), errors.New("enough")
	ctx, cancel := context.WithCancel(o.t.Context())
	defer cancel()
	var migrating sync.WaitGroup
	migrating.Go(func() {
		m, err := n.client.Migrate(ctx)
		if err == nil {
			o.t.Errorf("the migration ended, with %d migrated, before its server was killed", m.Migrated)
			cancel()
		} else if !api.HasCode(err, api.CodeUnavailable) {
			o.t.Errorf("the client of a migration whose server dies is told: %v", err)
		}
	})
	err = o.kv.Watch(ctx, "/models/bulk_", revision, func(b store.Batch) error {
		if stored += len(b.Events); stored >= models {
			return errEnough
		}
		return nil
	})
	n.kill9()
	migrating.Wait()
	if !errors.Is(err, errEnough) {
		o.t.Fatalf("%d models are stored: %v", stored, err)
	}
}

// endedAs holds that the cluster has come to where it would have come undisturbed, that all that was there is there, and that what runs was left alone.
func (o *old) endedAs(want, before map[string]string) {
	o.t.Helper()
	if diff := changes(want, o.wishes()); diff != "" {
		o.t.Errorf("it is not as after a migration that nobody disturbed:\n%s", diff)
	}
	after := dump(o.t, o.kv)
	unharmed(o.t, before, after)
	plans := func(keys map[string]string) map[string]string {
		out := maps.Clone(keys)
		maps.DeleteFunc(out, func(key, _ string) bool { return !strings.HasPrefix(key, "/placements/bulk_") }) // all of them run
		return out
	}
	if diff := changes(plans(before), plans(after)); diff != "" {
		o.t.Errorf("what runs was planned anew:\n%s", diff)
	}
}
