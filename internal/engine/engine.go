// Package engine turns "this model on this slot" into "this process": the command line, environment, probes and stop
// rules of each inference engine, and the reading of its log lines. It is pure: it runs nothing, opens nothing and reads no clock.
package engine

import (
	"regexp"
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
	Cores      int             // CPU cores granted
	GPUs       []GPU           // empty = CPU only
	Port       int             // for engines that cannot choose one; 0 otherwise
	Embedding  bool            // serve embeddings instead of text
	Identity   Identity
}

// GPU is an accelerator granted to a replica.
type GPU struct {
	Index uint32
	UUID  string // preferred over Index in the environment when known
}

// Identity names a replica's incarnation. It is fenced: adoption and killing go by it, never by name or age.
type Identity struct {
	ModelUID    string `json:"model_uid"`
	ReplicaID   uint32 `json:"replica_id"`
	PlanVersion uint64 `json:"plan_version"` // of the plan that started it
	NodeID      string `json:"node_id"`
}

// Launch is a process to run, as data.
type Launch struct {
	Engine       string
	Argv         []string
	Env          []string // complete: nothing is inherited
	PortMode     PortMode
	Port         int            // with PortReserved: the port in Argv
	PortLog      *regexp.Regexp // with PortFromLog: group 1 is the port
	Ready        Probe
	Live         Probe
	Stop         []TimedSignal // sent to the main process, in order; then KillAfter kills the group
	KillAfter    time.Duration
	OKExit       []int
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

// TimedSignal is a signal ("TERM", "KILL") to send After the stop began.
type TimedSignal struct {
	Signal string
	After  time.Duration
}
