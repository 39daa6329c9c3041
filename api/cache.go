package api

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
)

// WishKind is what people wish of a model's files on a node.
type WishKind string

// The kinds of wishes.
const (
	WishPin   WishKind = "pin"   // never delete them to make room; holds until it is taken back
	WishPull  WishKind = "pull"  // bring them here, and keep them for a day
	WishPurge WishKind = "purge" // delete them, once; ends by itself after an hour
)

// CacheWish is what people wish of a model's files on one node, apart from its replicas. Only people write it.
type CacheWish struct {
	NodeID string   `json:"node_id"`
	Kind   WishKind `json:"kind"`
	// Spec has the fields that name files, and the engine that they are chosen for. Its uid is that of the declared model that the wish was
	// made of, or empty.
	Spec        ModelSpec `json:"spec"`
	CreatedAtMS int64     `json:"created_at_ms"`
	CreatedBy   string    `json:"created_by,omitempty"`
	ExpiresAtMS int64     `json:"expires_at_ms,omitempty"` // when its lease ends; 0 = never
}

// Known tells whether this version understands the wish. Others are never acted upon, nor taken for absent.
func (w *CacheWish) Known() bool {
	switch w.Kind {
	case WishPin, WishPull, WishPurge:
		return w.Spec.ModelName != ""
	}
	return false
}

// Key returns "node/kind-files", the wish's name in the store.
func (w *CacheWish) Key() string { return w.NodeID + "/" + string(w.Kind) + "-" + w.Spec.FilesID() }

// FilesOnly returns the part of a spec that names files, the engine that they are chosen for, and who asks for them: uid and secret.
func (s *ModelSpec) FilesOnly() ModelSpec {
	return ModelSpec{
		ModelUID: s.ModelUID, ModelName: s.ModelName, ModelSource: s.ModelSource, ModelPath: s.ModelPath, EngineType: s.Engine(),
		Revision: s.Revision, Files: s.Files, TokenSecret: s.TokenSecret, Labels: Labels{},
	}
}

// FilesID names a choice of files: 16 hex digits of the SHA-256 of its source, name, path, revision, patterns and kind of engine. Models with the
// same one share every file.
func (s *ModelSpec) FilesID() string {
	revision := s.Revision
	if revision == "" && s.ModelSource != SourceModelScope {
		revision = "main"
	}
	parts := append([]string{string(s.ModelSource), s.ModelName, s.ModelPath, revision, s.filesKind()}, s.Files...)
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:8])
}

// filesKind is which files the engine wants: vLLM and SGLang read the same.
func (s *ModelSpec) filesKind() string {
	if s.Engine() == EngineLlamaCPP {
		return "gguf"
	}
	return "folder"
}

// SameRepository tells whether two models take their files from one folder of a node: another choice of them perhaps, but some may be shared.
func (s *ModelSpec) SameRepository(o *ModelSpec) bool {
	return s.ModelSource == o.ModelSource && s.ModelName == o.ModelName && s.ModelPath == o.ModelPath
}

// SameFiles tells whether two models make the same choice in the same repository. Their revisions may differ: two names of one commit lead to the
// same files.
func (s *ModelSpec) SameFiles(o *ModelSpec) bool {
	return s.SameRepository(o) && s.filesKind() == o.filesKind() && slices.Equal(s.Files, o.Files)
}

// CachePull is how a pull stands on its node. Only that node writes it. It is a download like a replica's, with ReplicaID 0.
type CachePull struct {
	PullID string `json:"pull_id"` // the FilesID of what is pulled
	DownloadProgress
	WishedAtMS int64           `json:"wished_at_ms"` // CreatedAtMS of the wish that it is about
	Failure    *ReplicaFailure `json:"failure,omitempty"`
}

// Key returns "node/pull", the document's name in the store.
func (p *CachePull) Key() string { return p.NodeID + "/" + p.PullID }

