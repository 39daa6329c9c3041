// Package engine turns "this model on this slot" into "this process": the command line, environment, probes and stop
// rules of each inference engine, and the reading of its log lines. It is pure: it runs nothing, opens nothing and reads no clock.
package engine

import (
	"regexp"
	"strconv"
	"time"

	"github.com/nebula-serve/nebula/api"
)

// Input is what an engine needs to know to plan a launch.
type Input struct {
	ServedName string          // the name the engine answers to: the model's uid
	Path       string          // absolute: a GGUF file or its first shard for llama.cpp, a snapshot folder for the others
	MMProj     string          // absolute path of a vision projector; empty = none
	Config     api.ModelConfig // effective configuration
	ExtraArgs  []string        // from the placement; engine flags that Nebula does not own
	Binary     string          // absolute path of the engine's executable
	Version    string          // of that executable, as it tells; empty = unknown: flags that need a recent one are left out
	Cores      int             // CPU cores granted; 0 = the engine's own choice
	GPUs       []GPU           // empty = CPU only
	Port       int             // for engines that cannot choose one; 0 otherwise
	Embedding  bool            // serve embeddings instead of text
	// Pooling is how token vectors become one (none, mean, cls, last), as the model's file says; empty = mean.
	Pooling string
	// TrainedContext is the context length that the model was trained for, in tokens; 0 = unknown.
	TrainedContext int
	// BaseEnv is the node's own environment as KEY=VALUE. Only the keys of [InheritedEnv] reach an engine.
	BaseEnv  []string
	Identity Identity
}

// GPU is an accelerator granted to a replica.
type GPU struct {
	Index  uint32
	UUID   string // preferred over Index in the environment when known
	Vendor string // "amd", "nvidia"; empty = nvidia
}

// Identity names a replica's incarnation. It is fenced: adoption and killing go by it, never by name or age.
type Identity struct {
	ModelUID    string `json:"model_uid"`
	ReplicaID   uint32 `json:"replica_id"`
	PlanVersion uint64 `json:"plan_version"` // of the plan that started it
	NodeID      string `json:"node_id"`
}

// Launch is a process to run, as data. It survives a trip through JSON.
type Launch struct {
	Engine       string
	ServedName   string // what /v1/models of the right process lists
	Argv         []string
	Env          []string // complete: nothing is inherited
	PortMode     PortMode
	Port         int            // with PortReserved: the port in Argv
	PortLog      *regexp.Regexp // with PortFromLog: group 1 is the port
	Ready        Probe
	Live         Probe
	Stop         []TimedSignal // sent to the main process, in order; then KillAfter kills the group
	KillAfter    time.Duration
	OKExit       []int         // values of [Exit.Status] that are no failure after a stop
	StallTimeout time.Duration // start-up may take as long as it shows signs of life; this long without one is a failure
	StartTimeout time.Duration // hard cap of the start-up
}

// PortMode says who chooses the port.
type PortMode int

// The port modes.
const (
	PortFromLog  PortMode = iota // the engine takes a free port and logs it
	PortReserved                 // Nebula picks a free one and passes it; taken in the meantime = try again
)

// Probe is an HTTP check on loopback. While starting it has three answers: refused, busy (503), ok (2xx).
type Probe struct {
	Path     string
	Every    time.Duration
	Timeout  time.Duration
	Failures int // in a row, before the replica counts as unhealthy
}

// Answer is what a probe found.
type Answer int

// The answers.
const (
	AnswerRefused  Answer = iota // nothing listens, or the port is not known yet
	AnswerBusy                   // it listens and loads (503)
	AnswerOK                     // 2xx from the right process
	AnswerFailed                 // it answers, but not as it should, or not in time
	AnswerStranger               // somebody else's server has the port
)

// String returns the answer in one word.
func (a Answer) String() string {
	names := [...]string{"refused", "busy", "ok", "failed", "stranger"}
	if a < 0 || int(a) >= len(names) {
		return "answer " + strconv.Itoa(int(a))
	}
	return names[a]
}

// TimedSignal is a signal ("TERM", "KILL") to send After the stop began.
type TimedSignal struct {
	Signal string
	After  time.Duration
}

// Exit is how an engine's main process ended.
type Exit struct {
	Code    int       `json:"code"`              // exit status; -1 when a signal ended it or nothing is known
	Signal  int       `json:"signal,omitempty"`  // number of the signal that ended it; 0 = none
	Unknown bool      `json:"unknown,omitempty"` // it is gone and nobody saw how: its shim died first, or the machine restarted
	OOM     bool      `json:"oom,omitempty"`     // killed while the kernel's out-of-memory killer was at work
	Error   string    `json:"error,omitempty"`   // why it could not be started at all
	At      time.Time `json:"at"`
	// Stopped means that Nebula asked it to end; Served that it had been ready. Start-up rules do not explain the end
	// of an engine that served.
	Stopped bool `json:"stopped,omitempty"`
	Served  bool `json:"served,omitempty"`
}

// Status folds code and signal into one number as shells do: 128+n for signal n, -1 when unknown.
func (e Exit) Status() int {
	if e.Signal > 0 {
		return 128 + e.Signal
	}
	return e.Code
}

// Failure says why an engine does not run: what happened, the numbers, what to change.
type Failure struct {
	Code    api.FailureCode
	Message string
	Final   bool // trying again is useless until the model or its files change
}

// Error returns the message.
func (f *Failure) Error() string { return f.Message }
