package api

// HubFiles is what a repository of a hub holds, as one would choose among it.
type HubFiles struct {
	Name      string      `json:"name"`
	Source    ModelSource `json:"source"`
	Revision  string      `json:"revision"` // that was asked for, or the hub's own first branch
	Commit    string      `json:"commit"`   // that it is now; of ModelScope, which has none, a name made of the files
	Files     int         `json:"files"`
	SizeBytes uint64      `json:"size_bytes"`
	// Variants are the GGUF files that llama.cpp can serve, each by itself, the smallest first: name one in the model's files.
	Variants []HubVariant `json:"variants"`
}

// HubVariant is one quantisation of a model.
type HubVariant struct {
	File      string `json:"file"` // the first one, of a model in parts
	Parts     int    `json:"parts"`
	SizeBytes uint64 `json:"size_bytes"` // of all parts
}

// HubModel is a model that a search in a hub has found, as the hub describes it. What the hub does not say is absent.
type HubModel struct {
	ID          string      `json:"id"` // OWNER/NAME: the model_name to create it with
	Source      ModelSource `json:"source"`
	Author      string      `json:"author,omitempty"`
	Downloads   *uint64     `json:"downloads,omitempty"` // over the time that the hub counts
	Likes       *uint64     `json:"likes,omitempty"`
	Task        string      `json:"task,omitempty"`
	Library     string      `json:"library,omitempty"`
	Licence     string      `json:"licence,omitempty"`
	Tags        []string    `json:"tags"`
	CreatedAtMS int64       `json:"created_at_ms,omitempty"`
	UpdatedAtMS int64       `json:"updated_at_ms,omitempty"`
	Gated       *bool       `json:"gated,omitempty"`      // its files need a token of an account that has been given access
	Parameters  uint64      `json:"parameters,omitempty"` // of the model
	SizeBytes   uint64      `json:"size_bytes,omitempty"` // of all files of the repository
}
