package app

import (
	"context"
	"log/slog"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
)

// usesEvery is how often the uses of keys are stored; of one key there is at most one a minute.
const usesEvery = 15 * time.Second

func noteUse(uses *auth.Uses) func(keyID, source string) {
	return func(keyID, source string) { uses.Note(keyID, source, time.Now()) }
}

// storeUses brings the uses of keys to where they are kept. What cannot be stored now is tried again; serving does not depend on it. A store that
// also forgets is called when there is nothing new, too.
func storeUses(uses *auth.Uses, store func(context.Context, []api.KeyUse) error, forgets bool, log *slog.Logger) func(context.Context) error {
	return func(ctx context.Context) error {
		tick := time.NewTicker(usesEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case now := <-tick.C:
				some := uses.Take(now)
				if len(some) == 0 && !forgets {
					continue
				}
				if err := store(ctx, some); err != nil && ctx.Err() == nil {
					uses.Return(some)
					log.Debug("the uses of keys are not stored yet", "error", err)
				}
			}
		}
	}
}
