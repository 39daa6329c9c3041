package auth

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

// directory is one over a real store, at a time of the test's choice.
func directory(t *testing.T, now time.Time, write func(*store.Tx) error) Directory {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	st, err := store.Open(ctx, storetest.NewMem(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = st.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	if _, err := st.Update(ctx, store.OwnerControl, write); err != nil {
		t.Fatal(err)
	}
	return Directory{View: st, Now: func() time.Time { return now }}
}

func TestDirectory_keys(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	made := map[string]string{} // name to key
	d := directory(t, now, func(tx *store.Tx) error {
		for _, u := range []api.User{
			{Name: "ann", Role: api.RoleAdmin}, {Name: "vic", Role: api.RoleViewer}, {Name: "off", Role: api.RoleAdmin, Disabled: true}, {Name: "odd", Role: "emperor"},
		} {
			if err := store.Users.Put(tx, u.Name, u); err != nil {
				return err
			}
		}
		for _, k := range []api.APIKey{
			{Name: "narrow", Owner: "ann", Role: api.RoleInference},
			{Name: "wide", Owner: "vic", Role: api.RoleAdmin},
			{Name: "personal", Owner: "ann", Kind: api.KeyPersonal},
			{Name: "orphan", Owner: "gone", Role: api.RoleAdmin},
			{Name: "owner disabled", Owner: "off", Role: api.RoleAdmin},
			{Name: "disabled", Owner: "ann", Role: api.RoleAdmin, Disabled: true},
			{Name: "expired", Owner: "ann", Role: api.RoleAdmin, ExpiresAtMS: now.UnixMilli()},
			{Name: "not expired", Owner: "ann", Role: api.RoleOperator, ExpiresAtMS: now.UnixMilli() + 1},
			{Name: "unknown role", Owner: "ann", Role: "emperor"},
			{Name: "owner's role unknown", Owner: "odd", Role: api.RoleViewer},
		} {
			id, key, err := NewKey()
			if err != nil {
				return err
			}
			k.ID, k.SecretHash, made[k.Name] = id, Digest(key), key
			if err := store.APIKeys.Put(tx, id, k); err != nil {
				return err
			}
		}
		return nil
	})
	for name, want := range map[string]struct {
		id   string
		role Role
	}{
		"narrow": {"ann", Inference}, "wide": {"vic", Viewer}, "personal": {"ann", Admin}, "not expired": {"ann", Operator},
		"orphan": {}, "owner disabled": {}, "disabled": {}, "expired": {}, "unknown role": {}, "owner's role unknown": {},
	} {
		who, ok := d.Authenticate(made[name])
		if ok != (want.id != "") || who.ID != want.id || who.Role != want.role || ok && (who.KeyID == "" || who.Kind != KindUser) {
			t.Errorf("%s: %+v, %v; want %+v", name, who, ok, want)
		}
	}
	good := made["narrow"]
	for name, secret := range map[string]string{
		"empty": "", "the id alone": good[:15], "another secret": good[:len(good)-1] + "!", "one more": good + "a", "another prefix": "xx" + good[2:],
		"another case": strings.ToUpper(good), "the digest": Digest(good), "an unknown id": "nb_000000000000_" + good[16:],
	} {
		if who, ok := d.Authenticate(secret); ok || who.Role != Public {
			t.Errorf("%s: let in as %+v", name, who)
		}
	}
}

func TestDirectory_fixedAndClusterAdmin(t *testing.T) {
	own, other := strings.Repeat("o", 43), strings.Repeat("c", 43)
	d := directory(t, time.Now(), func(tx *store.Tx) error {
		return store.Info.Put(tx, api.ClusterInfoID, api.ClusterInfo{ID: "c", History: "h", KeyHash: Digest(other)})
	})
	d.Fixed = Keyring{}.With(own, Principal{ID: "own", Role: Operator})
	if who, ok := d.Authenticate(own); !ok || who.ID != "own" {
		t.Errorf("own: %+v, %v", who, ok)
	}
	if _, ok := d.Authenticate(other); ok {
		t.Error("the cluster's admin credential is good where it is not said to be")
	}
	d.Admin = &Principal{ID: "admin", Role: Admin}
	if who, ok := d.Authenticate(other); !ok || who.ID != "admin" {
		t.Errorf("the cluster's: %+v, %v", who, ok)
	}
}

func TestDirectory_sessions(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	cookie := map[string]string{}
	d := directory(t, now, func(tx *store.Tx) error {
		for _, u := range []api.User{{Name: "ann", Role: api.RoleOperator}, {Name: "off", Role: api.RoleAdmin, Disabled: true}} {
			if err := store.Users.Put(tx, u.Name, u); err != nil {
				return err
			}
		}
		for name, s := range map[string]api.Session{
			"good": {User: "ann", ExpiresAtMS: now.UnixMilli() + 1}, "over": {User: "ann", ExpiresAtMS: now.UnixMilli()},
			"of nobody": {User: "gone", ExpiresAtMS: now.UnixMilli() + 1}, "of a disabled user": {User: "off", ExpiresAtMS: now.UnixMilli() + 1},
		} {
			cookie[name] = "cookie of " + name
			s.ID = Digest(cookie[name])
			if err := store.Sessions.Put(tx, s.ID, s); err != nil {
				return err
			}
		}
		return nil
	})
	if who, ok := d.Session(cookie["good"]); !ok || who.ID != "ann" || who.Role != Operator || who.Session != Digest(cookie["good"]) {
		t.Errorf("good: %+v, %v", who, ok)
	}
	for _, name := range []string{"over", "of nobody", "of a disabled user", "none"} {
		if _, ok := d.Session(cookie[name]); ok {
			t.Errorf("%s: let in", name)
		}
	}
	if _, ok := d.Session(Digest(cookie["good"])); ok {
		t.Error("the stored id is good as a cookie")
	}
	if _, ok := d.Authenticate(cookie["good"]); ok {
		t.Error("a cookie is good as a bearer token")
	}
}
