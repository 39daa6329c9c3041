package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/theory/jsonpath"
	"sigs.k8s.io/yaml"
)

// The ways to print an answer. jsonpath=EXPR is one more.
var formats = []string{"table", "wide", "json", "yaml"}

const (
	formatName = "name" // of lists alone: what the commands on one object take
	formatPath = "jsonpath="
)

// output is the value of --output. It is checked while the command line is read, before anything is done.
type output struct {
	name  string // one of formats, name or jsonpath
	path  *jsonpath.Path
	given string
	lists bool // the command lists: "name" is possible too
}

func (o *output) String() string { return o.given }
func (*output) Type() string     { return "format" }

// Set takes a format.
func (o *output) Set(s string) error {
	expr, isPath := strings.CutPrefix(s, formatPath)
	switch {
	case isPath:
		path, err := parsePath(expr)
		if err != nil {
			return err
		}
		*o = output{name: "jsonpath", path: path, given: s, lists: o.lists}
	case slices.Contains(o.known(), s):
		*o = output{name: s, given: s, lists: o.lists}
	default:
		return fmt.Errorf("output format %q is unknown: use one of %s%s", s, strings.Join(append(o.known(), formatPath+"EXPR"), ", "), didYouMean(s, o.known()))
	}
	return nil
}

func (o *output) known() []string {
	if o.lists {
		return append(slices.Clone(formats), formatName)
	}
	return formats
}

// parsePath reads a JSONPath of RFC 9535. The ways of kubectl are understood too: braces around it, and no "$" before it.
func parsePath(expr string) (*jsonpath.Path, error) {
	e := strings.TrimSpace(expr)
	if strings.HasPrefix(e, "{") && strings.HasSuffix(e, "}") {
		e = strings.TrimSpace(e[1 : len(e)-1])
	}
	switch {
	case strings.HasPrefix(e, "$"):
	case strings.HasPrefix(e, "."), strings.HasPrefix(e, "["):
		e = "$" + e
	default:
		e = "$." + e
	}
	path, err := jsonpath.Parse(e)
	if err != nil {
		return nil, fmt.Errorf("%q is no JSONPath (%w): write it as in '$.replicas.ready' or, of a list, '$[*].model_uid'", expr, err)
	}
	return path, nil
}

// addOutput adds -o to a command.
func (c *command) addOutput(cmd *cobra.Command) { c.addFormats(cmd, &output{}) }

func (c *command) addFormats(cmd *cobra.Command, o *output) {
	// Only one command runs, but each has its flag: the one that is set, or the default, is the one that counts.
	o.name, o.given = "table", "table"
	all := append(slices.Clone(o.known()), formatPath)
	cmd.Flags().VarP(o, "output", "o", "how to print: "+strings.Join(o.known(), ", ")+" or jsonpath=EXPR")
	// The command is ours and the flag was just made: it cannot fail.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(all, cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveNoSpace))
}

// formatOf is the format that a command line asks for.
func formatOf(cmd *cobra.Command) *output {
	if f := cmd.Flags().Lookup("output"); f != nil {
		if o, ok := f.Value.(*output); ok {
			return o
		}
	}
	return &output{name: "table", given: "table"}
}

// print writes v as the command line asks, or calls human for a table.
func (c *command) print(v any, human func(wide bool) error) error {
	switch c.output.name {
	case "table", "wide":
		return human(c.output.name == "wide")
	}
	return c.output.write(c.env.Stdout, v)
}

// write prints v in a format for programs.
func (o *output) write(w io.Writer, v any) error {
	var b []byte
	var err error
	switch o.name {
	case "json":
		if b, err = json.MarshalIndent(v, "", "  "); err == nil {
			b = append(b, '\n')
		}
	case "yaml":
		b, err = yaml.Marshal(v)
	default:
		b, err = selectPath(o.path, v)
	}
	if err != nil {
		return fmt.Errorf("print as %s: %w", o.name, err)
	}
	_, err = w.Write(b)
	return err
}

// selectPath returns what a path finds in v, a line each: texts as they are, the rest as JSON.
func selectPath(path *jsonpath.Path, v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber() // a time in milliseconds is not 1.7e+12
	var value any
	if err := d.Decode(&value); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for node := range path.Select(value).All() {
		if s, ok := node.(string); ok {
			out.WriteString(s + "\n")
			continue
		}
		if b, err = json.Marshal(node); err != nil {
			return nil, err
		}
		out.Write(append(b, '\n'))
	}
	return out.Bytes(), nil
}
