package cli

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// leaves are the commands that do something, with their words.
func leaves(cmd *cobra.Command, each func(*cobra.Command)) {
	if cmd.Runnable() && (!cmd.HasSubCommands() || cmd.Name() == "node") {
		each(cmd)
	}
	for _, sub := range cmd.Commands() {
		leaves(sub, each)
	}
}

var argument = regexp.MustCompile(`\b[A-Z]{2,}\b`)

// TestCommands_areExplained: every command says in a line what it is for, shows an example where it takes something, and its flags are explained.
func TestCommands_areExplained(t *testing.T) {
	t.Parallel()
	leaves(newRoot(&command{}), func(cmd *cobra.Command) {
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") || strings.Contains(cmd.Short, "\n") {
			t.Errorf("%s: what it is for should be one line without a full stop: %q", cmd.CommandPath(), cmd.Short)
		}
		_, rest, _ := strings.Cut(cmd.Use, " ")
		if argument.MatchString(rest) && !strings.Contains(cmd.Example, "nebula "+strings.TrimPrefix(cmd.CommandPath(), "nebula ")) {
			t.Errorf("%s takes arguments and has no example that begins with its name", cmd.CommandPath())
		}
		if cmd.Flags().Lookup("output") != nil && strings.Contains(cmd.Flags().Lookup("output").Usage, "jsonpath") == false {
			t.Errorf("%s has an --output of its own", cmd.CommandPath())
		}
	})
}

// TestMan: the pages are written, one for each command that is shown.
func TestMan(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var out, errs strings.Builder
	env := Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Getenv: func(string) string { return "" }}
	if code := Run(t.Context(), env, []string{"man", filepath.Join(dir, "man1")}); code != 0 {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	for _, name := range []string{"nebula.1", "nebula-model-create.1", "nebula-context-use.1"} {
		b, err := os.ReadFile(filepath.Join(dir, "man1", name))
		if err != nil || !strings.Contains(string(b), ".SH SYNOPSIS") && !strings.Contains(string(b), ".SH DESCRIPTION") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if code := Run(t.Context(), env, []string{"man", "/dev/null/x"}); code != exitUsage {
		t.Errorf("a folder that cannot be made: exit %d", code)
	}
}

// offline are the commands that ask no server, or that need more than a line to be tried.
var offline = []string{
	"nebula up", "nebula server", "nebula gateway", "nebula node", // run for long
	"nebula version", "nebula demo-model", "nebula man", "nebula admin restore", "nebula context *", "nebula logout", "nebula completion *", "nebula help",
	"nebula password", // reads two lines: TestPassword_readsTwoLines
}

// tries are the command lines of commands that need more than their arguments.
var tries = map[string]string{
	"nebula profile": "--email a@example.com", "nebula key update": "m --name x", "nebula user update": "m --role viewer", "nebula model create": "x/y", "nebula model scale": "m --replicas 2", "nebula model load": "--name x/y --uid m", "nebula scale": "--id m --replicas 2",
	"nebula token create": "--for node", "nebula member delete": "node/n1", "nebula chat": "-m m hello", "nebula logs": "m", "nebula export": "",
	"nebula cache pull": "m --node n1", "nebula cache evict": "m --node n1", "nebula login": "--token-stdin", "nebula logout": "", "nebula model wait": "m", "nebula admin backup": "FILE",
	"nebula apply": "-f DOC", "nebula diff": "-f DOC", "nebula model edit": "m", "nebula drain": "--model-uid m --replica-id 0",
	"nebula template create": "--name x --model-name x/y", "nebula template save": "m --name x", "nebula gateway stats": "traffic",
}

// TestCommands_failWithoutAServer: every command that needs a server ends with an error, and says what to do.
func TestCommands_failWithoutAServer(t *testing.T) {
	t.Parallel()
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := "http://" + dead.Addr().String()
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	doc := filepath.Join(dir, "doc.yaml")
	if err := os.WriteFile(doc, []byte("kind: Model\nmodel_uid: m\nmodel_name: x/y\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	leaves(newRoot(&command{}), func(cmd *cobra.Command) {
		path := cmd.CommandPath()
		for _, o := range offline {
			if path == o || strings.HasSuffix(o, " *") && strings.HasPrefix(path, strings.TrimSuffix(o, "*")) {
				return
			}
		}
		line, ok := tries[path]
		if !ok {
			_, rest, _ := strings.Cut(cmd.Use, " ")
			for range len(argument.FindAllString(strings.NewReplacer("[", "", "ROLE/ID", "ID").Replace(rest), -1)) {
				line += " m"
			}
		}
		line = strings.NewReplacer("FILE", filepath.Join(dir, "file"), "DOC", doc).Replace(line)
		var out, errs strings.Builder
		env := Env{Stdin: strings.NewReader(strings.Repeat("t", 40)), Stdout: &out, Stderr: &errs, Getenv: func(name string) string {
			return map[string]string{"NEBULA_SERVER": server, "NEBULA_TOKEN": strings.Repeat("t", 40), "NEBULA_DATA_DIR": dir, "HOME": dir}[name]
		}}
		args := append(strings.Fields(path)[1:], strings.Fields(line)...)
		code := Run(t.Context(), env, args)
		if code == 0 {
			t.Errorf("%s: exit 0", strings.Join(args, " "))
		}
		if text := errs.String(); !strings.Contains(text, "nebula up") && !strings.Contains(text, "nebula model") && !strings.Contains(text, "nebula apply") {
			t.Errorf("%s: exit %d without a hint: %q", strings.Join(args, " "), code, text)
		}
		if out.String() != "" {
			t.Errorf("%s prints although there is no server: %q", strings.Join(args, " "), out.String())
		}
	})
}
