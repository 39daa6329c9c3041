package api_test

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"

	"github.com/nebula-serve/nebula/api"
)

// TestValidate answers each case with "ok", or with the error's code and one line for each thing that is wrong. A case
// starts from a valid spec or deployment and sets fields: NAME VALUE, the value as a Go string or a number; after it
// "* N" repeats a string, and for a list N fills it with N of them.
func TestValidate(t *testing.T) {
	runCases(t, "validate/*.txt", func(t *testing.T, lines []string) string {
		spec, dep := validSpec(), validDeployment()
		for _, l := range lines[1:] {
			if err := setField(&spec, &dep, l); err != nil {
				t.Fatalf("%s: %v", l, err)
			}
		}
		switch lines[0] {
		case "spec":
			return showError(t, spec.Validate())
		case "deployment":
			return showError(t, dep.Validate())
		}
		t.Fatalf("unknown document %q", lines[0])
		return ""
	})
}

func validSpec() api.ModelSpec {
	return api.ModelSpec{ModelUID: "demo-7b", ModelName: "acme/Demo-7B", ModelSource: api.SourceHuggingFace, Config: &api.ModelConfig{}}
}

func validDeployment() api.ModelDeployment {
	return api.ModelDeployment{
		ModelUID: "demo-7b", DesiredState: api.DesiredRunning, Replicas: 1, ConfigOverrides: &api.ModelConfig{},
	}
}

// showError also holds what is true of every error of Validate: it is for people, it is one line, and its message says
// what its details say.
func showError(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return "ok"
	}
	e, ok := api.AsError(err)
	if !ok {
		t.Fatalf("%v is not an *api.Error", err)
	}
	out := string(e.Code) + "\n"
	for _, d := range e.Details {
		out += d.Field + ": " + d.Reason + "\n"
		if !strings.Contains(e.Error(), d.Field+" "+d.Reason) {
			t.Errorf("the message %q does not say that %s %s", e.Message, d.Field, d.Reason)
		}
	}
	if !strings.Contains(e.Message, " is not valid: ") || strings.ContainsFunc(e.Message, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("the message is not one printable sentence: %q", e.Message)
	}
	return out
}

// setField carries out one line of a case.
func setField(spec *api.ModelSpec, dep *api.ModelDeployment, line string) error {
	name, rest, _ := strings.Cut(line, " ")
	text, times, repeated := strings.Cut(rest, " * ")
	n := 1
	if repeated {
		var err error
		if n, err = strconv.Atoi(times); err != nil {
			return err
		}
	}
	if strings.HasPrefix(text, `"`) {
		return setString(spec, dep, name, text, n)
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return err
	}
	cfg, over := spec.Config, dep.ConfigOverrides
	switch name {
	case "replicas":
		dep.Replicas = uint32(v)
	case "gpu":
		for i := range n {
			dep.GPUAffinity = append(dep.GPUAffinity, uint32(v)+uint32(i))
		}
	case "tensor_parallel_size":
		cfg.TensorParallelSize, over.TensorParallelSize = new(uint32(v)), new(uint32(v))
	case "gpu_memory_utilization":
		cfg.GPUMemoryUtilization, over.GPUMemoryUtilization = new(float32(v)), new(float32(v))
	case "max_model_len":
		cfg.MaxModelLen, over.MaxModelLen = new(uint32(v)), new(uint32(v))
	case "required_vram_mb":
		cfg.RequiredVRAMMB, over.RequiredVRAMMB = new(uint64(v)), new(uint64(v))
	default:
		return errors.New("unknown number")
	}
	return nil
}

func setString(spec *api.ModelSpec, dep *api.ModelDeployment, name, quoted string, n int) error {
	s, err := strconv.Unquote(quoted)
	if err != nil {
		return err
	}
	fields := map[string]*string{
		"model_uid": &spec.ModelUID, "model_name": &spec.ModelName, "model_path": &spec.ModelPath, "engine_type": &spec.EngineType,
		"docker_image": &spec.DockerImage, "revision": &spec.Revision, "token_secret": &spec.TokenSecret, "node_id": &dep.NodeAffinity,
		"model_source": (*string)(&spec.ModelSource), "desired_state": (*string)(&dep.DesiredState),
	}
	if f, ok := fields[name]; ok {
		*f = strings.Repeat(s, n)
		return nil
	}
	for i := range n {
		switch name {
		case "label":
			key, value, _ := strings.Cut(s, "=")
			if spec.Labels == nil {
				spec.Labels = api.Labels{}
			}
			if n > 1 {
				key += strconv.Itoa(i)
			}
			spec.Labels[key] = value
		case "long_label":
			spec.Labels = api.Labels{strings.Repeat(s, n): strings.Repeat(s, n)}
		case "file":
			spec.Files = append(spec.Files, s)
		case "long_file":
			spec.Files = []string{strings.Repeat(s, n)}
		case "lora":
			spec.Config.LoRAModules = append(spec.Config.LoRAModules, s)
		default:
			return errors.New("unknown string")
		}
	}
	return nil
}

