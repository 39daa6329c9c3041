package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/google/shlex"
	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
	"github.com/nebula-serve/nebula/internal/apply"
)

func (c *command) modelEdit() *cobra.Command {
	return &cobra.Command{
		Use: "edit UID", Short: "Change a model in your editor", Args: exactly(1, "the model's UID"), ValidArgsFunction: c.completeUID,
		Long: "Change a model's document in the editor that VISUAL or EDITOR names. What is left out is unset. When the text is not valid, the editor opens\n" +
			"again with the problems in it; saving it without a change, or an empty one, cancels. When somebody else has changed the model meanwhile, nothing\n" +
			"is done and the text is kept in a file.",
		Example: "  nebula model edit qwen\n  EDITOR='code --wait' nebula model edit qwen",
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			editor, err := findEditor(c.env.Getenv)
			if err != nil {
				return err
			}
			before, err := readObject(cmd.Context(), cl, apply.Ref{Kind: apply.KindModel, ID: args[0]})
			if err != nil {
				return err
			}
			e := editing{command: c, cl: cl, before: before, editor: editor}
			return e.run(cmd.Context())
		},
	}
}

// findEditor is the command line of the editor, without the file. It is split into words as a shell would, but no shell runs it.
func findEditor(getenv func(string) string) ([]string, error) {
	for _, name := range []string{"VISUAL", "EDITOR"} {
		if getenv(name) == "" {
			continue
		}
		argv, err := shlex.Split(getenv(name))
		if err != nil || len(argv) == 0 {
			return nil, usagef("%s is not a command line: %q", name, getenv(name))
		}
		return argv, nil
	}
	for _, name := range []string{"vi", "nano"} {
		if path, err := exec.LookPath(name); err == nil {
			return []string{path}, nil
		}
	}
	return nil, usagef("there is no editor: name one with the environment variable EDITOR")
}

// editing is one edit of one object.
type editing struct {
	*command
	cl     *client.Client
	before apply.Object
	editor []string
	path   string // of the file with the text
}

const editHelp = `# The declaration of %s. Save it and close the editor to apply it; save it empty or unchanged to cancel.
# A field that is left out is unset; desired_state and replicas stay as they are. Lines that begin with # are comments.
`

// problemMark begins the comments that we write above what is wrong.
const problemMark = "# PROBLEM: "

func (e *editing) run(ctx context.Context) error {
	text, err := apply.Text(e.before.Kind, e.before.Doc)
	if err != nil {
		return err
	}
	text = fmt.Sprintf(editHelp, e.before.Ref) + "\n" + text
	original, last := content(text), ""
	for {
		edited, err := e.edit(text)
		if err != nil {
			return err
		}
		now := content(edited)
		switch now {
		case "", original:
			e.drop()
			return e.say("Nothing has changed")
		case last:
			return e.kept(usagef("the text is still not valid:\n%s", strings.Join(problems(text), "\n")))
		}
		err = e.save(ctx, edited)
		if err == nil {
			return nil
		}
		refused, ok := api.AsError(err)
		if !ok || refused.Code.ExitCode() != exitUsage || ctx.Err() != nil {
			return e.kept(err)
		}
		text, last = withProblems(edited, refused), now
	}
}

// content is what matters of a text: its lines without comments and empty ones.
func content(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if t := strings.TrimSpace(line); t != "" && t[0] != '#' {
			b.WriteString(strings.TrimRight(line, " \r\n") + "\n")
		}
	}
	return b.String()
}

// problems are the comments about problems in a text.
func problems(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if p, ok := strings.CutPrefix(line, problemMark); ok {
			out = append(out, strings.TrimSpace(p))
		}
	}
	return out
}

