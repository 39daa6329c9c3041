package supervise

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// procID names one process for good: a pid alone may be given to another process later.
type procID struct {
	PID   int    `json:"pid"`
	Ticks uint64 `json:"start_ticks"` // field 22 of /proc/PID/stat: when it started, in clock ticks since boot
}

// stat is what Nebula reads of /proc/PID/stat.
type stat struct {
	id      procID
	state   byte // R, S, D, Z …
	parent  int
	group   int
	session int
	cpu     uint64 // user and system time in clock ticks
	pages   int64  // resident
}

// gone tells whether the process has ended, whether or not its parent has noticed.
func (s stat) gone() bool { return s.state == 'Z' || s.state == 'X' }

var errNoProcess = errors.New("no such process")

func readStat(pid int) (stat, error) {
	raw, err := os.ReadFile(procPath(pid, "stat"))
	if err != nil {
		return stat{}, errNoProcess
	}
	// The second field is the command in parentheses, which may itself hold spaces and parentheses.
	i := bytes.LastIndexByte(raw, ')')
	if i < 0 {
		return stat{}, errNoProcess
	}
	f := strings.Fields(string(raw[i+1:]))
	if len(f) < 22 {
		return stat{}, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(f))
	}
	num := func(field int) uint64 { // counted from 3, as in proc(5)
		n, _ := strconv.ParseInt(f[field-3], 10, 64)
		return uint64(n)
	}
	return stat{
		id: procID{pid, num(22)}, state: f[0][0], parent: int(num(4)), group: int(num(5)), session: int(num(6)),
		cpu: num(14) + num(15), pages: int64(num(24)),
	}, nil
}

func procPath(pid int, name string) string { return "/proc/" + strconv.Itoa(pid) + "/" + name }

// self returns the id of a live process by its pid.
func idOf(pid int) (procID, error) {
	s, err := readStat(pid)
	return s.id, err
}

// runs tells whether exactly this process is still running.
func (id procID) runs() bool {
	s, err := readStat(id.PID)
	return err == nil && s.id == id && !s.gone()
}

// carries tells whether the process runs and has key=value in the environment that it was started with.
func (id procID) carries(key, value string) bool {
	env, err := os.ReadFile(procPath(id.PID, "environ"))
	if err != nil {
		return false
	}
	got, ok := lookup(env, key)
	return ok && got == value && id.runs()
}

// lookup finds a variable in the zero-separated text of /proc/PID/environ.
func lookup(env []byte, key string) (string, bool) {
	for kv := range bytes.SplitSeq(env, []byte{0}) {
		if v, ok := bytes.CutPrefix(kv, []byte(key+"=")); ok {
			return string(v), true
		}
	}
	return "", false
}

// processes calls fn for every process of the machine but the caller, until fn returns false.
func processes(fn func(pid int) bool) error {
	names, err := os.ReadDir("/proc")
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	for _, n := range names {
		pid, err := strconv.Atoi(n.Name())
		if err == nil && pid != os.Getpid() && !fn(pid) {
			return nil
		}
	}
	return nil
}

// group returns the living processes of a process group.
func group(pgid int) []stat {
	var out []stat
	_ = processes(func(pid int) bool {
		if s, err := readStat(pid); err == nil && s.group == pgid && !s.gone() {
			out = append(out, s)
		}
		return true
	})
	return out
}

// bootID changes with every start of the machine; pids and ticks from before it mean nothing.
func bootID() string {
	raw, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(raw))
}

// oomKills is how many processes the kernel has killed for memory since the machine started.
func oomKills() uint64 {
	raw, _ := os.ReadFile("/proc/vmstat")
	for line := range strings.Lines(string(raw)) {
		if v, ok := strings.CutPrefix(line, "oom_kill "); ok {
			n, _ := strconv.ParseUint(strings.TrimSpace(v), 10, 64)
			return n
		}
	}
	return 0
}

// handle holds on to one process: a signal through it never reaches another one that got its pid.
type handle struct {
	id   procID
	file *os.File // a pidfd
}

// hold opens a process, or returns errNoProcess when exactly this one has ended.
func hold(id procID) (*handle, error) {
	fd, err := unix.PidfdOpen(id.PID, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.EINVAL) { // Linux before 5.10
		if fd, err = unix.PidfdOpen(id.PID, 0); err == nil {
			err = unix.SetNonblock(fd, true)
		}
	}
	switch {
	case errors.Is(err, unix.ESRCH), errors.Is(err, unix.EINVAL):
		return nil, errNoProcess
	case err != nil:
		return nil, fmt.Errorf("open process %d: %w", id.PID, err)
	}
	h := &handle{id, os.NewFile(uintptr(fd), "pidfd")}
	if !id.runs() { // checked after opening, so that it holds for what was opened
		h.close()
		return nil, errNoProcess
	}
	return h, nil
}

