package oidc

import (
	"net/http"
	"testing"

	"github.com/nebula-serve/nebula/api"
)

// lastAdministrator: a provider that takes the last administrator's group away locks nobody out.
func (n *nebula) lastAdministrator(t *testing.T, p *provider) {
	in := n.browser(t)
	if a := in.get(in.walk("lea")); a.status != http.StatusSeeOther || in.me().Role != api.RoleAdmin {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if err := n.admin.DeleteUser(t.Context(), "root"); err != nil {
		t.Fatal(err)
	}
	p.Set("lea", person{Groups: []string{"staff"}})
	b := n.browser(t)
	b.refused(b.get(b.walk("lea")), 409, "last administrator")
	if who := in.me(); who.ID != "lea" || who.Role != api.RoleAdmin {
		t.Errorf("the session from before is %s, %s", who.ID, who.Role)
	}
	// Beside another administrator the provider's word counts again.
	if _, err := n.admin.CreateUser(t.Context(), api.CreateUser{Name: "root", Role: api.RoleAdmin}); err != nil {
		t.Fatal(err)
	}
	b = n.browser(t)
	if a := b.get(b.walk("lea")); a.status != http.StatusSeeOther || b.me().Role != api.RoleViewer || in.me().Role != api.RoleViewer {
		t.Errorf("%d %s", a.status, a.body)
	}
}
