package api

import (
	"encoding/json"
	"errors"
	"strings"
)

// EngineImage is a container image of an engine, as version 1 keeps them: /images/{id}. Nebula runs no containers: it keeps them for the nodes of an existing
// Nebula and for the clients that show them.
type EngineImage struct {
	ID            string        `json:"id"`
	EngineType    string        `json:"engine_type"`
	Image         string        `json:"image"` // registry/name:tag
	Platforms     List[string]  `json:"platforms"`
	VersionPolicy VersionPolicy `json:"version_policy"`
	PrePull       bool          `json:"pre_pull"`
	Description   string        `json:"description,omitempty"`
	CreatedAtMS   int64         `json:"created_at_ms"`
	UpdatedAtMS   int64         `json:"updated_at_ms"`
}

// VersionPolicy says whether a node looks for a newer image of the same name.
type VersionPolicy string

// The policies.
const (
	PolicyPin     VersionPolicy = "pin"     // the image stays
	PolicyRolling VersionPolicy = "rolling" // the newest of its name
)

// UnmarshalJSON gives absent fields their defaults and refuses a document that lacks what version 1 requires.
func (i *EngineImage) UnmarshalJSON(b []byte) error {
	type plain EngineImage
	v := plain{VersionPolicy: PolicyPin, PrePull: true}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	if v.ID == "" || v.EngineType == "" || v.Image == "" {
		return errors.New("one of id, engine_type and image is missing")
	}
	v.VersionPolicy = VersionPolicy(strings.ToLower(string(v.VersionPolicy)))
	*i = EngineImage(v)
	return nil
}

// Limits of an image.
const (
	MaxImage     = 512 // bytes of its name, and of what it is for
	maxPlatforms = 32
)

// Validate checks what people send. The name of the image may reach a command line: it must not look like an option.
func (i *EngineImage) Validate() error {
	switch {
	case !ValidNodeID(i.ID):
		return fieldError("id", `must be letters, digits, ".", "_" and "-", a letter or digit first`)
	case !printable(i.EngineType, 64):
		return fieldError("engine_type", "must be a word of at most 64 bytes, without spaces")
	case !printable(i.Image, MaxImage) || strings.HasPrefix(i.Image, "-"):
		return fieldError("image", "must be the name of an image of at most 512 bytes, without spaces, such as vllm/vllm-openai:v0.11.0")
	case i.VersionPolicy != PolicyPin && i.VersionPolicy != PolicyRolling:
		return fieldError("version_policy", "must be pin or rolling")
	case len(i.Platforms) > maxPlatforms:
		return fieldError("platforms", "are more than 32")
	}
	for _, p := range i.Platforms {
		if !printable(p, 64) {
			return fieldError("platforms", "must be words of at most 64 bytes, without spaces")
		}
	}
	return checkText("description", i.Description, MaxImage)
}

func printable(s string, most int) bool {
	return s != "" && len(s) <= most && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// NodeImageStatus is how an image stands on a node of an existing Nebula: /image_status/{node}/{id}.
type NodeImageStatus struct {
	NodeID      string          `json:"node_id"`
	ImageID     string          `json:"image_id"`
	Image       string          `json:"image"`
	Status      ImagePullStatus `json:"status"`
	Error       string          `json:"error,omitempty"`
	UpdatedAtMS int64           `json:"updated_at_ms"`
}

// Key returns "node/image", the document's name in the store.
func (s *NodeImageStatus) Key() string { return s.NodeID + "/" + s.ImageID }

// ImagePullStatus is how far an image is on a node.
type ImagePullStatus string

// The words.
const (
	ImagePending ImagePullStatus = "pending"
	ImagePulling ImagePullStatus = "pulling"
	ImageReady   ImagePullStatus = "ready"
	ImageFailed  ImagePullStatus = "failed"
)

// V1PutImage is the body of PUT /api/images/{id}; the id of the path counts.
type V1PutImage struct {
	ID            string        `json:"id"`
	EngineType    string        `json:"engine_type"`
	Image         string        `json:"image"`
	Platforms     []string      `json:"platforms,omitempty"`
	VersionPolicy VersionPolicy `json:"version_policy,omitempty"` // absent: pin
	PrePull       *bool         `json:"pre_pull,omitempty"`       // absent: true
	Description   *string       `json:"description,omitempty"`
	CreatedAtMS   *int64        `json:"created_at_ms,omitempty"` // absent or 0: now
}

// V1ImageDeleted answers a DELETE of an image.
type V1ImageDeleted struct {
	ID     string `json:"id"`
	Status string `json:"status"` // "deleted"
}