func (h *handle) close() { _ = h.file.Close() }

// signal sends sig; a process that has ended is no error.
func (h *handle) signal(sig unix.Signal) error {
	conn, err := h.file.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	if err := conn.Control(func(fd uintptr) { sent = unix.PidfdSendSignal(int(fd), sig, nil, 0) }); err != nil {
		return err
	}
	if errors.Is(sent, unix.ESRCH) {
		return nil
	}
	return sent
}

// wait returns nil once the process has ended, or an error when the handle was closed first.
func (h *handle) wait() error {
	conn, err := h.file.SyscallConn()
	if err != nil {
		return err
	}
	return conn.Read(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(p, 0)
		return err == nil && n > 0
	})
}

// send signals exactly this process; one that has ended is no error.
func send(id procID, sig unix.Signal) error {
	h, err := hold(id)
	if errors.Is(err, errNoProcess) {
		return nil
	}
	if err != nil {
		return err
	}
	defer h.close()
	return h.signal(sig)
}

// killAll ends every process for which mine holds, and what they start meanwhile, and returns whether none is left.
func killAll(mine func(pid int) bool, within time.Duration) bool {
	deadline := time.Now().Add(within)
	for {
		left := 0
		_ = processes(func(pid int) bool {
			s, err := readStat(pid)
			if err == nil && !s.gone() && mine(pid) {
				left++
				_ = send(s.id, unix.SIGKILL)
			}
			return true
		})
		if left == 0 || time.Now().After(deadline) {
			return left == 0
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// ofRun tells whether a process was started in a run: the engine, its children, and its shim too.
func ofRun(run string) func(pid int) bool {
	return func(pid int) bool {
		env, err := os.ReadFile(procPath(pid, "environ"))
		if err != nil {
			return false
		}
		v, ok := lookup(env, envRun)
		return ok && v == run
	}
}

// listeners returns the socket inodes that listen on a TCP port of this machine on loopback or on every address.
func listeners(port int) map[string]bool {
	out := map[string]bool{}
	for _, name := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		raw, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		want := fmt.Sprintf(":%04X", port)
		for line := range strings.Lines(string(raw)) {
			f := strings.Fields(line)
			if len(f) > 9 && f[3] == "0A" && strings.HasSuffix(f[1], want) && reachesLoopback(strings.TrimSuffix(f[1], want)) {
				out[f[9]] = true
			}
		}
	}
	return out
}

// reachesLoopback tells whether a listener on this address, in the kernel's notation, gets what is sent to 127.0.0.1.
func reachesLoopback(hex string) bool {
	return strings.Trim(hex, "0") == "" || hex == "0100007F" || strings.HasSuffix(hex, "FFFF00000100007F")
}

// holdsSocket tells whether a process has one of the sockets open; known is false when it may not be asked.
func holdsSocket(pid int, inodes map[string]bool) (holds, known bool) {
	dir := procPath(pid, "fd")
	fds, err := os.ReadDir(dir)
	if err != nil {
		return false, errors.Is(err, os.ErrNotExist)
	}
	for _, fd := range fds {
		link, err := os.Readlink(filepath.Join(dir, fd.Name()))
		if err != nil {
			continue
		}
		if inode, ok := strings.CutPrefix(link, "socket:["); ok && inodes[strings.TrimSuffix(inode, "]")] {
			return true, true
		}
	}
	return false, true
}

// owner says who listens on a port.
type owner int

const (
	nobody owner = iota
	ours
	stranger
	untold // the process runs as another user and does not show its sockets
)

// owns tells who listens on a port of loopback: the process, one of its group, or somebody else.
func owns(pid, port int) owner {
	inodes := listeners(port)
	if len(inodes) == 0 {
		return nobody
	}
	holds, known := holdsSocket(pid, inodes)
	if holds {
		return ours
	}
	if !known {
		return untold
	}
	for _, s := range group(pid) {
		if holds, _ := holdsSocket(s.id.PID, inodes); holds {
			return ours
		}
	}
	return stranger
}

// Owns tells whether the process, or one of its process group, listens on a TCP port of loopback.
func Owns(pid, port int) bool { return owns(pid, port) == ours }
