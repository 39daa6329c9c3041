package api

// CachePrune asks a node to remove files of models that it does not need: the body of POST /api/v2/nodes/{id}/cache/prune. By itself it removes what is
// left of broken-off downloads and, where the disk is fuller than the node's high watermark, the models that have not been used for longest.
type CachePrune struct {
	DryRun    bool    `json:"dry_run,omitempty"`    // only tell what would be removed
	AllUnused bool    `json:"all_unused,omitempty"` // every model that nothing on the node needs
	ToPercent float64 `json:"to_percent,omitempty"` // models until the disk is no fuller than this; 0 = the node's watermarks
	Orphans   bool    `json:"orphans,omitempty"`    // no model, only files that belong to none
}

// Validate tells what is wrong with a request.
func (p *CachePrune) Validate() error {
	asked := 0
	for _, b := range []bool{p.AllUnused, p.ToPercent != 0, p.Orphans} {
		if b {
			asked++
		}
	}
	switch {
	case p.ToPercent < 0 || p.ToPercent > 100:
		return Errorf(CodeInvalidRequest, "to_percent is a percentage of the disk: between 0 and 100")
	case asked > 1:
		return Errorf(CodeInvalidRequest, "all_unused, to_percent and orphans exclude each other: give one of them")
	}
	return nil
}

// CacheEvict asks a node to remove one model's files: the query of DELETE /api/v2/nodes/{id}/cache.
type CacheEvict struct {
	ModelName string `json:"model_name"`           // as the cache calls it
	CachePath string `json:"cache_path,omitempty"` // only what is in this folder; empty = of every source
	DryRun    bool   `json:"dry_run,omitempty"`    // only tell what would be removed
}

// Bounds of what names a model's files, in bytes.
const (
	maxEvictName = 1024
	maxEvictPath = 4096
)

// Validate tells what is wrong with a request.
func (e *CacheEvict) Validate() error {
	switch {
	case e.ModelName == "":
		return &Error{Code: CodeInvalidRequest, Message: "say whose files are to go, with ?model=NAME", Details: []Field{{Field: "model", Reason: "must be the name of a model in the cache"}}}
	case len(e.ModelName) > maxEvictName || len(e.CachePath) > maxEvictPath:
		return Errorf(CodeInvalidRequest, "model takes at most %d bytes, path at most %d", maxEvictName, maxEvictPath)
	}
	return nil
}

// CachePruned tells what a prune removed, or would.
type CachePruned struct {
	NodeID     string            `json:"node_id"`
	DryRun     bool              `json:"dry_run"`
	Removed    List[PrunedFiles] `json:"removed"` // in the order of their removal
	Kept       List[KeptFiles]   `json:"kept"`
	FreedBytes uint64            `json:"freed_bytes"` // blocks of the disk
	ShortBytes uint64            `json:"short_bytes,omitempty"`
	Problems   []string          `json:"problems,omitempty"` // what could not be removed, and why
}

// PrunedFiles are files that are removed together.
type PrunedFiles struct {
	ModelName  string `json:"model_name"`
	Commit     string `json:"commit,omitempty"` // empty: a file that is of no model
	File       string `json:"file,omitempty"`
	Reason     string `json:"reason"`
	FreedBytes uint64 `json:"freed_bytes"`
	LastUsedMS int64  `json:"last_used_ms,omitempty"`
}

// KeptFiles is a model that stays.
type KeptFiles struct {
	ModelName  string `json:"model_name"`
	Commit     string `json:"commit"`
	Reason     string `json:"reason"`
	LastUsedMS int64  `json:"last_used_ms,omitempty"`
}

// CacheVerify asks a node to read its files and compare them with their hashes: the body of POST /api/v2/nodes/{id}/cache/verify.
type CacheVerify struct {
	ModelName string `json:"model_name,omitempty"` // as the source calls it; empty = all
}

// VerifyEvent is one line of a verification: progress about once a second, each damaged file when it is found, and the end.
type VerifyEvent struct {
	Type       VerifyKind `json:"type"`
	NodeID     string     `json:"node_id,omitempty"`
	ModelName  string     `json:"model_name,omitempty"`
	File       string     `json:"file,omitempty"`
	Path       string     `json:"path,omitempty"`
	Fault      string     `json:"fault,omitempty"`
	Files      int        `json:"files"` // checked until now
	FilesTotal int        `json:"files_total"`
	DoneBytes  uint64     `json:"done_bytes"`
	TotalBytes uint64     `json:"total_bytes"`
	Damaged    int        `json:"damaged"`
	Error      *Error     `json:"error,omitempty"` // why it ended early
}

// VerifyKind is what a line of a verification tells.
type VerifyKind string

// The kinds of lines.
const (
	VerifyProgress VerifyKind = "progress"
	VerifyDamaged  VerifyKind = "damaged"
	VerifyEnd      VerifyKind = "end"    // everything was read
	VerifyFailed   VerifyKind = "failed" // it was not
)
