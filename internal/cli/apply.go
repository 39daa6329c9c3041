package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
	"github.com/nebula-serve/nebula/internal/apply"
)

// applyFlags are the flags of apply and diff.
type applyFlags struct {
	documents
	dryRun, prune, yes, diff, wait bool
	label                          string
	timeout                        time.Duration
}

func (c *command) applyCommand() *cobra.Command {
	var o applyFlags
	cmd := &cobra.Command{
		Use: "apply -f FILE|DIR", Short: "Make the cluster what documents say", Args: exactly(0, "-f FILE, not an argument"),
		Long: "Make the cluster what documents say. A document is YAML and names one object; \"nebula export\" prints some. A field that it does not mention\n" +
			"stays as it is, null unsets a field. Applying the same documents again changes nothing.\n\n" +
			"All is checked before anything is done. When an object has changed since it was read, nothing is done. When something fails on the way, the\n" +
			"command says what is done and what is not; running it again does the rest.",
		Example: "  nebula apply -f models/ --dry-run\n  nebula apply -f models.yaml --wait\n  nebula apply -f models/ --prune -l team=search\n  nebula export | nebula apply -f -",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.runApply(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	o.addFlags(f)
	f.BoolVar(&o.dryRun, "dry-run", false, "show what would change, and change nothing")
	f.BoolVar(&o.diff, "diff", false, "show the differences before they are carried out")
	f.BoolVar(&o.prune, "prune", false, "delete the models with the label of -l that no document names")
	f.StringVarP(&o.label, "label", "l", "", "with --prune: key=value, several with commas between them")
	f.BoolVarP(&o.yes, "yes", "y", false, "delete without asking")
	f.BoolVar(&o.wait, "wait", false, "wait until every model that was changed and is to run does run")
	f.DurationVar(&o.timeout, "timeout", defaultWait, "with --wait: how long")
	c.addOutput(cmd)
	return cmd
}

func (c *command) diffCommand() *cobra.Command {
	var o applyFlags
	cmd := &cobra.Command{
		Use: "diff -f FILE|DIR", Short: "Show what apply would change", Args: exactly(0, "-f FILE, not an argument"),
		Long:    "Show what apply would change. The exit status is 0 when nothing would, 1 when something would, and 2 or more after an error.",
		Example: "  nebula diff -f models/\n  nebula diff -f models/ --prune -l team=search",
		RunE: func(cmd *cobra.Command, _ []string) error {
			differs, err := c.runDiff(cmd.Context(), o)
			if err != nil {
				return &quiet{max(c.report(cmd.Context(), cmd, err), exitUsage)} // 1 has another meaning here
			}
			if differs {
				return &quiet{exitError}
			}
			return nil
		},
	}
	f := cmd.Flags()
	o.addFlags(f)
	f.BoolVar(&o.prune, "prune", false, "also the models with the label of -l that no document names")
	f.StringVarP(&o.label, "label", "l", "", "with --prune: key=value, several with commas between them")
	return cmd
}

func (c *command) runDiff(ctx context.Context, o applyFlags) (bool, error) {
	cl, changes, err := c.planFiles(ctx, o)
	if err != nil {
		return false, err
	}
	if err := c.printDiffs(c.env.Stdout, changes); err != nil {
		return false, err
	}
	run := carrying{cl: cl}
	switch err := run.check(ctx, changes); {
	case api.HasCode(err, api.CodeForbidden): // who may only look may not try, and sees the difference all the same
		return len(due(changes)) > 0, nil
	case err != nil:
		return false, err
	}
	for i, x := range run.told {
		lines := verdict(x)
		if lines == nil {
			continue
		}
		if err := c.say(changes[i].String() + "\n  " + strings.Join(lines, "\n  ")); err != nil {
			return false, err
		}
	}
	return len(due(changes)) > 0, nil
}

func (c *command) runApply(ctx context.Context, o applyFlags) error {
	cl, changes, err := c.planFiles(ctx, o)
	if err != nil {
		return err
	}
	table := c.output.name == "table" || c.output.name == "wide"
	if table && (o.diff || o.dryRun) {
		if err := c.printDiffs(c.env.Stdout, changes); err != nil {
			return err
		}
	}
	if !o.dryRun {
		if err := c.confirm(due(changes), o); err != nil {
			return err
		}
	}
	run := carrying{cl: cl, say: func(line string) {
		if table {
			fmt.Fprintln(c.env.Stdout, line)
		}
	}, dryRun: o.dryRun}
	if err := run.check(ctx, changes); err != nil {
		return err
	}
	if err := run.all(ctx, changes); err != nil {
		run.explain(c.env.Stderr)
		return err
	}
	if !table {
		if err := c.print(run.results, nil); err != nil {
			return err
		}
	}
	if o.wait && !o.dryRun {
		return c.waitApplied(ctx, cl, changes, o.timeout)
	}
	return nil
}

// planFiles reads the documents and what there is of them, and plans.
func (c *command) planFiles(ctx context.Context, o applyFlags) (*client.Client, []apply.Change, error) {
	sel, err := o.selector()
	if err != nil {
		return nil, nil, err
	}
	docs, err := o.read(c.env.Stdin)
	if err != nil {
		return nil, nil, err
	}
	cl, err := c.client()
	if err != nil {
		return nil, nil, err
	}
	var refs []apply.Ref
	if o.prune {
		if refs, err = modelsWith(ctx, cl, sel); err != nil {
			return nil, nil, err
		}
	}
	refs = append(refs, refsOf(docs)...)
	live, err := readObjects(ctx, cl, unique(refs))
	if err != nil {
		return nil, nil, err
	}
	changes, err := apply.Plan(docs, live, apply.Options{Prune: o.prune, Selected: func(r apply.Ref) bool { return sel.chooses(live[r]) }})
	return cl, changes, err
}

// selector refuses to prune without a label, and a label that nothing is pruned by.
func (o *applyFlags) selector() (selector, error) {
	switch {
	case o.prune && o.label == "":
		return nil, usagef("--prune deletes what no document names, so it needs the label of what it may delete: -l key=value")
	case !o.prune && o.label != "":
		return nil, usagef("-l says what --prune may delete: give --prune, too, or leave it out")
	case o.label == "":
		return nil, nil
	}
	return parseSelector(o.label)
}

func refsOf(docs []apply.Doc) []apply.Ref {
	var out []apply.Ref
	for _, d := range docs {
		out = append(out, d.Ref)
	}
	return out
}

func unique(refs []apply.Ref) []apply.Ref {
	seen := make(map[apply.Ref]bool, len(refs))
	var out []apply.Ref
	for _, r := range refs {
		if !seen[r] {
			seen[r] = true
			out = append(out, r)
		}
	}
	return out
}

// due are the changes that do something.
func due(changes []apply.Change) []apply.Change {
	var out []apply.Change
	for _, ch := range changes {
		if len(ch.Verbs) > 0 {
			out = append(out, ch)
		}
	}
	return out
}

// confirm asks before something is deleted. Where nobody can be asked, --yes must have said so before.
func (c *command) confirm(changes []apply.Change, o applyFlags) error {
	var gone []string
	for _, ch := range changes {
		if ch.Does(apply.VerbDelete) {
			gone = append(gone, ch.String())
		}
	}
	if len(gone) == 0 || o.yes {
		return nil
	}
	list := clean(strings.Join(gone, ", "))
	if !terminal(c.env.Stdin) {
		return usagef("nothing is done, because this would delete %s: give --yes if you mean it", list)
	}
	fmt.Fprintf(c.env.Stderr, "This deletes %s; files stay on the nodes. Type yes to go on: ", list)
	answer, err := bufio.NewReader(io.LimitReader(c.env.Stdin, 64)).ReadString('\n')
	if err == nil && strings.EqualFold(strings.TrimSpace(answer), "yes") {
		return nil
	}
	return usagef("nothing is done")
}

func (c *command) printDiffs(w io.Writer, changes []apply.Change) error {
	for _, ch := range due(changes) {
		d, err := ch.Diff()
		if err != nil {
			return err
		}
		if _, err := lipgloss.Fprint(w, colouredDiff(clean(d))); err != nil {
			return err
		}
	}
	return nil
}

// colouredDiff gives a unified diff the colours that people know.
func colouredDiff(d string) string {
	colour := func(code, s string) string { return lipgloss.NewStyle().Foreground(lipgloss.Color(code)).Render(s) }
	var b strings.Builder
	for line := range strings.Lines(d) {
		text := strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(text, "---"), strings.HasPrefix(text, "+++"):
			text = lipgloss.NewStyle().Bold(true).Render(text)
		case strings.HasPrefix(text, "@@"):
			text = colour("6", text)
		case strings.HasPrefix(text, "+"):
			text = colour("2", text)
		case strings.HasPrefix(text, "-"):
			text = colour("1", text)
		}
		b.WriteString(text + "\n")
	}
	return b.String()
}

// waitApplied waits for the models that were changed and are to run, all within one time.
func (c *command) waitApplied(ctx context.Context, cl *client.Client, changes []apply.Change, timeout time.Duration) error {
	end := time.Now().Add(timeout)
	for _, ch := range due(changes) {
		if ch.Kind != apply.KindModel || !ch.WantsRunning() {
			continue
		}
		if err := c.waitFor(ctx, cl, ch.ID, waitOptions{State: api.StateRunning, Timeout: max(time.Until(end), time.Millisecond)}); err != nil {
			return err
		}
	}
	return nil
}
