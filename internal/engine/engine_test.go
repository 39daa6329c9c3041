package engine

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nebula-serve/nebula/api"
)

var update = flag.Bool("update", false, "write the answers into testdata")

// render writes a launch, or the refusal, as text.
func render(l Launch, err error) string {
	var b strings.Builder
	if err != nil {
		e, _ := api.AsError(err)
		fmt.Fprintf(&b, "error %s: %s\n", e.Code, e.Message)
		return b.String()
	}
	for i, a := range l.Argv {
		switch {
		case i == 0:
			b.WriteString(a)
		case strings.HasPrefix(a, "-") && !numberForm.MatchString(a):
			b.WriteString(" \\\n  " + a)
		default:
			b.WriteString(" " + a)
		}
	}
	b.WriteString("\n\n")
	for _, kv := range l.Env {
		b.WriteString(kv + "\n")
	}
	fmt.Fprintf(&b, "\nready %s every %s within %s, live %s every %s within %s\n", l.Ready.Path, l.Ready.Every, l.Ready.Timeout, l.Live.Path, l.Live.Every, l.Live.Timeout)
	fmt.Fprintf(&b, "stop %v then KILL at %s, fine: %v\n", l.Stop, l.KillAfter, l.OKExit)
	if l.PortMode == PortFromLog {
		fmt.Fprintf(&b, "port from %q\n", l.PortLog)
	} else {
		fmt.Fprintf(&b, "port %d\n", l.Port)
	}
	return b.String()
}

// Each file holds an engine and its input in the first line, and the launch below it.
func TestPlan_goldenCommandLines(t *testing.T) {
	files, err := filepath.Glob("testdata/argv/*.txt")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d cases, %v", len(files), err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			raw, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			first, want, _ := strings.Cut(string(raw), "\n")
			kind, input, _ := strings.Cut(first, " ")
			var in Input
			if err := json.Unmarshal([]byte(input), &in); err != nil {
				t.Fatal(err)
			}
			got := "\n" + render(Plan(kind, in))
			if *update {
				if err := os.WriteFile(name, []byte(first+"\n"+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if refused := strings.HasPrefix(filepath.Base(name), "refused-"); refused != strings.HasPrefix(got, "\nerror ") {
				t.Errorf("the file's name says refused=%v", refused)
			}
		})
	}
}

