package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
)

// lookEvery is how often a list is asked for that cannot be watched.
const lookEvery = 2 * time.Second

// following runs watches one after the other: a watch that breaks is begun again, because the server may be restarting; what it says of the
// request itself is final, and so is every error before the first answer.
func (c *command) following(ctx context.Context, watch func(seen func()) error) error {
	seenOnce, told := false, false
	for {
		err := watch(func() { seenOnce, told = true, false })
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case !again(err, seenOnce) || !seenOnce:
			return err
		}
		if !told {
			told = true
			fmt.Fprintln(c.env.Stderr, "The connection is lost; trying again until Ctrl-C:", clean(err.Error()))
		}
		select {
		case <-ctx.Done():
		case <-time.After(rewatchEvery):
		}
	}
}

// follow shows one object again whenever it changes.
func (s *showing[T]) follow(ctx context.Context, c *command, cl *client.Client, id string) error {
	var last []byte
	return c.following(ctx, func(seen func()) error {
		for v, err := range s.Watch(ctx, cl, id) {
			if err != nil {
				return err
			}
			seen()
			b, err := json.Marshal(v)
			if err != nil {
				return fmt.Errorf("compare: %w", err)
			}
			if string(b) == string(last) {
				continue // told before the connection broke
			}
			last = b
			if err := c.printAgain(v, func(bool) error { return s.Detail(v) }); err != nil {
				return &finalError{err}
			}
		}
		return client.ErrStreamEnded
	})
}

// printAgain is print for one of many documents in a row: JSON takes one line each, YAML its separator.
func (c *command) printAgain(v any, human func(wide bool) error) error {
	switch c.output.name {
	case "json":
		b, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("print as JSON: %w", err)
		}
		_, err = fmt.Fprintf(c.env.Stdout, "%s\n", b)
		return err
	case "yaml":
		if _, err := fmt.Fprintln(c.env.Stdout, "---"); err != nil {
			return err
		}
	}
	return c.print(v, human)
}

// finalError ends a watch for good: standard output is gone, say.
type finalError struct{ err error }

func (e *finalError) Error() string { return e.err.Error() }
func (e *finalError) Unwrap() error { return e.err }

// change is what --watch -o json prints, one a line.
type change[T any] struct {
	Type   string `json:"type"` // set | deleted
	Key    string `json:"key"`
	Object *T     `json:"object,omitempty"`
}

// follow shows a list and what becomes of it. A terminal sees one table that is drawn anew; anything else gets a line for each object that
// has changed.
func (l *listing[T]) follow(ctx context.Context, c *command, cl *client.Client) error {
	watch := l.Watch
	if watch == nil {
		watch = l.poll
	}
	f := follower[T]{l: l, c: c, sent: map[string]string{}, rows: map[string]string{}}
	return c.following(ctx, func(seen func()) error {
		for list, err := range watch(ctx, cl) {
			if err != nil {
				return err
			}
			seen()
			if err := f.show(list); err != nil {
				return &finalError{err}
			}
		}
		return client.ErrStreamEnded
	})
}

// poll is a watch of a list that has none.
func (l *listing[T]) poll(ctx context.Context, cl *client.Client) iter.Seq2[[]T, error] {
	return func(yield func([]T, error) bool) {
		for {
			list, err := l.Fetch(ctx, cl)
			if !yield(list, err) || err != nil {
				return
			}
			select {
			case <-ctx.Done():
				yield(nil, ctx.Err())
				return
			case <-time.After(lookEvery):
			}
		}
	}
}

// follower remembers what has been shown of a list.
type follower[T any] struct {
	l      *listing[T]
	c      *command
	sent   map[string]string // by key
	rows   map[string]string // by key, without ages: a table repeats no row for what it does not show
	widths []int             // of the columns of what is appended
	drawn  int               // lines of the table on the terminal
	begun  bool
}

// show brings what is shown up to date with the list.
func (f *follower[T]) show(list []T) error {
	changes, err := f.changes(list)
	if err != nil {
		return err
	}
	table := f.c.output.name == "table" || f.c.output.name == "wide"
	if table && terminal(f.c.env.Stdout) {
		return f.redraw(list)
	}
	if table && !f.begun && len(list) == 0 {
		fmt.Fprintln(f.c.env.Stderr, f.l.Empty)
	}
	if table {
		return f.append(changes)
	}
	for _, ch := range changes {
		if err := f.tell(ch); err != nil {
			return err
		}
	}
	return nil
}

