package auth

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nebula-serve/nebula/api"
)

// Uses remembers when keys were used last, to the minute, until somebody has stored it. Noting a use writes nothing and waits for nobody. The zero
// Uses is empty.
type Uses struct {
	mu      sync.Mutex
	pending map[string]api.KeyUse
	taken   map[string]int64 // the last minute that was taken, of keys used in it
}

// Note takes in that a key was used from an address.
func (u *Uses) Note(id, source string, now time.Time) {
	minute := now.Truncate(time.Minute).UnixMilli()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.taken[id] == minute {
		return
	}
	if u.pending == nil {
		u.pending = map[string]api.KeyUse{}
	}
	u.pending[id] = api.KeyUse{ID: id, LastUsedMS: minute, Source: source}
}

// Take returns what is to be stored, at most api.MaxKeyUses at a time, in order of the ids. Of one key it returns no two of one minute.
func (u *Uses) Take(now time.Time) []api.KeyUse {
	minute := now.Truncate(time.Minute).UnixMilli()
	u.mu.Lock()
	defer u.mu.Unlock()
	taken := map[string]int64{}
	for id, at := range u.taken {
		if at >= minute {
			taken[id] = at
		}
	}
	u.taken = taken
	var out []api.KeyUse
	for id, use := range u.pending {
		if len(out) == api.MaxKeyUses {
			break
		}
		out = append(out, use)
		u.taken[id] = use.LastUsedMS
		delete(u.pending, id)
	}
	slices.SortFunc(out, func(a, b api.KeyUse) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// Return takes back what could not be stored.
func (u *Uses) Return(uses []api.KeyUse) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, use := range uses {
		if _, newer := u.pending[use.ID]; !newer {
			u.pending[use.ID] = use
		}
	}
}
