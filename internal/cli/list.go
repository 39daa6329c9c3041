package cli

import (
	"context"
	"fmt"
	"io"
	"iter"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
)

// listing is a command that lists objects of one kind: as a table, as a document, or again and again with --watch.
type listing[T any] struct {
	Use     string // "list" when empty, with the alias ls
	Short   string
	Example string
	// Empty is what people are told, on stderr, when there is nothing: what that means and what to do.
	Empty string
	// Key is what commands on one object take: -o name prints it, and --watch knows objects by it.
	Key     func(T) string
	Columns []column[T]
	Offline bool // no server is asked: Fetch and Watch get no client
	Fetch   func(context.Context, *client.Client) ([]T, error)
	// Watch yields the whole list now and at every change, until an error. Without it --watch asks every few seconds.
	Watch func(context.Context, *client.Client) iter.Seq2[[]T, error]
}

// briefly is how much a command that soon ends lets its memory grow before it tidies up, in percent.
const briefly = 800

// column is one column of a table.
type column[T any] struct {
	Title  string
	Wide   bool // only with -o wide
	Text   func(T, time.Time) string
	Colour func(T) string // an ANSI colour; nil = none
}

// listCommand makes the command; what it needs of flags beside -o and --watch the caller adds, and reads in Fetch and Watch.
func listCommand[T any](c *command, l listing[T]) *cobra.Command {
	watch := false
	cmd := &cobra.Command{
		Use: l.Use, Short: l.Short, Example: l.Example, Args: exactly(0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var cl *client.Client
			var err error
			if !l.Offline {
				if cl, err = c.client(); err != nil {
					return err
				}
			}
			if watch {
				return l.follow(cmd.Context(), c, cl)
			}
			defer debug.SetGCPercent(debug.SetGCPercent(briefly)) // of a long list, tidying up is half the work, and the process ends with it
			list, err := l.Fetch(cmd.Context(), cl)
			if err != nil {
				return err
			}
			return l.print(c, list)
		},
	}
	if l.Use == "" {
		cmd.Use, cmd.Aliases = "list", []string{"ls"}
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "go on and show every change, until Ctrl-C")
	c.addFormats(cmd, &output{lists: true})
	return cmd
}

// print writes a whole list.
func (l *listing[T]) print(c *command, list []T) error {
	if list == nil {
		list = []T{} // an empty list is [] for programs too
	}
	if c.output.name == formatName {
		return l.printNames(c, list)
	}
	return c.print(list, func(wide bool) error {
		if len(list) == 0 {
			_, err := fmt.Fprintln(c.env.Stderr, l.Empty)
			return err
		}
		plain := c.plain()
		header, rows := l.table(list, wide, plain, time.Now())
		if plain && c.width() == 0 {
			_, err := io.WriteString(c.env.Stdout, plainText(header, rows))
			return err
		}
		return c.printTable(header, rows)
	})
}

func (l *listing[T]) printNames(c *command, list []T) error {
	for _, v := range list {
		if _, err := fmt.Fprintln(c.env.Stdout, clean(l.Key(v))); err != nil {
			return err
		}
	}
	return nil
}

// table returns the header and the cells, safe for a terminal, and plain ones without colours.
func (l *listing[T]) table(list []T, wide, plain bool, now time.Time) (header []string, rows [][]string) {
	for _, col := range l.Columns {
		if wide || !col.Wide {
			header = append(header, col.Title)
		}
	}
	paint := painter{}
	rows = make([][]string, 0, len(list))
	cells := make([]string, 0, len(list)*len(header)) // of all rows
	for _, v := range list {
		row := cells[len(cells):]
		for _, col := range l.Columns {
			if !wide && col.Wide {
				continue
			}
			text := clean(col.Text(v, now))
			switch {
			case text == "":
				text = "-"
			case col.Colour != nil && !plain:
				text = paint.in(col.Colour(v), text)
			}
			row = append(row, text)
		}
		cells = cells[:len(cells)+len(row)]
		rows = append(rows, slices.Clip(row))
	}
	return header, rows
}

