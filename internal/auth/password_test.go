package auth

import (
	"strings"
	"testing"

	"golang.org/x/crypto/argon2"

	"github.com/nebula-serve/nebula/api"
)

func TestPasswords_sameWorkForNobody(t *testing.T) {
	p := NewPasswords()
	type work struct{ time, memory, threads uint32 }
	var did []work
	p.derive = func(password, salt []byte, time, memory uint32, threads uint8, n uint32) []byte {
		did = append(did, work{time, memory, uint32(threads)})
		return argon2.IDKey(password, salt, 1, 8, 1, n)
	}
	hash, err := p.Hash(t.Context(), "a long walk over hills")
	if err != nil || !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Fatalf("%q, %v", hash, err)
	}
	for _, c := range []struct {
		password, hash string
		want           bool
	}{{"a long walk over hills", hash, true}, {"another", hash, false}, {"another", "", false}, {"", "", false}, {"x", "$argon2id$nonsense", false}} {
		if right, renew, err := p.Matches(t.Context(), "", ""); right || renew || err != nil {
			t.Errorf("nothing matches nothing: %v %v", right, err)
		}
		if right, _, err := p.Matches(t.Context(), api.Token(c.password), c.hash); err != nil || right != c.want {
			t.Errorf("%+v: %v, %v", c, right, err)
		}
	}
	for _, w := range did {
		if w != did[0] {
			t.Errorf("work %+v, and %+v for another", w, did[0])
		}
	}
	if len(did) != 11 {
		t.Errorf("hashed %d times, want once for each try", len(did))
	}
}

func TestPHC_hostile(t *testing.T) {
	good := formatPHC(argonNow, make([]byte, 16), make([]byte, 32))
	if p, _, _, err := parsePHC(good); err != nil || p != argonNow {
		t.Fatalf("%+v, %v", p, err)
	}
	for _, s := range []string{
		"", "$", strings.Replace(good, "argon2id", "argon2i", 1), strings.Replace(good, "m=19456", "m=99999999", 1), strings.Replace(good, "t=2", "t=0", 1),
		strings.Replace(good, "p=1", "p=0", 1), strings.Replace(good, "t=2", "t=1000000", 1), good + "$", good[:len(good)-4], strings.Replace(good, "p=1", "p=1 ", 1),
	} {
		if _, _, _, err := parsePHC(s); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
}

func TestKeyring_WithStatic(t *testing.T) {
	long := strings.Repeat("s", 40)
	ring, warnings := Keyring{}.WithStatic("devtoken:admin, " + long + ":viewer,nocolon,x y:admin,t:emperor,:admin,devtoken:viewer,,a:b:operator")
	if len(warnings) != 7 {
		t.Errorf("%q", warnings)
	}
	if all := strings.Join(warnings, "\n"); strings.Contains(all, "devtoken") || strings.Contains(all, "nocolon") || strings.Contains(all, "emperor") {
		t.Errorf("the warnings hold what was given: %s", all)
	}
	for token, role := range map[string]Role{"devtoken": Admin, long: Viewer, "a:b": Operator, "nocolon": Public, "t": Public, "": Public, "x y": Public} {
		who, ok := ring.Authenticate(token)
		if ok != (role != Public) || who.Role != role || ok && (who.Kind != KindStatic || strings.Contains(who.ID, token)) {
			t.Errorf("%q: %+v, %v", token, who, ok)
		}
	}
}
