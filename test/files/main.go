// Command files measures how Nebula brings models to a node, side by side with curl and aria2, and prints one line per figure. Every
// client is a process of its own, and so is the hub that they all get the same file from; everything is written to a tmpfs where there is
// one. It asserts nothing: a figure that misses its target is printed as short, and only one that could not be measured makes it fail.
// docs/benchmarks.md says what each means.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/nebula-serve/nebula/test/figures"
)

// options say what to measure and with what.
type options struct {
	short bool
	curl  string // program files; empty: figures that compare with it are left out
	aria2 string
	self  string
	dir   string // for everything that is written
	tmpfs bool   // whether dir is on one
}

// rounds is how often speeds are taken; the median counts.
func (o options) rounds() int { return o.pick(5, 3) }

// pick returns the size of a measurement.
func (o options) pick(full, short int) int {
	if o.short {
		return short
	}
	return full
}

// part is a group of figures that can be measured alone.
type part struct {
	name string
	run  func(context.Context, options, figures.Report) error
}

func parts() []part {
	return []part{{"capped", measureCapped}, {"uncapped", measureUncapped}, {"memory", measureMemory}, {"kill", measureKills}, {"flip", measureFlips}, {"scan", measureScan}}
}

func main() {
	if len(os.Args) > 1 {
		roles := map[string]func([]string) error{hubRole: hubMain, fetchRole: fetchMain, scanRole: scanMain}
		if role, ok := roles[os.Args[1]]; ok {
			if err := role(os.Args[2:]); err != nil {
				fmt.Fprintf(os.Stderr, "files %s: %v\n", os.Args[1], err)
				os.Exit(1)
			}
			return
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "files:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (err error) {
	chosen := parts()
	var names []string
	for _, p := range chosen {
		names = append(names, p.name)
	}
	var o options
	f := flag.NewFlagSet("files", flag.ContinueOnError)
	f.BoolVar(&o.short, "short", false, "fewer and smaller rounds")
	only := f.String("only", "", "measure only these parts, with commas between: "+strings.Join(names, ", "))
	dir := f.String("dir", "/dev/shm", "where to write: a tmpfs, or disks are measured too")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *only != "" {
		wanted := strings.Split(*only, ",")
		for _, w := range wanted {
			if !slices.Contains(names, w) {
				return fmt.Errorf("there is no part %q: use %s", w, strings.Join(names, ", "))
			}
		}
		chosen = slices.DeleteFunc(chosen, func(p part) bool { return !slices.Contains(wanted, p.name) })
	}
	if err := o.resolve(*dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(o.dir)) }()

	out := figures.Report{W: os.Stdout}
	where := "on a disk"
	if o.tmpfs {
		where = "on a tmpfs"
	}
	out.Machine(fmt.Sprintf("medians of %d interleaved rounds, written to %s %s", o.rounds(), filepath.Dir(o.dir), where))
	var errs []error
	for _, p := range chosen {
		if err := p.run(ctx, o, out); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

// resolve finds the programs and a place to write to.
func (o *options) resolve(dir string) (err error) {
	if o.self, err = os.Executable(); err != nil {
		return err
	}
	for name, path := range map[string]*string{"curl": &o.curl, "aria2c": &o.aria2} {
		if *path, err = exec.LookPath(name); err != nil {
			*path = "" // those figures are left out
		}
	}
	if free, err := freeBytes(dir); err != nil || free < int64(o.pick(4<<30, 1<<30)) {
		dir = "" // no tmpfs to speak of
	}
	if o.dir, err = os.MkdirTemp(dir, "nebula-files-"); err != nil {
		return err
	}
	o.tmpfs, err = onTmpfs(o.dir)
	return err
}

func freeBytes(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * st.Bsize, nil
}

func onTmpfs(dir string) (bool, error) {
	const magic = 0x01021994 // TMPFS_MAGIC of statfs(2)
	var st syscall.Statfs_t
	err := syscall.Statfs(dir, &st)
	return st.Type == magic, err
}