// painter colours texts, each kind once: a list has thousands of cells, and a handful of states.
type painter map[[2]string]string

func (p painter) in(colour, text string) string {
	key := [2]string{colour, text}
	done, ok := p[key]
	if !ok {
		done = lipgloss.NewStyle().Foreground(lipgloss.Color(colour)).Render(text)
		p[key] = done
	}
	return done
}

// showing is a command that shows one object, or again at every change with --watch.
type showing[T any] struct {
	Use, Short, Long, Example string
	Arg                       string // what the argument is, as in "the model's UID"
	Complete                  cobra.CompletionFunc
	Fetch                     func(context.Context, *client.Client, string) (T, error)
	Detail                    func(T) error // prints it for people
	// Watch yields the object now and at every change, until an error; nil: no --watch.
	Watch func(context.Context, *client.Client, string) iter.Seq2[T, error]
}

// showCommand makes the command.
func showCommand[T any](c *command, s showing[T]) *cobra.Command {
	watch := false
	cmd := &cobra.Command{
		Use: s.Use, Short: s.Short, Long: s.Long, Example: s.Example, Args: exactly(1, s.Arg), ValidArgsFunction: s.Complete,
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			if watch {
				return s.follow(cmd.Context(), c, cl, args[0])
			}
			v, err := s.Fetch(cmd.Context(), cl, args[0])
			if err != nil {
				return err
			}
			return c.print(v, func(bool) error { return s.Detail(v) })
		},
	}
	if s.Watch != nil {
		cmd.Flags().BoolVarP(&watch, "watch", "w", false, "print it again at every change, until Ctrl-C")
	}
	c.addOutput(cmd)
	return cmd
}

// doing is a command that does something to one object and says so in one line.
type doing struct {
	Use, Short, Long, Example string
	Aliases                   []string
	Arg                       string // what the argument is, as in "the node's ID"
	Complete                  cobra.CompletionFunc
	// Do returns the server's answer, for -o json and the like, and the line for people, which is made safe for their terminal.
	// A nil answer means that the server says no more than that it is done.
	Do func(ctx context.Context, cl *client.Client, id string) (answer any, line string, err error)
	// After runs when that is printed, for --wait; nil = nothing.
	After func(ctx context.Context, cl *client.Client, id string) error
}

// doCommand makes the command; its other flags the caller adds, and reads in Do.
func doCommand(c *command, d doing) *cobra.Command {
	cmd := &cobra.Command{
		Use: d.Use, Aliases: d.Aliases, Short: d.Short, Long: d.Long, Example: d.Example, Args: exactly(1, d.Arg), ValidArgsFunction: d.Complete,
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			answer, line, err := d.Do(cmd.Context(), cl, args[0])
			if err != nil {
				return err
			}
			if answer == nil {
				answer = map[string]string{"id": args[0], "status": "done"}
			}
			told := foretoldIn(answer)
			if err := c.print(answer, func(bool) error { return c.sayWith(line, told) }); err != nil || d.After == nil || told != nil {
				return err
			}
			return d.After(cmd.Context(), cl, args[0])
		},
	}
	c.addOutput(cmd)
	return cmd
}

// sayWith is say, and below it what a trial told, if it was one.
func (c *command) sayWith(line string, told *api.Explanation) error {
	switch {
	case told == nil:
		return c.say(line)
	case told.State == api.StateStopped || told.State == api.StateStopping:
		return c.say(line + "\n" + strings.Join(verdict(told), "\n"))
	}
	if err := c.say(line); err != nil {
		return err
	}
	x := *told
	if x.Reason != nil && x.Reason.Code == api.ReasonPendingPlacement {
		x.Reason = nil // nobody waits in a dry run
	}
	return c.explained("", x)
}

// say prints a line for people.
func (c *command) say(line string) error {
	_, err := fmt.Fprintln(c.env.Stdout, clean(line))
	return err
}
