package link

import (
	"context"
	"net/url"

	"github.com/nebula-serve/nebula/api"
)

// Secret asks the servers for the token with which this node may fetch a model's files. It is kept nowhere.
func (l *Link) Secret(ctx context.Context, uid string) (api.Token, error) {
	var out api.ModelToken
	err := l.cfg.Servers.JSON(ctx, "GET", l.path("secrets/"+url.PathEscape(uid)), nil, &out)
	return out.Token, err
}
