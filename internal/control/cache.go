package control

import (
	"context"
	"slices"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/store"
)

const (
	pullLife  = 24 * time.Hour // how long a pull is wished, and protects its files
	purgeLife = time.Hour      // how long a purge is wished: a node that is back later deletes nothing
	// wishesPerTx is how many nodes' wishes one transaction changes; with each it may read and write three documents.
	wishesPerTx = 30
)

// PullModel wishes a model's files on nodes that may not have a replica of it: those named, or all that report. What an earlier purge was to
// delete there stays.
func (c *Control) PullModel(ctx context.Context, req api.FilesRequest) (api.FilesWished, error) {
	return c.wishFiles(ctx, req, api.WishPull, pullLife)
}

// PinModel wishes that a model's files are never deleted to make room on the nodes named, or on all. It brings no files there.
func (c *Control) PinModel(ctx context.Context, req api.FilesRequest) (api.FilesWished, error) {
	return c.wishFiles(ctx, req, api.WishPin, 0)
}

func (c *Control) wishFiles(ctx context.Context, req api.FilesRequest, kind api.WishKind, life time.Duration) (api.FilesWished, error) {
	s, _ := c.store.Current()
	spec, err := filesOf(s, req)
	if err != nil {
		return api.FilesWished{}, err
	}
	nodes, err := targets(s, req.NodeIDs, kind)
	if err != nil {
		return api.FilesWished{}, err
	}
	now := c.now()
	doc := api.CacheWish{Kind: kind, Spec: spec, CreatedAtMS: now.UnixMilli(), CreatedBy: by(ctx)}
	var lease int64
	if life > 0 {
		doc.ExpiresAtMS = now.Add(life).UnixMilli()
		if lease, err = c.grant(ctx, life); err != nil {
			return api.FilesWished{}, err
		}
	}
	for some := range slices.Chunk(nodes, wishesPerTx) {
		err := c.update(ctx, "cache."+string(kind), "cache/"+spec.ModelName, func(tx *store.Tx) error {
			for _, id := range some {
				if err := node(tx, id); err != nil {
					return err
				}
				doc.NodeID = id
				if err := store.CacheWishes.PutLeased(tx, doc.Key(), doc, lease); err != nil {
					return err
				}
			}
			return dropPurges(tx, &spec, some)
		})
		if err != nil {
			return api.FilesWished{}, err
		}
	}
	return answer(s, kind, spec, nodes), c.settlePurges(ctx, &spec, nodes)
}

func answer(s *cluster.State, kind api.WishKind, spec api.ModelSpec, nodes []string) api.FilesWished {
	out := api.FilesWished{PullID: spec.FilesID(), ModelName: spec.ModelName, NodeIDs: nodes, Kind: kind, Spec: spec}
	for _, id := range nodes {
		if !s.Nodes.Has(id) {
			out.Away = append(out.Away, id)
		}
	}
	return out
}

// UnpinModel lifts the pins of a model's files on the nodes named, or on all. A model that is deleted is known by the uid that it had.
func (c *Control) UnpinModel(ctx context.Context, req api.FilesRequest) (api.FilesWished, error) {
	s, _ := c.store.Current()
	spec, err := filesOf(s, req)
	deleted := api.HasCode(err, api.CodeNotFound)
	if err != nil && !deleted {
		return api.FilesWished{}, err
	}
	var ids, nodes []string
	for w := range s.Wishes.All() {
		same := !deleted && w.Value.Spec.SameFiles(&spec) || deleted && w.Value.Spec.ModelUID == req.ModelUID
		if w.Value.Kind == api.WishPin && same && (len(req.NodeIDs) == 0 || slices.Contains(req.NodeIDs, w.Value.NodeID)) {
			ids, nodes, spec = append(ids, w.ID), append(nodes, w.Value.NodeID), w.Value.Spec
		}
	}
	if len(ids) == 0 {
		if deleted {
			return api.FilesWished{}, err
		}
		return api.FilesWished{}, api.Errorf(api.CodeNotFound, "these files of %s are not pinned there; see: nebula cache list", spec.ModelName)
	}
	return answer(s, "", spec, slices.Compact(nodes)), c.dropWishes(ctx, ids)
}

