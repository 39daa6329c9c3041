package auth

import (
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/store"
)

func TestKey_form(t *testing.T) {
	seen := map[string]bool{}
	for range 200 {
		k := MakeKey()
		whole := string(k.Secret)
		if len(whole) != keyLen || keyID(whole) != k.ID || k.Prefix != whole[:len(k.Prefix)] || strings.Contains(k.Prefix, whole[16:]) || k.Hash != Digest(whole) || seen[whole] {
			t.Fatalf("%+v", k)
		}
		seen[whole] = true
	}
	good := string(MakeKey().Secret)
	for i := range good { // one wrong character anywhere, and it is none
		other := byte('a')
		if good[i] == other {
			other = 'b'
		}
		if bad := good[:i] + string(other) + good[i+1:]; keyID(bad) != "" {
			t.Errorf("%q is taken for a key", bad)
		}
	}
	for _, bad := range []string{"", "nb_", good[:len(good)-1], good + "a", "nb_../../../etc_" + good[16:], good[:3] + strings.ToUpper(good[3:15]) + good[15:], strings.Repeat("_", keyLen)} {
		if id := keyID(bad); id != "" {
			t.Errorf("%q has the id %q", bad, id)
		}
	}
}

// TestDirectory_rotatedKey: the secret before the last rotation is good until its time is over, and not a millisecond longer.
func TestDirectory_rotatedKey(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	before, after := MakeKey(), KeySecret{}
	after = MakeSecret(before.ID)
	d := directory(t, now, func(tx *store.Tx) error {
		if err := store.Users.Put(tx, "ann", api.User{Name: "ann", Role: api.RoleAdmin}); err != nil {
			return err
		}
		return store.APIKeys.Put(tx, before.ID, api.APIKey{
			ID: before.ID, Owner: "ann", Role: api.RoleInference, SecretHash: after.Hash, FormerHash: before.Hash, FormerUntilMS: now.UnixMilli() + 1,
			Scopes: api.Scopes{Models: []string{"m"}},
		})
	})
	for name, secret := range map[string]api.Token{"new": after.Secret, "former": before.Secret} {
		if who, ok := d.Authenticate(string(secret)); !ok || who.KeyID != before.ID || len(who.Scopes.Models) != 1 {
			t.Errorf("%s: %+v, %v", name, who, ok)
		}
	}
	d.Now = func() time.Time { return now.Add(time.Millisecond) }
	if _, ok := d.Authenticate(string(before.Secret)); ok {
		t.Error("the former secret outlives its time")
	}
	if _, ok := d.Authenticate(string(after.Secret)); !ok {
		t.Error("the new secret has ended with the former one")
	}
}
