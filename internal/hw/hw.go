// Package hw reads what the machine has: processors, memory and GPUs, as far as this process may use them. It decides
// nothing, keeps nothing and knows no cluster; where the machine does not tell, it says so instead of guessing.
package hw

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"

	"github.com/nebula-serve/nebula/api"
)

// Runner runs a program and returns what it printed. An error for which errors.Is(err, exec.ErrNotFound) holds means
// that the program is not installed.
type Runner interface {
	Run(ctx context.Context, name string, args ...string) ([]byte, error)
}

// Detect returns the hardware part of a NodeStatus. GPUs that were read are in it also when err is not nil: the error
// then says what is missing. Memory and processor counts are what this process may use: the container's limits count.
func Detect(ctx context.Context, run Runner) (api.NodeStatus, error) {
	return detect(ctx, machine{os.DirFS("/"), runtime.NumCPU()}, run)
}

// machine is where the facts are read from.
type machine struct {
	files fs.FS // of the root folder
	cpus  int   // that the scheduler lets this process use
}

func detect(ctx context.Context, m machine, run Runner) (api.NodeStatus, error) {
	total, free := m.memory()
	s := api.NodeStatus{
		CPUs: uint32(m.cores()), CPUModel: m.cpuModel(), MemoryTotalMB: total >> 20, MemoryFreeMB: free >> 20,
		OS: runtime.GOOS, Arch: runtime.GOARCH, GPUs: []api.GPUStatus{},
	}
	var errs []error
	name, err := os.Hostname()
	if err != nil {
		errs = append(errs, fmt.Errorf("host name: %w", err))
	}
	s.Hostname = name
	gpus, err := nvidia(ctx, run, total>>20, (total-min(free, total))>>20)
	if err != nil {
		errs = append(errs, err)
	}
	s.GPUs = append(s.GPUs, gpus...)
	return s, errors.Join(errs...)
}

// cores is the number of cores this process may keep busy: what the scheduler allows, less where a cgroup limits the
// time on them, and at least one.
func (m machine) cores() int {
	n := m.cpus
	for _, dir := range m.cgroups("cpu") {
		if quota, period, ok := m.cpuLimit(dir); ok && quota > 0 && period > 0 {
			n = min(n, int((quota+period-1)/period))
		}
	}
	return max(n, 1)
}

// cpuLimit reads the time that a cgroup may use in every period: version 2 has both in one file.
func (m machine) cpuLimit(dir string) (quota, period int64, ok bool) {
	if f := strings.Fields(m.read(path.Join(dir, "cpu.max"))); len(f) == 2 {
		q, err1 := strconv.ParseInt(f[0], 10, 64) // "max" = no limit
		p, err2 := strconv.ParseInt(f[1], 10, 64)
		return q, p, err1 == nil && err2 == nil
	}
	q, ok1 := m.number(path.Join(dir, "cpu.cfs_quota_us")) // -1 = no limit
	p, ok2 := m.number(path.Join(dir, "cpu.cfs_period_us"))
	return q, p, ok1 && ok2
}

// memory returns the bytes that this process may use in all and that are free to use now: the machine's, less where a
// cgroup limits them. Page cache counts as free. Zero means that the machine does not tell.
func (m machine) memory() (total, free uint64) {
	info := m.table("proc/meminfo")
	total, free = info["MemTotal"]<<10, info["MemAvailable"]<<10
	for _, dir := range m.cgroups("memory") {
		limit, ok := m.number(path.Join(dir, "memory.max"))
		used, _ := m.number(path.Join(dir, "memory.current"))
		cache := "inactive_file"
		if !ok {
			limit, ok = m.number(path.Join(dir, "memory.limit_in_bytes"))
			used, _ = m.number(path.Join(dir, "memory.usage_in_bytes"))
			cache = "total_inactive_file"
		}
		if !ok || limit <= 0 || uint64(limit) >= total { // without a limit version 1 names a number beyond all memory
			continue
		}
		used -= min(int64(m.table(path.Join(dir, "memory.stat"))[cache]), used)
		total = uint64(limit)
		free = min(free, uint64(max(limit-used, 0)))
	}
	return total, free
}

// cgroups returns the folders of this process's cgroup and those above it, for one controller. In a container its own
// cgroup is often the mount's root.
func (m machine) cgroups(controller string) []string {
	var out []string
	for line := range strings.Lines(m.read("proc/self/cgroup")) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		mount := ""
		switch {
		case f[0] == "0" && f[1] == "":
			mount = "sys/fs/cgroup"
		case listed(f[1], controller):
			mount = "sys/fs/cgroup/" + controller
		default:
			continue
		}
		for at := path.Clean("/" + f[2]); ; at = path.Dir(at) {
			out = append(out, path.Join(mount, at))
			if at == "/" {
				break
			}
		}
	}
	return out
}

// listed tells whether a comma-separated list has an element.
func listed(list, one string) bool {
	for e := range strings.SplitSeq(list, ",") {
		if e == one {
			return true
		}
	}
	return false
}

func (m machine) cpuModel() string {
	for line := range strings.Lines(m.read("proc/cpuinfo")) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// read returns a small file, or nothing when there is none.
func (m machine) read(name string) string {
	b, err := fs.ReadFile(m.files, name)
	if err != nil {
		return ""
	}
	return string(b)
}

func (m machine) number(name string) (int64, bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(m.read(name)), 10, 64)
	return n, err == nil
}

// table reads lines of a name and a number: "MemTotal:  16384 kB", "inactive_file 4096".
func (m machine) table(name string) map[string]uint64 {
	out := map[string]uint64{}
	for line := range strings.Lines(m.read(name)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		if n, err := strconv.ParseUint(f[1], 10, 64); err == nil {
			out[strings.TrimSuffix(f[0], ":")] = n
		}
	}
	return out
}