// A message must stay readable, and must not carry megabytes of somebody's input to a log or a terminal.
func TestValidate_echoesLittleOfItsInput(t *testing.T) {
	const much = 100_000
	long := strings.Repeat("☃", much)
	spec := api.ModelSpec{
		ModelUID: long, ModelName: long, ModelSource: api.ModelSource(long), ModelPath: long, EngineType: long, DockerImage: long,
		Revision: long + " ", Labels: api.Labels{long + "=": long}, Files: []string{"/" + long},
		Config: &api.ModelConfig{LoRAModules: []string{long}},
	}
	dep := api.ModelDeployment{DesiredState: api.DesiredState(long), NodeAffinity: long}
	for _, err := range []error{spec.Validate(), dep.Validate()} {
		e, ok := api.AsError(err)
		if !ok {
			t.Fatalf("%v is not an *api.Error", err)
		}
		for _, d := range e.Details {
			if echo := strings.Count(d.Reason, "☃") * len("☃"); echo > 80 {
				t.Errorf("%s: the reason repeats %d bytes of the input", d.Field, echo)
			}
		}
		if len(e.Message) > 5_000 {
			t.Errorf("the message is %d bytes long", len(e.Message))
		}
	}
	var decoded api.ModelDeployment
	for _, err := range []error{
		errorOf(api.ParseModelSource(long)),
		decoded.UnmarshalJSON(fmt.Appendf(nil, `{"desired_state":%q}`, long)),
	} {
		if err == nil || len(err.Error()) > 250 {
			t.Errorf("not a short error: %.300v", err)
		}
	}
}

func errorOf(_ any, err error) error { return err }

// What Validate lets through is harmless where it ends up: in paths, URLs, argument lists, logs and keys of the store.
func TestValidate_letsNothingHostileThrough(t *testing.T) {
	text := rapid.OneOf(
		rapid.StringMatching(`[-a-z/.=,~ \\]{0,12}`), rapid.String(),
		rapid.SampledFrom([]string{"", "/", "..", "a/../b", "-x", "/a/b", "a\x00b", "a\xffb", "\u202eb", "v1.0", "*.gguf", "n=/a"}),
	)
	rapid.Check(t, func(t *rapid.T) {
		spec := api.ModelSpec{
			ModelUID: text.Draw(t, "uid"), ModelName: text.Draw(t, "name"), ModelPath: text.Draw(t, "path"), Revision: text.Draw(t, "revision"),
			ModelSource: rapid.SampledFrom([]api.ModelSource{api.SourceHuggingFace, api.SourceModelScope, api.SourceLocal}).Draw(t, "source"),
			Files:       rapid.SliceOfN(text, 0, 2).Draw(t, "files"), EngineType: text.Draw(t, "engine"),
			Labels: rapid.MapOfN(text, text, 0, 2).Draw(t, "labels"),
			Config: &api.ModelConfig{LoRAModules: rapid.SliceOfN(text, 0, 2).Draw(t, "lora")},
		}
		e, invalid := api.AsError(spec.Validate())
		wrong := map[string]bool{}
		if invalid {
			for _, d := range e.Details {
				wrong[d.Field] = true
			}
		}
		for field, values := range map[string][]string{
			"model_uid": {spec.ModelUID}, "model_name": {spec.ModelName}, "model_path": {spec.ModelPath}, "revision": {spec.Revision},
			"files": spec.Files, "config.lora_modules": spec.Config.LoRAModules,
		} {
			for _, v := range values {
				if pattern := field == "files"; !wrong[field] && (hostile(v) && !pattern || hostile("/"+v)) {
					t.Errorf("%s %q was let through", field, v)
				}
			}
		}
		for k, v := range spec.Labels {
			if (hostileText(k) || hostileText(v)) && !wrong["labels"] {
				t.Errorf("label %q=%q was let through", k, v)
			}
		}
		if path := spec.ModelPath; path != "" && path[0] != '/' && !wrong["model_path"] {
			t.Errorf("relative path %q was let through", path)
		}
	})
}

func hostile(s string) bool {
	return hostileText(s) || s == ".." || strings.HasPrefix(s, "../") || strings.HasSuffix(s, "/..") || strings.Contains(s, "/../") ||
		strings.HasPrefix(s, "-")
}

func hostileText(s string) bool {
	return strings.ContainsAny(s, "\x00\n\r\x1b\u202e") || strings.ToValidUTF8(s, "") != s
}

func TestValidate_refusesNumbersThatJSONCannotHold(t *testing.T) {
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		spec := validSpec()
		spec.Config.GPUMemoryUtilization = new(float32(v))
		if err := spec.Validate(); !api.HasCode(err, api.CodeInvalidRequest) {
			t.Errorf("gpu_memory_utilization %v: %v", v, err)
		}
	}
}

func TestWithoutUser(t *testing.T) {
	for in, want := range map[string]string{
		"https://ann:pass@host/x": "https://…@host/x", "https://token@host": "https://…@host", "https://ann:p@ss@host/a": "https://…@host/a", "https://host/a": "https://host/a",
		"ann@host": "ann@host", "": "", "acme/model": "acme/model", "://@": "://…@",
	} {
		if got := api.WithoutUser(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	long := "https://ann:" + strings.Repeat("p", 100) + "@host/x"
	err := (&api.ModelSpec{ModelUID: "m", ModelName: long}).Validate()
	if err == nil || strings.Contains(err.Error(), "ppp") {
		t.Errorf("a password is repeated: %v", err)
	}
}
