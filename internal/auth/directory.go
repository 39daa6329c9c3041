package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// View is the State in which credentials are looked up.
type View interface {
	Current() (*cluster.State, <-chan struct{})
}

// Directory knows every credential of people: it is the one place that tells who shows one, whatever header or cookie it came in. It looks in the
// newest State each time, so what is revoked there is of no use from then on.
type Directory struct {
	View View
	// Fixed are the credentials of this process's own configuration: those of its data directory and of NEBULA_AUTH_TOKENS.
	Fixed Keyring
	// Admin is who holds the cluster's admin credential where only its digest is known, in the State: on gateways; nil: nobody is known by it.
	Admin *Principal
	Now   func() time.Time
}

// Authenticate returns who holds a secret that came as bearer token or x-api-key. The work does not depend on which one it is, or whether it
// is one.
func (d Directory) Authenticate(secret string) (Principal, bool) {
	s, _ := d.View.Current()
	fixed := d.Fixed
	if d.Admin != nil {
		info, _ := s.Info.Value(api.ClusterInfoID)
		fixed = fixed.WithDigest(info.KeyHash, *d.Admin)
	}
	who, ok := fixed.Authenticate(secret)
	ofKey, isKey := d.authenticateKey(s, secret)
	if !ok {
		who, ok = ofKey, isKey
	}
	return who, ok
}

// Session returns who is logged in with the value of a cookie.
func (d Directory) Session(cookie string) (Principal, bool) { return d.session(cookie, false) }

// TokenSession returns who is logged in with the bearer token that version 1's login gave.
func (d Directory) TokenSession(token string) (Principal, bool) { return d.session(token, true) }

func (d Directory) session(value string, bearer bool) (Principal, bool) {
	s, _ := d.View.Current()
	id := Digest(value) // looking up the digest of 256 random bits tells nobody anything about other sessions
	session, found := s.Sessions.Value(id)
	user, known := s.Users.Value(session.User)
	if !found || session.Bearer != bearer || !known || user.Disabled || d.Now().UnixMilli() >= session.ExpiresAtMS {
		return Principal{}, false
	}
	role, ok := RoleOf(user.Role)
	return Principal{ID: user.Name, Role: role, Kind: KindUser, Session: id}, ok
}

// peopleRoles are the roles that documents name.
var peopleRoles = map[api.Role]Role{api.RoleInference: Inference, api.RoleViewer: Viewer, api.RoleOperator: Operator, api.RoleAdmin: Admin}

// RoleOf returns the role that a document names; false for none that this version knows.
func RoleOf(r api.Role) (Role, bool) {
	role, ok := peopleRoles[r]
	return role, ok
}

// sameDigest compares a secret with the SHA-256 of another one, in hex, and takes as long when that is no digest at all.
func sameDigest(secret, digest string) bool {
	sum := sha256.Sum256([]byte(secret))
	want, err := hex.DecodeString(digest)
	if err != nil || len(want) != len(sum) {
		want = make([]byte, len(sum))
	}
	return subtle.ConstantTimeCompare(sum[:], want) == 1 && err == nil && digest != ""
}
