package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
)

func (c *command) modelEvents() *cobra.Command {
	follow := false
	cmd := &cobra.Command{
		Use: "events UID", Short: "Show what people did with a model, and what Nebula did and why", Args: exactly(1, "the model's UID"), ValidArgsFunction: c.completeUID,
		Example: "  nebula model events qwen\n  nebula model events qwen -f",
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			return c.showEvents(cmd.Context(), cl, args[0], follow)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on and show what happens, until Ctrl-C")
	c.addOutput(cmd)
	return cmd
}

// showEvents prints a model's history, oldest first, and while it follows, what is new.
func (c *command) showEvents(ctx context.Context, cl *client.Client, uid string, follow bool) error {
	if follow {
		return c.followEvents(ctx, cl, uid)
	}
	events, err := cl.ModelEvents(ctx, uid)
	if err != nil {
		return err
	}
	slices.Reverse(events)
	return c.print(events, func(bool) error { return c.printEvents(events) })
}

// followEvents prints each event once, whatever happens to the connection meanwhile. A server that cannot be watched for them is asked now and then.
func (c *command) followEvents(ctx context.Context, cl *client.Client, uid string) error {
	since, told := int64(0), map[string]bool{}
	return c.following(ctx, func(seen func()) error {
		var failed error
		for e, err := range cl.WatchModelEvents(ctx, uid, since) {
			if errors.Is(err, client.ErrNotWatched) {
				return c.askForEvents(ctx, cl, uid, told, seen)
			}
			if err != nil {
				failed = err
				break
			}
			seen()
			since = e.Revision
			if e.Synced {
				continue
			}
			if err := c.printEvent(e.ModelEvent, told); err != nil {
				return err
			}
		}
		return failed
	})
}

// askForEvents prints what is new of a history every now and then.
func (c *command) askForEvents(ctx context.Context, cl *client.Client, uid string, told map[string]bool, seen func()) error {
	for {
		events, err := cl.ModelEvents(ctx, uid)
		if err != nil {
			return err
		}
		seen()
		for _, e := range slices.Backward(events) {
			if err := c.printEvent(e, told); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lookEvery):
		}
	}
}

// printEvent prints one of many events in a row, unless it was told before.
func (c *command) printEvent(e api.ModelEvent, told map[string]bool) error {
	if told[e.ID] {
		return nil
	}
	told[e.ID] = true
	if err := c.printAgain(e, func(bool) error { return c.printEvents([]api.ModelEvent{e}) }); err != nil {
		return &finalError{err}
	}
	return nil
}

func (c *command) printEvents(events []api.ModelEvent) error {
	for _, e := range events {
		who := "nebula"
		if e.Actor != nil {
			who = e.Actor.ID
		}
		where := ""
		if e.Replica != nil {
			where = fmt.Sprintf(" replica %d", *e.Replica)
		}
		if e.Node != "" {
			where += " on " + e.Node
		}
		if err := c.say(strings.TrimRight(fmt.Sprintf("%s %s %s%s: %s", stamp(e.TimeMS), who, e.Verb, where, e.Message), ": ")); err != nil {
			return err
		}
	}
	return nil
}
