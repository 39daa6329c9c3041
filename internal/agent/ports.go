package agent

import (
	"context"
	"net/http"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/engine"
)

// Link is the agent's view of the server: what to run comes down, what is true goes up. Both are whole documents, so
// nothing is lost when one is missed.
type Link interface {
	// Desired returns the newest desired set and a channel that closes when there is a newer one. Revision 0 means
	// that none is known yet: the agent then starts and stops nothing.
	Desired() (api.NodeDesired, <-chan struct{})
	// Report stores what is true on this node. It returns nil once the cluster shows it.
	Report(ctx context.Context, o api.NodeObserved) error
	// Secret returns the token with which the files of a model that names a secret may be fetched. The server gives it to a node that is to
	// run the model now; it is kept nowhere.
	Secret(ctx context.Context, modelUID string) (api.Token, error)
}

// Files brings a model's files to this node.
type Files interface {
	// Fetch brings the files of a request here and returns when the model is complete and verified. It may be called again at any time and continues. An
	// error that is a *engine.Failure says what people should do; any other is taken as transient.
	Fetch(ctx context.Context, req FileRequest, progress func(api.DownloadProgress)) (Model, error)
	// Hold keeps a model's files from being deleted until release, or until the agent's process ends. An agent holds those of each engine that it has
	// in hand: from before it starts, or from its adoption on, until it is gone. An error means that the files are not there any more, or not to be
	// kept: no engine may be started on them.
	Hold(ctx context.Context, m Model, owner string) (release func(), err error)
}

// FileRequest says which files are needed.
type FileRequest struct {
	Spec   api.ModelSpec
	Engine string // that will open them
	// Token gets the model's own credential for its source. It is called only when files are missing here, so that what is here needs no
	// server; nil: the model has none of its own.
	Token func(context.Context) (api.Token, error)
}

// Cache keeps and deletes files on this node beyond what replicas fetch.
type Cache interface {
	// SetPins tells which files must not be deleted to make room. Before the first call nobody knows, and nothing may be.
	SetPins(pins []api.ModelSpec)
	// SetWanted tells which files replicas and pulls want here now, whether they are here yet or not.
	SetWanted(wanted []api.ModelSpec)
	// SetStopped tells which models are declared and stopped: their files are the last to be deleted to make room.
	SetStopped(stopped []api.ModelSpec)
	// Purge deletes a model's files as far as they were complete before a time and nothing else on this node refers to them, and returns how many
	// bytes of disk that freed. It may be called again at any time.
	Purge(ctx context.Context, spec api.ModelSpec, before time.Time) (freed uint64, err error)
}

// Model is a model on this node's disk.
type Model struct {
	Path      string `json:"path"` // what the engine opens
	MMProj    string `json:"mmproj,omitempty"`
	Embedding bool   `json:"embedding,omitempty"` // the model gives vectors, not text
	Pooling   string `json:"pooling,omitempty"`   // how token vectors become one, as the file says; empty = unknown
	Context   uint32 `json:"context,omitempty"`   // context length that the model was trained for, in tokens; 0 = unknown
}

// Runner runs launches as processes that outlive the agent.
type Runner interface {
	Start(ctx context.Context, id engine.Identity, l engine.Launch, meta []byte) (Process, error)
	// Adopt returns every process that an earlier agent on this data directory left, running or ended since.
	Adopt(ctx context.Context) ([]Process, error)
}

// Process is one incarnation of a replica's engine.
type Process interface {
	Identity() engine.Identity
	Meta() []byte
	Launch() engine.Launch
	PID() int
	StartedAt() time.Time
	Port() int // 0 until it is known
	Done() <-chan struct{}
	Exit() engine.Exit
	// Probe asks the engine on its own port; the answer of a stranger on that port is never taken for it.
	Probe(ctx context.Context, client *http.Client, p engine.Probe) engine.Answer
	// Activity is a number that changes while the engine is at work: log bytes, CPU time and memory added up.
	Activity() uint64
	Tail(lines int) []string
	// Stop ends the process and its group as its Launch says and returns when it is gone.
	Stop(ctx context.Context) error
	Remove() error // forgets an ended process
}

// Host tells about the machine.
type Host interface {
	Node(ctx context.Context) (api.NodeStatus, error)
	// Storage returns what was last seen of the models on this machine, and a channel that closes when there is something newer. It never waits.
	Storage() (Storage, <-chan struct{})
}

// Storage is the disk that holds the models, what is on it, and the alerts about it.
type Storage struct {
	Disk   *api.NodeDiskStatus // nil = nobody has looked yet
	Models []api.ModelCacheEntry
	Alerts []api.DiskAlert
}
