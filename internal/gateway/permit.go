package gateway

import "context"

// permit tells which models a caller may use, by uid; nil = all.
type permit func(uid string) bool

type permitKey struct{}

// WithModels returns a context for a request in which only the models for which may answers true are there. Whoever stands in front of the gateway
// knows who is asking; which model a name stands for, the gateway alone knows.
func WithModels(ctx context.Context, may func(uid string) bool) context.Context {
	return context.WithValue(ctx, permitKey{}, permit(may))
}

func allowed(ctx context.Context) permit {
	may, _ := ctx.Value(permitKey{}).(permit)
	return may
}

func (p permit) allows(uid string) bool { return p == nil || p(uid) }

// of returns those of the uids that are permitted.
func (p permit) of(uids []string) []string {
	if p == nil {
		return uids
	}
	var out []string
	for _, uid := range uids {
		if p(uid) {
			out = append(out, uid)
		}
	}
	return out
}