// withProblems writes each problem above its line, or at the top.
func withProblems(text string, err *api.Error) string {
	at := map[int][]string{}
	details := err.Details
	if len(details) == 0 {
		details = []api.Field{{Reason: err.Message}}
	}
	for _, d := range details {
		_, line, _ := strings.Cut(d.Field, ":")
		n, wrong := strconv.Atoi(line)
		if wrong != nil || n < 1 {
			n = 1
			if d.Field != "" && wrong != nil {
				d.Reason = d.Field + " " + d.Reason
			}
		}
		at[n] = append(at[n], problemMark+strings.Join(strings.Fields(d.Reason), " ")+"\n")
	}
	var b strings.Builder
	n := 0
	for line := range strings.Lines(text) {
		n++
		b.WriteString(strings.Join(at[n], ""))
		delete(at, n)
		if !strings.HasPrefix(line, problemMark) {
			b.WriteString(line)
		}
	}
	for _, rest := range at { // beyond the end, where the text breaks off
		b.WriteString(strings.Join(rest, ""))
	}
	return b.String()
}

// edit lets people edit a text and returns it.
func (e *editing) edit(text string) (string, error) {
	if e.path == "" {
		f, err := os.CreateTemp("", "nebula-"+e.before.ID+"-*.yaml") // only we can read it
		if err != nil {
			return "", fmt.Errorf("make a file for the text: %w", err)
		}
		e.path = f.Name()
		if err := f.Close(); err != nil {
			return "", fmt.Errorf("make a file for the text: %w", err)
		}
	}
	if err := os.WriteFile(e.path, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("write the text: %w", err)
	}
	argv := append(slices.Clone(e.editor), e.path)
	cmd := exec.Command(argv[0], argv[1:]...) //nolint:noctx // Ctrl-C is the editor's while it runs
	cmd.Stdin, cmd.Stdout, cmd.Stderr = e.env.Stdin, e.env.Stdout, e.env.Stderr
	if err := cmd.Run(); err != nil {
		if same, _ := os.ReadFile(e.path); content(string(same)) == content(text) {
			e.drop()
			return "", usagef("the editor %q failed, and nothing has changed: %w", argv[0], err)
		}
		return "", e.kept(fmt.Errorf("the editor %q failed: %w", argv[0], err))
	}
	b, err := os.ReadFile(e.path)
	if err != nil {
		return "", fmt.Errorf("read the text again: %w", err)
	}
	return string(b), nil
}

// drop removes the file.
func (e *editing) drop() { _ = os.Remove(e.path) } // what is left of it harms nobody

// kept adds to an error where the text is.
func (e *editing) kept(err error) error {
	fmt.Fprintf(e.env.Stderr, "Your text is kept in %s\nIt can be applied with: nebula apply -f %s\n", e.path, e.path)
	return err
}

// save carries out what the text says.
func (e *editing) save(ctx context.Context, text string) error {
	docs, err := apply.Parse([]apply.File{{Name: "line", Data: []byte(text)}})
	switch {
	case err != nil:
		return err
	case len(docs) != 1:
		return api.Errorf(api.CodeInvalidRequest, "there are %d documents: one is edited", len(docs))
	case docs[0].Ref != e.before.Ref:
		return &api.Error{Code: api.CodeInvalidRequest, Message: "this is another model", Details: []api.Field{{
			Field: docs[0].At.String(), Reason: docs[0].String() + " is another one than " + e.before.String() + ": its name cannot be changed here",
		}}}
	}
	changes, err := apply.Plan(docs, map[apply.Ref]apply.Object{e.before.Ref: e.before}, apply.Options{Whole: true})
	if err != nil {
		return err
	}
	run := carrying{cl: e.cl, say: func(string) {}}
	switch err := run.all(ctx, changes); {
	case api.HasCode(err, api.CodeRevisionMismatch):
		return errors.Join(e.showMoved(ctx), err)
	case err != nil:
		return err
	}
	e.drop()
	return e.say("Model " + e.before.ID + " " + pastTense(changes[0].Verbs))
}

// showMoved shows what has become of the object since it was read.
func (e *editing) showMoved(ctx context.Context) error {
	now, err := readObject(ctx, e.cl, e.before.Ref)
	if err != nil {
		return err
	}
	d, err := apply.DiffOf(e.before.Ref, e.before.Doc, now.Doc)
	if err != nil {
		return err
	}
	fmt.Fprintf(e.env.Stderr, "%s has changed since you began:\n", e.before.Ref)
	_, err = lipgloss.Fprint(e.env.Stderr, colouredDiff(clean(d)))
	return err
}
