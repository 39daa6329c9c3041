// Command bench measures Nebula on this machine and prints one line per figure. It runs the real program with a real engine where the
// engine is part of the figure, and with an engine that answers at once where it would only be in the way. It asserts nothing: a figure
// that misses its target is printed as short, and only one that could not be measured makes it fail. docs/benchmarks.md says what each means.
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
	"syscall"

	"github.com/nebula-serve/nebula/test/figures"
)

// options say what to measure and with what.
type options struct {
	short       bool
	nebula      string // program files
	llamaServer string
	nginx       string // empty: figures that compare with it are left out
	self        string
	dir         string // for everything that is written
}

// rounds is how often each figure is taken; the median counts.
func (o options) rounds() int {
	if o.short {
		return 3
	}
	return 5
}

func (o options) mode() string {
	if o.short {
		return "short"
	}
	return "full"
}

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

func main() {
	if len(os.Args) > 2 && os.Args[1] == engineCommand {
		if err := engineMain(os.Args[2], os.Args[3:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench engine:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	parts := []part{{"start", measureStart}, {"gateway", measureGateway}, {"api", measureAPI}, {"migrate", measureMigrate}, {"go", measureGo}}
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.BoolVar(&o.short, "short", false, "fewer and smaller rounds")
	only := f.String("only", "", "measure only this part: start, gateway, api, migrate or go")
	f.StringVar(&o.nebula, "nebula", "bin/nebula", "nebula's program file")
	f.StringVar(&o.llamaServer, "llama-server", os.Getenv("NEBULA_LLAMA_SERVER"), "llama-server's program file (default: the one on the PATH)")
	f.StringVar(&o.nginx, "nginx", "", "nginx's program file (default: the one on the PATH or in /usr/sbin)")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *only == "" {
		parts = slices.DeleteFunc(parts, func(p part) bool { return p.name == "api" }) // minutes of its own: make bench-api
	} else {
		parts = slices.DeleteFunc(parts, func(p part) bool { return p.name != *only })
	}
	if len(parts) == 0 {
		return fmt.Errorf("there is no part %q: use start, gateway, api, migrate or go", *only)
	}
	if err := o.resolve(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "nebula-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	o.dir = dir

	out := figures.Report{W: os.Stdout}
	out.Machine(fmt.Sprintf("%s run: medians of %d interleaved rounds", o.mode(), o.rounds()))
	var errs []error
	for _, p := range parts {
		if err := p.run(ctx, o, out); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

// resolve finds the program files.
func (o *options) resolve() (err error) {
	if o.self, err = os.Executable(); err != nil {
		return err
	}
	if o.nebula, err = program(o.nebula); err != nil {
		return fmt.Errorf("%w: run make build, or give -nebula", err)
	}
	if o.llamaServer == "" {
		o.llamaServer = "llama-server"
	}
	if o.llamaServer, err = program(o.llamaServer); err != nil {
		return fmt.Errorf("%w: run scripts/llama-server.sh and give what it prints as -llama-server", err)
	}
	if o.nginx != "" {
		o.nginx, err = program(o.nginx)
		return err
	}
	for _, name := range []string{"nginx", "/usr/sbin/nginx"} {
		if o.nginx, err = program(name); err == nil {
			return nil
		}
	}
	return nil // without it those figures are left out
}

func program(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}
