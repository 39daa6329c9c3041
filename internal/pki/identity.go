package pki

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/nebula-serve/nebula/api"
)

// Identity is who a certificate speaks for.
type Identity struct {
	Cluster string // ClusterInfo.ID
	Role    api.MachineRole
	ID      string
}

// uri is the identity as it stands in a certificate, in the form of SPIFFE (spiffe.io, "SPIFFE-ID"): spiffe://CLUSTER/ROLE/ID.
func (i Identity) uri() *url.URL {
	return &url.URL{Scheme: "spiffe", Host: i.Cluster, Path: "/" + string(i.Role) + "/" + i.ID}
}

// IdentityOf reads the identity of a certificate that has been verified.
func IdentityOf(c *x509.Certificate) (Identity, error) {
	if len(c.URIs) != 1 || c.URIs[0].Scheme != "spiffe" {
		return Identity{}, fmt.Errorf("the certificate names no machine of a cluster")
	}
	role, id, ok := strings.Cut(strings.TrimPrefix(c.URIs[0].Path, "/"), "/")
	if !ok || !api.ValidNodeID(id) || !slices.Contains(api.MachineRoles(), api.MachineRole(role)) {
		return Identity{}, fmt.Errorf("the certificate names no machine of a cluster: %q", c.URIs[0].Path)
	}
	return Identity{c.URIs[0].Host, api.MachineRole(role), id}, nil
}

// KeyHash is what api.Member.KeyHash holds: the SHA-256 of the public key (SubjectPublicKeyInfo), hex.
func KeyHash(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}