// Each log is a real ending; answers.txt has what people read. The exit status is in the name, else it is 1.
func TestDiagnose_corpus(t *testing.T) {
	for _, kind := range api.Engines() {
		t.Run(kind, func(t *testing.T) {
			dir := filepath.Join("testdata", "failures", kind)
			files, err := filepath.Glob(filepath.Join(dir, "*.log"))
			if err != nil || len(files) == 0 {
				t.Fatalf("%d logs, %v", len(files), err)
			}
			var b strings.Builder
			for _, name := range files {
				raw, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				base := strings.TrimSuffix(filepath.Base(name), ".log")
				exit := Exit{Code: 1}
				if _, status, ok := strings.Cut(base, ".exit-"); ok {
					n, err := strconv.Atoi(status)
					if err != nil {
						t.Fatal(err)
					}
					if exit.Code = n; n > 128 {
						exit = Exit{Code: -1, Signal: n - 128}
					}
				}
				f := Diagnose(kind, strings.Split(strings.TrimRight(string(raw), "\n"), "\n"), exit)
				final := ""
				if f.Final {
					final = ", final"
				}
				fmt.Fprintf(&b, "%s: %s%s\n  %s\n", base, f.Code, final, f.Message)
			}
			golden := filepath.Join(dir, "answers.txt")
			if *update {
				if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), b.String()); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestDiagnose_exits(t *testing.T) {
	cases := []struct {
		name string
		tail []string
		exit Exit
		code api.FailureCode
		want string // part of the message
	}{
		{"not found", nil, Exit{Error: "fork/exec /usr/bin/llama-server: no such file or directory"}, api.FailEngineMissing, "apt install llama.cpp-tools"},
		{"not executable", nil, Exit{Error: "fork/exec /x: permission denied"}, api.FailBadInstall, "chmod +x"},
		{"other machine", nil, Exit{Error: "fork/exec /x: exec format error"}, api.FailBadInstall, "not a program for this machine"},
		{"start error", nil, Exit{Error: "resource temporarily unavailable"}, api.FailEngineCrash, "could not be started"},
		{"oom killer", []string{"error: invalid argument: --x"}, Exit{Code: -1, Signal: 9, OOM: true}, api.FailOutOfMemory, "kernel killed"},
		{"killed", nil, Exit{Code: -1, Signal: 9}, api.FailEngineCrash, "signal KILL, sent from outside Nebula"},
		{"rare signal", nil, Exit{Code: -1, Signal: 31}, api.FailEngineCrash, "signal 31"},
		{"unknown", []string{"all slots are idle"}, Exit{Code: -1, Unknown: true}, api.FailEngineCrash, "nobody saw how it ended"},
		{"clean end", nil, Exit{}, api.FailEngineCrash, "ended with status 0"},
		{"no log", []string{"", "  "}, Exit{Code: 3}, api.FailEngineCrash, "status 3"},
		{"a start-up rule explains no end of a serving engine", []string{"error: invalid argument: --x"}, Exit{Code: 1, Served: true}, api.FailEngineCrash, "error: invalid argument"},
		{"out of memory while serving", []string{"ggml_cuda: cudaMalloc failed: out of memory"}, Exit{Code: 1, Served: true}, api.FailOutOfMemory, "GPU"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f := Diagnose(api.EngineLlamaCPP, c.tail, c.exit)
			if f.Code != c.code || !strings.Contains(f.Message, c.want) {
				t.Errorf("got %s %q, want %s %q", f.Code, f.Message, c.code, c.want)
			}
			if c.exit.Served && f.Final {
				t.Error("final, although the engine had served")
			}
		})
	}
}

func TestMask(t *testing.T) {
	cases := map[string]string{
		"using hf_abcdefghijkl now":               "using hf_*** now",
		"Authorization: Bearer abc.def.ghi, next": "Authorization: Bearer ***, next",
		"api_key=s3cretvalue&x=1":                 "api_key=***",
		`{"token": "abcdefgh"}`:                   `{"token": "***"}`,
		"http://user:pass@host/path":              "http://user:***@host/path",
		"proxy sk-abcdef123456":                   "proxy sk-***",
		"1024 tokens per second, token 5":         "1024 tokens per second, token 5",
		"BOS token = 1 '<s>'":                     "BOS token = 1 '<s>'",
	}
	for in, want := range cases {
		if got := Mask(in); got != want {
			t.Errorf("Mask(%q) = %q, want %q", in, got, want)
		}
	}
}

// Whatever a model asks for, the command line names our host, port, model and name exactly once, takes no path from the
// extra arguments, and passes no environment but the listed one.
func TestPlan_extraArgumentsNeverReachOurFlags(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	owned := []string{
		"--host", "--port", "--api-key", "--served-model-name", "--root-path", "--load-format", "--middleware", "--config", "--model",
		"--model-path", "-m", "-a", "--alias", "--tools", "--path", "--log-file", "--trust-remote-code", "--allowed-local-media-path", "--ssl-keyfile",
	}
	values := []string{"0.0.0.0", "1", "/etc/passwd", "--host", "-1", "auto", "{}", "", "a b", "q8_0", "x=y", "\x00"}
	for n := range 6000 {
		kind := api.Engines()[n%3]
		var extra []string
		for range 1 + rng.IntN(3) {
			flag := owned[rng.IntN(len(owned))]
			switch rng.IntN(6) {
			case 0:
				flag = flag[:2+rng.IntN(len(flag)-1)-1]
			case 1:
				flag = strings.ReplaceAll(flag, "-", "_")
			case 2:
				flag = strings.ToUpper(flag)
			case 3, 4:
				rules := allowed(kind)
				names := rules[rng.IntN(len(rules))].names
				flag = names[rng.IntN(len(names))]
			}
			v := values[rng.IntN(len(values))]
			if rng.IntN(2) == 0 {
				extra = append(extra, flag+"="+v)
			} else {
				extra = append(extra, flag, v)
			}
		}
		in := Input{ServedName: "m", Path: "/model", Binary: "/bin/engine", Port: 21000, ExtraArgs: extra, BaseEnv: []string{"SECRET=1", "PATH=/bin"}}
		l, err := Plan(kind, in)
		if err != nil {
			if !api.HasCode(err, api.CodeInvalidRequest) {
				t.Fatalf("%q: %v", extra, err)
			}
			continue
		}
		seen := map[string]int{}
		for _, a := range l.Argv[1:] {
			seen[a]++
			if strings.HasPrefix(a, "-") && strings.Contains(a, "=") || a != "/model" && strings.HasPrefix(a, "/") {
				t.Fatalf("%q gave %q", extra, l.Argv)
			}
		}
		for _, once := range []string{"--host", "127.0.0.1", "--port", "/model"} {
			if seen[once] != 1 {
				t.Fatalf("%q gave %d times %s: %q", extra, seen[once], once, l.Argv)
			}
		}
		for _, o := range owned {
			if seen[o] > 1 {
				t.Fatalf("%q gave %q", extra, l.Argv)
			}
		}
		if slices.ContainsFunc(l.Env, func(kv string) bool { return strings.HasPrefix(kv, "SECRET") }) {
			t.Fatalf("environment %q", l.Env)
		}
	}
}

func TestLaunch_survivesJSON(t *testing.T) {
	l, err := Plan(api.EngineLlamaCPP, Input{ServedName: "m", Path: "/m.gguf", Binary: "/b", Cores: 2})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	var back Launch
	if err := json.Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(l, back, cmpopts.IgnoreFields(Launch{}, "PortLog")); diff != "" {
		t.Error(diff)
	}
	m := back.PortLog.FindStringSubmatch("0.00.030.520 I srv  llama_server: listening on http://127.0.0.1:45019")
	if len(m) != 2 || m[1] != "45019" {
		t.Errorf("port line gave %q", m)
	}
}

func TestAtLeast(t *testing.T) {
	for v, want := range map[string]bool{
		"": false, "main": false, "0.15.9": false, "0.16.0": true, "v0.16.0rc1": true, "1.0": true, "0.x": false, "0.116.2": true, " 0.16.1\n": true,
	} {
		if got := atLeast(v, 0, 16); got != want {
			t.Errorf("atLeast(%q) = %v", v, got)
		}
	}
}

func TestProgress(t *testing.T) {
	lines := []string{
		"Loading safetensors checkpoint shards:  25% Completed | 1/4 [00:01<00:04]",
		"Loading safetensors checkpoint shards:  50% Completed | 2/4 [00:02<00:02]",
		"something else",
	}
	if p, ok := Progress(lines); !ok || p != 50 {
		t.Errorf("got %v %v", p, ok)
	}
	if _, ok := Progress(lines[2:]); ok {
		t.Error("progress out of nothing")
	}
}

func TestCatalog_coversEveryEngine(t *testing.T) {
	for _, kind := range api.Engines() {
		if len(Binaries(kind)) == 0 || !strings.HasPrefix(Install(kind), "Install ") || len(allowed(kind)) == 0 || len(signaturesOf(kind)) == 0 {
			t.Errorf("%s has a gap", kind)
		}
		if len(Metrics(kind)[RequestsRunning]) == 0 || len(Metrics(kind)[RequestsWaiting]) == 0 {
			t.Errorf("%s: no load figures", kind)
		}
	}
	if Binaries("tgi") != nil || Metrics("tgi") != nil || Install("tgi") == "" {
		t.Error("an unknown engine is not refused")
	}
}

func TestFailure_isAnError(t *testing.T) {
	var err error = &Failure{Code: api.FailBadFlag, Message: "no"}
	if f, ok := errors.AsType[*Failure](err); !ok || f.Error() != "no" {
		t.Error("not found in the chain")
	}
	if s := (Exit{Signal: 9, Code: -1}).Status(); s != 137 {
		t.Errorf("status %d", s)
	}
	if AnswerStranger.String() != "stranger" || Answer(9).String() != "answer 9" {
		t.Error("names of answers")
	}
}
