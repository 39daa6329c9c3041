package control

import (
	"context"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/store"
)

// SetupNeeded tells whether there is no user yet.
func SetupNeeded(s *cluster.State) bool { return s.Users.Len() == 0 }

// Setup makes the first user, an administrator. Of two at the same time one is made: every change continues the audit log from its end, so the
// later one looks again.
func (c *Control) Setup(ctx context.Context, req api.CreateUser, hash string) (api.User, error) {
	if err := req.Validate(); err != nil {
		return api.User{}, err
	}
	req.Role = api.RoleAdmin
	var out api.User
	err := c.update(ctx, "setup", "user/"+req.Name, func(tx *store.Tx) (err error) {
		if !SetupNeeded(tx.State()) {
			return ErrSetUp()
		}
		out, err = c.putNewUser(tx, req, hash, "setup")
		return err
	})
	return out, err
}

// ErrSetUp is the answer once there is a user.
func ErrSetUp() error {
	return api.Errorf(api.CodeGone, "this cluster is set up: log in, or let an administrator make you a user")
}
