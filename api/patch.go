package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// PatchModel is the body of PATCH /api/v2/models/{uid}: a JSON merge patch (RFC 7396) on what a model is. A field that is absent is kept; null clears
// it, and so do null for one field of config and for one of labels; any other value replaces it, files and lora_modules whole.
type PatchModel map[string]json.RawMessage

// patchFields says of each field that a patch may have how it changes a spec.
var patchFields = map[string]func(*ModelSpec, string, json.RawMessage) error{
	"model_name": func(s *ModelSpec, at string, v json.RawMessage) error {
		return patchValue(&s.ModelName, at, v, "a string")
	},
	"model_path": func(s *ModelSpec, at string, v json.RawMessage) error {
		return patchValue(&s.ModelPath, at, v, "a string")
	},
	"engine_type": patchEngine,
	"docker_image": func(s *ModelSpec, at string, v json.RawMessage) error {
		return patchValue(&s.DockerImage, at, v, "a string")
	},
	"revision": func(s *ModelSpec, at string, v json.RawMessage) error {
		return patchValue(&s.Revision, at, v, "a string")
	},
	"token_secret": func(s *ModelSpec, at string, v json.RawMessage) error {
		return patchValue(&s.TokenSecret, at, v, "a string")
	},
	"files":        func(s *ModelSpec, at string, v json.RawMessage) error { return patchList(&s.Files, at, v) },
	"model_source": patchSource,
	"labels":       patchLabels,
	"config":       patchConfig,
}

// patchFixed are the fields of a spec that nobody changes, and why.
var patchFixed = map[string]string{
	"model_uid":     "cannot be changed: it is what clients call the model; create another model under the other uid",
	"created_at_ms": "is set by Nebula",
	"updated_at_ms": "is set by Nebula",
	"created_by":    "is set by Nebula",
}

// Apply returns the spec as the patch makes it, which may be one that Validate refuses. What is wrong with the patch itself is an *Error that names
// all of it. Neither the spec nor the patch changes.
func (p PatchModel) Apply(spec ModelSpec) (ModelSpec, error) {
	out := spec.Clone()
	var wrong problems
	for _, name := range slices.Sorted(maps.Keys(p)) {
		if len(wrong) == maxPatchFaults {
			break
		}
		patch, known := patchFields[name]
		if reason, fixed := patchFixed[name]; fixed {
			wrong.add(name, "%s", reason)
		} else if !known {
			wrong.add(quoted(name), "is no field that a patch can change: use one of %s", strings.Join(slices.Sorted(maps.Keys(patchFields)), ", "))
		} else if fault, bad := errors.AsType[*patchFault](patch(&out, name, p[name])); bad {
			wrong.add(fault.field, "%s", fault.reason)
		}
	}
	if e, bad := AsError(wrong.err("the patch is not valid")); bad {
		e.Code = CodeInvalidRequest // also where the only fault is about the uid, which is a legal one
		return ModelSpec{}, e
	}
	return out, nil
}

// maxPatchFaults bounds how many things wrong with a patch are named at once.
const maxPatchFaults = 16

// patchFault is what is wrong with one field of a patch.
type patchFault struct{ field, reason string }

func (f *patchFault) Error() string { return f.field + " " + f.reason }

// quoted makes a name that could be anything safe for a message.
func quoted(name string) string { return strings.Trim(strconv.Quote(clip(name)), `"`) }

func isNull(v json.RawMessage) bool { return strings.TrimSpace(string(v)) == "null" }

// patchValue sets dst, or clears it. What it wants is said in words: those of the decoder are of Go's types.
func patchValue[T any](dst *T, at string, v json.RawMessage, want string) error {
	var fresh T
	if err := json.Unmarshal(v, &fresh); err != nil {
		return &patchFault{at, "must be " + want + ", or null to clear it"}
	}
	*dst = fresh
	return nil
}

// patchList is patchValue for a list of texts, in which null is no entry.
func patchList(dst *[]string, at string, v json.RawMessage) error {
	var list []*string
	if err := json.Unmarshal(v, &list); err != nil || slices.Contains(list, nil) {
		return &patchFault{at, "must be a list of strings, or null to clear it"}
	}
	*dst = nil
	if list != nil {
		*dst = make([]string, len(list))
		for i, s := range list {
			(*dst)[i] = *s
		}
	}
	return nil
}

func patchEngine(s *ModelSpec, at string, v json.RawMessage) error {
	if err := patchValue(&s.EngineType, at, v, "a string"); err != nil || s.EngineType == "" {
		return err
	}
	s.EngineType = CanonicalEngine(s.EngineType)
	return nil
}

func patchSource(s *ModelSpec, at string, v json.RawMessage) error {
	var text string
	if isNull(v) || json.Unmarshal(v, &text) != nil {
		return &patchFault{at, "must be hugging_face, model_scope or local: a model has a source"}
	}
	source, err := ParseModelSource(text)
	if err != nil {
		return &patchFault{at, fmt.Sprintf("%q is unknown: use hugging_face, model_scope or local", clip(text))}
	}
	s.ModelSource = source
	return nil
}

func patchLabels(s *ModelSpec, at string, v json.RawMessage) error {
	if isNull(v) {
		s.Labels = nil
		return nil
	}
	var labels map[string]*string
	if err := json.Unmarshal(v, &labels); err != nil {
		return &patchFault{at, "must be an object of strings, each of which may be null to clear it, or null to clear all"}
	}
	for key, value := range labels {
		if value == nil {
			delete(s.Labels, key)
			continue
		}
		if s.Labels == nil {
			s.Labels = Labels{}
		}
		s.Labels[key] = *value
	}
	return nil
}

func patchConfig(s *ModelSpec, at string, v json.RawMessage) error {
	if isNull(v) {
		s.Config = nil
		return nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(v, &fields); err != nil {
		return &patchFault{at, "must be an object, each field of which may be null to clear it, or null to clear all"}
	}
	c := s.Config
	if c == nil {
		c = &ModelConfig{}
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if err := c.patch(name, at+"."+quoted(name), fields[name]); err != nil {
			return err
		}
	}
	s.Config = c
	return nil
}

// patch sets or clears one field.
func (c *ModelConfig) patch(name, at string, v json.RawMessage) error {
	const number, whole = "a number", "a whole number"
	switch name {
	case ConfigTensorParallelSize:
		return patchValue(&c.TensorParallelSize, at, v, whole)
	case ConfigGPUMemoryUtilization:
		return patchValue(&c.GPUMemoryUtilization, at, v, number)
	case ConfigMaxModelLen:
		return patchValue(&c.MaxModelLen, at, v, whole)
	case ConfigRequiredVRAMMB:
		return patchValue(&c.RequiredVRAMMB, at, v, whole)
	case ConfigLoRAModules:
		return patchList(&c.LoRAModules, at, v)
	}
	return &patchFault{at, "is no field of a config: use one of " + strings.Join(ConfigFields(), ", ")}
}