// CancelPull takes a pull back. What has come already stays, and a later pull or replica goes on from there.
func (c *Control) CancelPull(ctx context.Context, nodeID, pull string) error {
	id := nodeID + "/" + string(api.WishPull) + "-" + pull
	err := c.update(ctx, "cache.cancel-pull", "cache/"+id, func(tx *store.Tx) error {
		_, ok, err := store.CacheWishes.Get(tx, id)
		if err == nil && !ok {
			return api.Errorf(api.CodeNotFound, "there is no pull %.40q on node %.80q; list them with: nebula cache pulls", pull, nodeID)
		}
		return store.CacheWishes.Delete(tx, id) // one that cannot be read goes too
	})
	return err
}

// filesOf returns the files that a request names.
func filesOf(s *cluster.State, req api.FilesRequest) (api.ModelSpec, error) {
	var spec api.ModelSpec
	switch {
	case (req.ModelUID == "") == (req.ModelName == ""):
		return spec, invalid("model_uid", "must be given, or model_name for a model that is not declared; not both")
	case req.ModelUID != "":
		if why, bad := s.Unreadable(req.ModelUID); bad {
			return spec, api.Errorf(api.CodeConflict, "nobody knows which files the model %s has: %s", req.ModelUID, why)
		}
		var ok bool
		if spec, ok = s.Models.Value(req.ModelUID); !ok {
			return spec, notFound(req.ModelUID)
		}
	default:
		spec = newSpec(api.CreateModel{
			ModelName: req.ModelName, ModelSource: req.ModelSource, EngineType: req.EngineType, Revision: req.Revision, Files: req.Files,
		}, "", time.Time{})
		if err := validateCreate(&spec); err != nil && spec.ModelSource != api.SourceLocal {
			return spec, err
		}
	}
	if spec.ModelSource == api.SourceLocal {
		return spec, api.Errorf(api.CodeInvalidRequest,
			"the files of a local model are your own, on the node already: Nebula neither fetches nor deletes them, so there is nothing to pull or pin")
	}
	return spec.FilesOnly(), nil
}

// targets returns the nodes of a request, sorted.
func targets(s *cluster.State, ids []string, kind api.WishKind) ([]string, error) {
	all := map[string]bool{}
	for n := range s.Nodes.All() {
		all[n.ID] = true
	}
	if kind == api.WishPin {
		for m := range s.Members.Prefix(string(api.MachineNode) + "/") {
			all[m.Value.ID] = true
		}
	}
	out := slices.Clone(ids)
	if len(ids) == 0 {
		for id := range all {
			out = append(out, id)
		}
	}
	if len(out) == 0 {
		return nil, api.Errorf(api.CodeConflict, "no node reports, so there is nowhere to bring files to; see: nebula node list")
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// node makes a transaction depend on a node that is a member, or alive.
func node(tx *store.Tx, id string) error {
	_, member, err := store.Members.Get(tx, api.MemberKey(api.MachineNode, id))
	if err == nil && !member && !tx.State().Nodes.Has(id) {
		return noMember(api.MachineNode, id)
	}
	return err
}

// grant returns a lease for wishes that end by themselves.
func (c *Control) grant(ctx context.Context, life time.Duration) (int64, error) {
	if dryRun(ctx) {
		return 0, nil
	}
	if c.fleet.Leases == nil {
		return 0, api.Errorf(api.CodeUnavailable, "this server makes no wishes that end by themselves: use another one of the cluster")
	}
	lease, err := c.fleet.Leases.Grant(ctx, int64(life/time.Second))
	if err != nil {
		return 0, api.Errorf(api.CodeUnavailable, "the store does not answer, so nothing was changed: try again")
	}
	return lease, nil
}

// dropWishes takes wishes back, whatever has become of them.
func (c *Control) dropWishes(ctx context.Context, ids []string) error {
	for some := range slices.Chunk(ids, 2*wishesPerTx) {
		if err := c.update(ctx, "cache.drop-wishes", "", func(tx *store.Tx) error {
			for _, id := range some {
				if err := store.CacheWishes.Delete(tx, id); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}