// changes are what is new since the last list, in its order, and then what is gone, by key.
func (f *follower[T]) changes(list []T) ([]change[T], error) {
	var out []change[T]
	here := make(map[string]bool, len(list))
	for i := range list {
		key := f.l.Key(list[i])
		here[key] = true
		b, err := json.Marshal(list[i])
		if err != nil {
			return nil, fmt.Errorf("compare: %w", err)
		}
		if f.sent[key] != string(b) {
			f.sent[key] = string(b)
			out = append(out, change[T]{Type: "set", Key: key, Object: &list[i]})
		}
	}
	var gone []string
	for key := range f.sent {
		if !here[key] {
			gone = append(gone, key)
			delete(f.sent, key)
		}
	}
	slices.Sort(gone)
	for _, key := range gone {
		out = append(out, change[T]{Type: "deleted", Key: key})
	}
	return out, nil
}

// tell prints a change for programs. A path is looked up in a list of one, so that it is the same with --watch and without.
func (f *follower[T]) tell(ch change[T]) error {
	switch f.c.output.name {
	case "json", "yaml":
		return f.c.printAgain(ch, nil)
	case formatName:
		_, err := fmt.Fprintln(f.c.env.Stdout, clean(ch.Key))
		return err
	}
	if ch.Object == nil {
		return nil
	}
	return f.c.output.write(f.c.env.Stdout, []T{*ch.Object})
}

// append writes the rows of what has changed under the first table, as wide as that one.
func (f *follower[T]) append(changes []change[T]) error {
	var objects []T
	var gone [][]string
	for _, ch := range changes {
		if ch.Object == nil {
			delete(f.rows, ch.Key)
			gone = append(gone, []string{clean(ch.Key), "deleted"})
			continue
		}
		_, same := f.l.table([]T{*ch.Object}, f.c.output.name == "wide", false, time.UnixMilli(0)) // without what the clock alone changes
		if text := strings.Join(same[0], "\n"); f.rows[ch.Key] != text {
			f.rows[ch.Key] = text
			objects = append(objects, *ch.Object)
		}
	}
	header, rows := f.l.table(objects, f.c.output.name == "wide", false, time.Now())
	rows = append(rows, gone...)
	if len(rows) == 0 {
		return nil
	}
	if f.widths == nil {
		f.widths = columnWidths(header, rows)
	}
	var out strings.Builder
	if !f.begun {
		f.begun = true
		writeRow(&out, header, f.widths)
	}
	for _, row := range rows {
		writeWhole(&out, row, f.widths)
	}
	return f.c.printStyled(out.String())
}

// redraw puts the newest table in the place of the one before. What the terminal has no room for is left out, and counted.
func (f *follower[T]) redraw(list []T) error {
	text := f.l.Empty + "\n"
	if len(list) > 0 {
		header, rows := f.l.table(list, f.c.output.name == "wide", false, time.Now())
		text = tableText(header, rows, f.c.width())
	}
	lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	if room := f.c.height() - 2; room > 1 && len(lines) > room {
		more := len(lines) - room
		lines = append(lines[:room], fmt.Sprintf("and %d more", more))
	}
	up := ""
	if f.drawn > 0 {
		up = fmt.Sprintf("\x1b[%dA", f.drawn)
	}
	f.drawn = len(lines)
	if _, err := fmt.Fprint(f.c.env.Stdout, up+"\r\x1b[J"); err != nil {
		return err
	}
	return f.c.printStyled(strings.Join(lines, "") + "\n")
}

// height is that of the terminal in lines; 0 where there is none.
func (c *command) height() int {
	f, ok := c.env.Stdout.(*os.File)
	if !ok {
		return 0
	}
	_, h, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return h
}

// again tells whether a watch that ended with err is worth another: the server may be restarting, but what it says is final.
func again(err error, seen bool) bool {
	if errors.Is(err, errFailed) {
		return false
	}
	if _, ok := errors.AsType[*finalError](err); ok {
		return false
	}
	if e, ok := api.AsError(err); ok {
		return seen && (e.Code == api.CodeUnavailable || e.Code == api.CodeTimeout)
	}
	return true // the connection broke
}
