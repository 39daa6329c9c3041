package control

import (
	"context"
	"slices"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/store"
)

// PurgeModel is [Control.DeleteModel] that also wishes the model's files away, on every node that has some and where nothing else wants them. The
// wishes are part of the transaction that deletes the model (of the first, in a large fleet), end by themselves, and go as soon as somebody
// declares, pulls or pins files of that repository again: a purge never takes what was wanted after it.
func (c *Control) PurgeModel(ctx context.Context, uid string, ifMatch int64) (api.Purged, error) {
	lease, err := c.grant(ctx, purgeLife)
	if err != nil {
		return api.Purged{}, err
	}
	now := c.now()
	doc := api.CacheWish{Kind: api.WishPurge, CreatedAtMS: now.UnixMilli(), CreatedBy: by(ctx), ExpiresAtMS: now.Add(purgeLife).UnixMilli()}
	var plan api.Purged
	err = c.deleteModel(ctx, uid, ifMatch, func(tx *store.Tx, spec *api.ModelSpec) error {
		if spec == nil {
			return api.Errorf(api.CodeConflict, "the stored spec of %s cannot be read, so nobody knows which files it has: delete it without purge", uid)
		}
		if spec.ModelSource == api.SourceLocal {
			return api.Errorf(api.CodeInvalidRequest,
				"the files of %s are your own, and Nebula never deletes the files of a local model: delete it without purge, and the files yourself", uid)
		}
		plan, doc.Spec = cluster.PurgePlan(tx.State(), spec), spec.FilesOnly()
		return purgeOn(tx, doc, asked(plan)[:min(len(asked(plan)), wishesPerTx)], lease)
	})
	if err != nil {
		return api.Purged{}, err
	}
	nodes := asked(plan)
	anybody := doc.Spec
	anybody.ModelUID = "" // it may be declared again meanwhile, under the same uid
	for some := range slices.Chunk(nodes[min(len(nodes), wishesPerTx):], wishesPerTx) {
		if err := c.update(ctx, "cache.purge", "model/"+uid, func(tx *store.Tx) error {
			if cluster.PurgePlan(tx.State(), &anybody).Kept != "" {
				return nil // settled below
			}
			return purgeOn(tx, doc, some, lease)
		}); err != nil {
			return api.Purged{}, err
		}
	}
	// Somebody may have declared the same files in the same moment: of two transactions that did not see each other, the later one sees it here.
	if s, _ := c.store.Current(); len(nodes) > 0 {
		if kept := cluster.PurgePlan(s, &anybody).Kept; kept != "" {
			return api.Purged{Nodes: []api.PurgedNode{}, Kept: kept}, c.settlePurges(ctx, &doc.Spec, nil)
		}
	}
	return plan, nil
}

// asked returns the nodes of a plan that are to purge.
func asked(plan api.Purged) []string {
	var ids []string
	for _, n := range plan.Nodes {
		if n.State != api.PurgeKept {
			ids = append(ids, n.NodeID)
		}
	}
	return ids
}

// purgeOn wishes files away on nodes, and takes back the pulls that were made of the deleted model.
func purgeOn(tx *store.Tx, doc api.CacheWish, nodes []string, lease int64) error {
	for _, id := range nodes {
		doc.NodeID = id
		if err := store.CacheWishes.PutLeased(tx, doc.Key(), doc, lease); err != nil {
			return err
		}
	}
	for w := range tx.State().Wishes.All() {
		if w.Value.Kind == api.WishPull && slices.Contains(nodes, w.Value.NodeID) && w.Value.Spec.SameFiles(&doc.Spec) {
			if err := store.CacheWishes.Delete(tx, w.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropPurges takes back what was to be deleted of a repository, because somebody wants it again: on the named nodes, or without names on all. One
// transaction holds only so many documents; settlePurges takes the rest.
func dropPurges(tx *store.Tx, spec *api.ModelSpec, nodes []string) error {
	ids := cluster.WishesFor(tx.State(), api.WishPurge, spec, nodes)
	for _, id := range ids[:min(len(ids), wishesPerTx)] {
		if err := store.CacheWishes.Delete(tx, id); err != nil {
			return err
		}
	}
	return nil
}

// settlePurges takes back the purges that a transaction which wants the files did not see or had no room for.
func (c *Control) settlePurges(ctx context.Context, spec *api.ModelSpec, nodes []string) error {
	s, _ := c.store.Current()
	return c.dropWishes(ctx, cluster.WishesFor(s, api.WishPurge, spec, nodes))
}
