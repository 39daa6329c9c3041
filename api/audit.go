package api

import "encoding/json"

// AuditRecord is one entry of the audit log: a change, a login, a denial or the reading of a secret. Records are chained: each has the hash of the
// one before it.
type AuditRecord struct {
	Seq       uint64 `json:"seq"` // 1, 2, 3 …
	TimeMS    int64  `json:"time_ms"`
	Actor     Actor  `json:"actor"`
	Source    string `json:"source,omitempty"` // IP address
	Verb      string `json:"verb"`             // model.create, login, denied, …
	Object    string `json:"object,omitempty"` // model/qwen, user/ann, …
	Result    string `json:"result"`           // ok, denied or failed
	Code      Code   `json:"code,omitempty"`   // of what was not ok
	RequestID string `json:"request_id,omitempty"`
	// Repeated counts further records like this one within a minute, which were not stored.
	Repeated  int              `json:"repeated,omitempty"`
	Changes   []DocumentChange `json:"changes,omitempty"`
	Truncated bool             `json:"truncated,omitempty"` // of the changes
	PrevHash  string           `json:"prev_hash"`           // SHA-256 in hex; of the first record empty
	Hash      string           `json:"hash"`                // of this record without this field, as JSON
}

// The results of an audit record.
const (
	AuditOK     = "ok"
	AuditDenied = "denied"
	AuditFailed = "failed"
)

// Actor is who did something.
type Actor struct {
	ID    string `json:"id"`   // a user's name, a machine's id, or what part of Nebula it was
	Kind  string `json:"kind"` // user, machine, system, static or anonymous
	Role  string `json:"role,omitempty"`
	KeyID string `json:"key_id,omitempty"` // of the key that was shown
}

// DocumentChange is one field of a stored document that changed. Private values are stars.
type DocumentChange struct {
	Document string          `json:"document"`        // "model spec qwen"
	Field    string          `json:"field,omitempty"` // path with dots; empty = the whole document
	Before   json.RawMessage `json:"before,omitempty"`
	After    json.RawMessage `json:"after,omitempty"`
}

// AuditHead is the end of the chain.
type AuditHead struct {
	Seq  uint64 `json:"seq"`
	Hash string `json:"hash"`
	// Anchor is where the records that are kept begin; nil: none was removed.
	Anchor *AuditAnchor `json:"anchor,omitempty"`
}

// AuditAnchor is the newest record that was removed for its age, or because there are too many: the first that is kept follows it.
type AuditAnchor struct {
	Seq    uint64 `json:"seq"`
	Hash   string `json:"hash"`
	TimeMS int64  `json:"time_ms"` // of its removal
}

// AuditHeadID is the id of the one AuditHead.
const AuditHeadID = "last"

// ModelEvent is one entry of a model's history: what people did with it, or what Nebula did and why.
type ModelEvent struct {
	ID       string `json:"id"` // sorts by time
	TimeMS   int64  `json:"time_ms"`
	ModelUID string `json:"model_uid"`
	Kind     string `json:"kind"`            // change (by people) or status (by Nebula)
	Actor    *Actor `json:"actor,omitempty"` // nil: Nebula itself
	Verb     string `json:"verb"`            // model.create, placed, running, failed, …
	Message  string `json:"message"`
	// Replica and Node are set where the event is about one replica.
	Replica *uint32 `json:"replica,omitempty"`
	Node    string  `json:"node,omitempty"`
}

// IdempotentAnswer is what a create with an Idempotency-Key was answered, kept for a day so that the same request is carried out once.
type IdempotentAnswer struct {
	ID          string          `json:"id"` // hash of caller, route and key
	RequestHash string          `json:"request_hash"`
	Result      json.RawMessage `json:"result"` // without secrets that are shown once
	CreatedAtMS int64           `json:"created_at_ms"`
}
