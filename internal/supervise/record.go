package supervise

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/engine"
)

// A run is one incarnation of a replica, in a folder of its own: DIR/UID/REPLICA/NNNNNN. It is on record while launch.json
// is there; afterwards the folder keeps the log alone.
const (
	launchName = "launch.json" // by the driver, before the shim starts
	stateName  = "state.json"  // by the shim: first itself, then the engine, then its port
	exitName   = "exit.json"   // by the shim, once nothing of the engine is left
	stopName   = "stop"        // by the driver: a stop was asked for
	shimLog    = "shim.log"
	workName   = "work" // the engine's working directory, empty
	logStem    = "engine"
	logName    = logStem + ".log"
)

// The environment by which a process is known to be ours; only the kernel can change what /proc shows of it.
const (
	envRun        = "NEBULA_RUN"        // random, one for each run
	envSupervisor = "NEBULA_SUPERVISOR" // the folder of all runs
	envReplica    = "NEBULA_REPLICA"    // the identity, as JSON
)

// launchFile is what a run was started with.
type launchFile struct {
	Run        string          `json:"run"`
	Supervisor string          `json:"supervisor"`
	Identity   engine.Identity `json:"identity"`
	Launch     engine.Launch   `json:"launch"`
	Meta       []byte          `json:"meta,omitempty"`
	LogMB      int             `json:"log_mb"`
	LogFiles   int             `json:"log_files"`
	BootID     string          `json:"boot_id"`
}

// stateFile is what a run has become.
type stateFile struct {
	Shim      procID    `json:"shim"`
	Engine    procID    `json:"engine"` // zero until it is started
	StartedAt time.Time `json:"started_at"`
	Port      int       `json:"port,omitempty"`
}

func readJSON(name string, v any) error {
	raw, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

// writeJSON replaces a file at once: a reader sees the old one or the new one, also after a power cut.
func writeJSON(name string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := renameio.WriteFile(name, raw, 0o600, renameio.WithTempDir(filepath.Dir(name))); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return syncDir(filepath.Dir(name))
}

func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// environment is what a run's processes get on top of the launch's own.
func (l *launchFile) environment() []string {
	id, _ := json.Marshal(l.Identity) // strings and numbers: never fails
	return []string{envRun + "=" + l.Run, envSupervisor + "=" + l.Supervisor, envReplica + "=" + string(id)}
}

// replicaDir is the folder of a replica's runs; a uid that is no legal name never becomes a path.
func replicaDir(dir, uid string, replica uint32) (string, error) {
	if !api.KnownUID(uid) {
		return "", api.Errorf(api.CodeInvalidUID, "%q is not a legal uid", uid)
	}
	return filepath.Join(dir, uid, strconv.FormatUint(uint64(replica), 10)), nil
}

// runDirs lists a replica's runs, the oldest first.
func runDirs(replica string) ([]string, error) {
	entries, err := os.ReadDir(replica)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if _, err := strconv.ParseUint(e.Name(), 10, 64); err == nil && e.IsDir() {
			out = append(out, filepath.Join(replica, e.Name()))
		}
	}
	slices.SortFunc(out, func(a, b string) int { return int(number(a)) - int(number(b)) })
	return out, nil
}

func number(runDir string) uint64 {
	n, _ := strconv.ParseUint(filepath.Base(runDir), 10, 64)
	return n
}

// nextRun makes the folder of a replica's next run.
func nextRun(replica string) (string, error) {
	if err := os.MkdirAll(replica, 0o700); err != nil {
		return "", err
	}
	for {
		runs, err := runDirs(replica)
		if err != nil {
			return "", err
		}
		n := uint64(1)
		if len(runs) > 0 {
			n = number(runs[len(runs)-1]) + 1
		}
		name := filepath.Join(replica, fmt.Sprintf("%06d", n))
		if err := os.Mkdir(name, 0o700); !errors.Is(err, fs.ErrExist) {
			return name, err
		}
	}
}

// allRuns lists every run under dir.
func allRuns(dir string) ([]string, error) {
	replicas, err := filepath.Glob(filepath.Join(escape(dir), "*", "*"))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, r := range replicas {
		runs, err := runDirs(r)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !strings.Contains(err.Error(), "not a directory") {
			return nil, err
		}
		out = append(out, runs...)
	}
	return out, nil
}

// escape takes the meaning from characters that Glob treats as patterns.
func escape(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

// forget takes a run off the record and keeps its log; launch.json goes first, because it is what makes the record.
func forget(runDir string) error {
	for _, name := range []string{launchName, stateName, exitName, stopName, workName, shimLog} {
		if err := os.RemoveAll(filepath.Join(runDir, name)); err != nil {
			return err
		}
	}
	return nil
}

// prune removes the oldest runs that are off the record, but for the last keep.
func prune(replica string, keep int) error {
	runs, err := runDirs(replica)
	if err != nil {
		return err
	}
	runs = slices.DeleteFunc(runs, onRecord)
	for _, r := range runs[:max(0, len(runs)-keep)] {
		if err := os.RemoveAll(r); err != nil {
			return err
		}
	}
	return nil
}

// expire removes the logs of replicas that have nothing on record and have not run since a point in time, and the folders
// that this leaves empty.
func expire(dir string, since time.Time) error {
	replicas, err := filepath.Glob(filepath.Join(escape(dir), "*", "*"))
	if err != nil {
		return err
	}
	for _, replica := range replicas {
		runs, err := runDirs(replica)
		if err != nil || slices.ContainsFunc(runs, func(r string) bool { return onRecord(r) || wroteSince(r, since) }) {
			continue // unreadable: not ours
		}
		for _, r := range runs {
			if err := os.RemoveAll(r); err != nil {
				return err
			}
		}
		_ = os.Remove(replica) // when it is empty
		_ = os.Remove(filepath.Dir(replica))
	}
	return nil
}

func wroteSince(runDir string, since time.Time) bool {
	fi, err := os.Stat(filepath.Join(runDir, logName))
	if errors.Is(err, fs.ErrNotExist) {
		fi, err = os.Stat(runDir)
	}
	return err == nil && fi.ModTime().After(since)
}

func onRecord(runDir string) bool {
	_, err := os.Stat(filepath.Join(runDir, launchName))
	return err == nil
}
