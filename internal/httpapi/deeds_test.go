package httpapi_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/httpapi"
	"github.com/nebula-serve/nebula/internal/openapi/openapitest"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

// deed is one call that does what a row of the table is for. $name stands for what was noted before.
type deed struct {
	row  string // method and path, as in the table
	as   string // a role, "session", "bearer" (of version 1), or "nobody"
	body string
	path string // what the row's path becomes, where {…} are not noted
	// before prepares it, and after notes what its answer has.
	before func(*doer)
	after  func(d *doer, a openapitest.Answer)
	// quiet says why it is in no audit log, and mended why it is done although nothing can be recorded while the store is full.
	quiet, mended string
	records       int // how many it has, where that is not 1
}

// notDone are the rows of which deeds has no deed, with the reason.
var notDone = map[string]string{
	"GET /api/v2/auth/oidc/callback": "it needs a provider: test/oidc has one, and a login there is the same verb as one by password",
}

// recording are the rows that ask, and are recorded all the same.
var recording = map[string]bool{"GET /api/v2/nodes/{id}/secrets/{uid}": true, "GET /api/v2/admin/backup": true}

// doer does deeds on one server, one after the other.
type doer struct {
	*target
	kv    *unrecorded
	noted map[string]string
}

// unrecorded is a store that refuses the writing of audit records, as long as it is told to.
type unrecorded struct {
	*storetest.MemKV
	refuse atomic.Pointer[error]
}

func (k *unrecorded) Txn(ctx context.Context, ifs []store.Cond, ops []store.Op) (store.TxnResult, error) {
	if err := k.refuse.Load(); err != nil {
		for _, op := range ops {
			if strings.HasPrefix(op.Key, store.AuditPrefix) {
				return store.TxnResult{}, *err
			}
		}
	}
	return k.MemKV.Txn(ctx, ifs, ops)
}

// TestAudit_whatCannotBeRecordedIsNotDone: each row of the table that changes anything, or tells a secret, fails while its record cannot be written, and
// leaves the store and the world as they were; when it can be, the same call is done, with exactly the record. A new row is missed here by itself.
func TestAudit_whatCannotBeRecordedIsNotDone(t *testing.T) {
	d := newDoer(t)
	done := map[string]bool{}
	for _, one := range deeds() {
		t.Run(one.row, func(t *testing.T) {
			done[one.row] = true
			d.t = t
			d.try(t, one)
		})
	}
	for _, r := range httpapi.Routes(d.cfg) {
		row := r.Method + " " + r.Path
		if (r.Method != "GET" || recording[row]) && !done[row] && notDone[row] == "" {
			t.Errorf("%s changes something, and has no deed: say in deeds how it is done", row)
		}
	}
}

