package control

import (
	"context"
	"slices"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/store"
)

// usesPerWrite bounds a transaction: of each key it holds the key and its use.
const usesPerWrite = 40

// StoreKeyUses keeps when keys were used last, as this process or a gateway has seen it, and forgets that of keys which are no more. It is no change of
// anybody's, so it is not in the audit log.
func (c *Control) StoreKeyUses(ctx context.Context, uses []api.KeyUse) error {
	for some := range slices.Chunk(uses, usesPerWrite) {
		if _, err := c.store.Update(ctx, store.OwnerGateway, func(tx *store.Tx) error { return c.putUses(tx, some) }); err != nil {
			return err
		}
	}
	s, _ := c.store.Current()
	var gone []string
	for _, e := range s.KeyUses.Refs() {
		if !s.APIKeys.Has(e.ID) {
			gone = append(gone, e.ID)
		}
	}
	for some := range slices.Chunk(gone, usesPerWrite) {
		_, err := c.store.Update(ctx, store.OwnerGateway, func(tx *store.Tx) error {
			for _, id := range some {
				if err := store.KeyUses.Delete(tx, id); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// putUses writes those that are newer than what is stored. A time to come is now: clocks differ, and nothing was used tomorrow.
func (c *Control) putUses(tx *store.Tx, uses []api.KeyUse) error {
	now := c.now().UnixMilli()
	for _, use := range uses {
		if _, ok, err := store.APIKeys.Get(tx, use.ID); err != nil || !ok {
			continue
		}
		use.LastUsedMS = min(use.LastUsedMS, now)
		if old, ok, err := store.KeyUses.Get(tx, use.ID); err != nil || ok && old.LastUsedMS >= use.LastUsedMS {
			continue
		}
		if err := store.KeyUses.Put(tx, use.ID, use); err != nil {
			return err
		}
	}
	return nil
}
