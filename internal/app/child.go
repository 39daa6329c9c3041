package app

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/nebula-serve/nebula/internal/etcd"
	"github.com/nebula-serve/nebula/internal/supervise"
)

// The names under which Nebula starts itself again. They are not for people, so no help lists them.
const (
	etcdCommand = "__etcd"
	shimCommand = "__shim"
)

// Child runs one of Nebula's own child processes; ok is false when name is none of them.
func Child(name string, args []string) (code int, ok bool) {
	switch name {
	case shimCommand:
		return supervise.ShimMain(args), true
	case etcdCommand:
		return etcdMain(args), true
	}
	return 0, false
}

// etcdMain serves the store for the parent, whose end is the end of standard input. It ignores no signal: the terminal's Ctrl-C does not
// reach it, because it has a process group of its own.
func etcdMain(args []string) int {
	if len(args) != 1 {
		fmt.Fprintln(os.Stderr, "the store's process is started by Nebula itself, and is of no use by hand")
		return 2
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	err := etcd.Serve(context.Background(), etcd.ServeConfig{Dir: args[0], Parent: os.Stdin, Report: os.Stdout, Log: log})
	if err != nil {
		log.Error("the store ended", "error", err)
		return 1
	}
	return 0
}