func newDoer(t *testing.T) *doer {
	t.Helper()
	setup, token, err := auth.NewSetup(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	kv := &unrecorded{MemKV: storetest.NewMem()}
	return &doer{newTargetOn(t, kv, func(cfg *httpapi.Config) { cfg.Setup = setup }), kv, map[string]string{"password": "seventeen ducks on 3 lakes", "setup": token}}
}

func (d *doer) try(t *testing.T, one deed) {
	if one.before != nil {
		one.before(d)
	}
	if one.quiet == "" {
		for what, fault := range map[string]error{"the store is full": store.ErrFull, "the store is away": errors.New("connection refused")} {
			if what == "the store is full" && one.mended != "" {
				continue
			}
			before, asked := d.everything(t), len(d.admin.asked)
			d.kv.refuse.Store(&fault)
			a := d.do(t, one)
			d.kv.refuse.Store(nil)
			if a.Status < 500 {
				t.Errorf("%s, and it is answered with %d: %.300s", what, a.Status, a.Body)
			}
			if diff := gocmp.Diff(before, d.everything(t)); diff != "" {
				t.Errorf("%s, and it is half done (-before +after):\n%s", what, diff)
			}
			if len(d.admin.asked) != asked {
				t.Errorf("%s, and the store was asked for %v", what, d.admin.asked[asked:])
			}
		}
	}
	before := d.records(t)
	a := d.do(t, one)
	if a.Status >= 300 {
		t.Fatalf("%d %.500s", a.Status, a.Body)
	}
	switch n := d.records(t) - before; {
	case one.quiet != "" && n != 0:
		t.Errorf("it is recorded, although %s", one.quiet)
	case one.quiet == "" && n != max(one.records, 1):
		t.Errorf("it has %d records, want %d", n, max(one.records, 1))
	}
	if one.after != nil {
		one.after(d, a)
	}
}

// everything is what the store holds.
func (d *doer) everything(t *testing.T) map[string]string {
	all, _, err := d.kv.List(t.Context(), "/")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, e := range all {
		out[e.Key] = string(e.Value)
	}
	return out
}

// records is how many records the audit log has.
func (d *doer) records(t *testing.T) int {
	all, _, err := d.kv.List(t.Context(), store.AuditPrefix)
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// do makes the call of a deed, and holds the answer against the document.
func (d *doer) do(t *testing.T, one deed) openapitest.Answer {
	t.Helper()
	c := d.call(one)
	r := d.httpRequest(c)
	r.RemoteAddr = fmt.Sprintf("192.0.2.%d:1", 1+len(d.noted)) // no limit by address
	a := d.send(t, r, c)
	if err := d.checker.Check(r, a); err != nil {
		t.Error(err)
	}
	return a
}

// call is the call of a deed, with what was noted in it.
func (d *doer) call(one deed) openapitest.Call {
	var known []string
	for _, name := range slices.Sorted(maps.Keys(d.noted)) {
		known = append(known, "$"+name, d.noted[name], "{"+name+"}", d.noted[name])
	}
	fill := strings.NewReplacer(known...)
	method, template, _ := strings.Cut(one.row, " ")
	c := openapitest.Call{Method: method, Path: fill.Replace(cmp.Or(one.path, template)), Body: []byte(fill.Replace(one.body)), As: one.as, Header: map[string]string{}}
	if op := d.checker.Document().Paths[template][strings.ToLower(method)]; op != nil { // what only prepares a deed may name its object in the row
		c.Operation = op.OperationID
	}
	if one.as == "session" {
		c.As, c.Header = "nobody", map[string]string{"Cookie": d.noted["cookie"]}
	}
	if one.as == "bearer" {
		c.As, c.Header = "nobody", map[string]string{"Authorization": "Bearer " + d.noted["bearer"]}
	}
	if one.body != "" {
		c.Header["Content-Type"] = "application/json"
	}
	return c
}

// note keeps a field of an answer.
func note(field, name string) func(*doer, openapitest.Answer) {
	return func(d *doer, a openapitest.Answer) {
		var doc map[string]any
		if err := json.Unmarshal(a.Body, &doc); err != nil || doc[field] == nil {
			d.t.Fatalf("no %s: %s", field, a.Body)
		}
		d.noted[name] = fmt.Sprint(doc[field])
	}
}

// must does something first, which has to succeed.
func must(one deed) func(*doer) {
	return func(d *doer) {
		d.t.Helper()
		a := d.do(d.t, one)
		if a.Status >= 300 {
			d.t.Fatalf("%s: %d %s", one.row, a.Status, a.Body)
		}
		if one.after != nil {
			one.after(d, a)
		}
	}
}

// raw changes the store behind everybody's back, and waits until the server sees it.
func (d *doer) raw(ops ...store.Op) {
	d.t.Helper()
	res, err := d.kv.Txn(d.t.Context(), nil, ops)
	if err != nil {
		d.t.Fatal(err)
	}
	for {
		s, changed := d.st.Current()
		if s.Revision >= res.Revision {
			return
		}
		select {
		case <-changed:
		case <-time.After(10 * time.Second):
			d.t.Fatal("the server does not see what was changed")
		}
	}
}

// in puts a machine into the cluster.
func in(role api.MachineRole, id string) func(*doer) {
	return func(d *doer) {
		if err := d.control.RegisterLocal(d.t.Context(), api.Member{Role: role, ID: id, KeyHash: strings.Repeat("0", 64)}); err != nil {
			d.t.Fatal(err)
		}
	}
}