// Ended tells whether nothing of it moves any more.
func (p *CachePull) Ended() bool { return p.Phase == PhaseComplete || p.Phase == PhaseFailed }

// FilesRequest names a model's files and nodes: the body of POST /api/v2/cache/pull, /pin and /unpin. The files are those of a declared model,
// or those that name, source, revision, engine and patterns choose.
type FilesRequest struct {
	ModelUID    string      `json:"model_uid,omitempty"`
	ModelName   string      `json:"model_name,omitempty"`
	ModelSource ModelSource `json:"model_source,omitempty"` // with model_name; empty = hugging_face
	EngineType  string      `json:"engine_type,omitempty"`
	Revision    string      `json:"revision,omitempty"`
	Files       []string    `json:"files,omitempty"`
	NodeIDs     []string    `json:"node_ids,omitempty"` // empty = every node: of a pull, those that report; of pin and unpin, all members
}

// FilesWished answers a FilesRequest.
type FilesWished struct {
	PullID    string    `json:"pull_id"` // names the files
	ModelName string    `json:"model_name"`
	NodeIDs   []string  `json:"node_ids"`
	Away      []string  `json:"away,omitempty"` // those of node_ids that do not report now
	Kind      WishKind  `json:"kind,omitempty"` // empty: a wish was taken back
	Spec      ModelSpec `json:"spec"`
}

// PullState is how a pull stands, for people.
type PullState string

// The states of a pull.
const (
	PullWaiting     PullState = "waiting" // its node has not taken it on yet
	PullDownloading PullState = "downloading"
	PullVerifying   PullState = "verifying"
	PullComplete    PullState = "complete"
	PullFailed      PullState = "failed"
	PullAway        PullState = "away" // its node does not report
)

// PullView is a pull: the wish, and how it stands.
type PullView struct {
	NodeID      string     `json:"node_id"`
	PullID      string     `json:"pull_id"`
	State       PullState  `json:"state"`
	Spec        ModelSpec  `json:"spec"`
	Progress    *CachePull `json:"progress,omitempty"`
	CreatedAtMS int64      `json:"created_at_ms"`
	CreatedBy   string     `json:"created_by,omitempty"`
	ExpiresAtMS int64      `json:"expires_at_ms,omitempty"`
}

// PullCancelled answers a DELETE of a pull.
type PullCancelled struct {
	NodeID string `json:"node_id"`
	PullID string `json:"pull_id"`
	Status string `json:"status"` // "cancelled"
}

// CacheEntryView is a model in a node's cache, and who uses it.
type CacheEntryView struct {
	ModelCacheEntry
	MatchedModelUIDs List[string] `json:"matched_model_uids"`
	Pinned           bool         `json:"pinned"` // all or some of its files
}

// CacheSummary answers GET /api/v2/cache/summary.
type CacheSummary struct {
	TotalCachedModels   int                  `json:"total_cached_models"` // entries of all nodes
	TotalCacheSizeBytes uint64               `json:"total_cache_size_bytes"`
	Nodes               List[NodeDiskStatus] `json:"nodes"`
	Caches              List[CacheEntryView] `json:"caches"`
}

// Purged says what becomes of a deleted model's files.
type Purged struct {
	Nodes []PurgedNode `json:"nodes"`          // that have some of them, or may
	Kept  string       `json:"kept,omitempty"` // why no file goes anywhere; empty: some may
}

// PurgedNode says what becomes of them on one node.
type PurgedNode struct {
	NodeID string     `json:"node_id"`
	State  PurgeState `json:"state"`
	Why    string     `json:"why,omitempty"`
}

// PurgeState is what becomes of a deleted model's files on a node.
type PurgeState string

// The states of a purge on a node.
const (
	PurgeAsked PurgeState = "asked" // the node removes them
	PurgeAway  PurgeState = "away"  // the node does not report; it removes them if it is back within the hour
	PurgeKept  PurgeState = "kept"
)
