package api

import (
	"maps"
	"slices"
)

// ModelConfig tunes the engine. A nil field means "not set": the engine's or Nebula's default holds.
//
// A config that lies over another one (config_overrides over a model's config) has three things to say of each field: a value sets it, its name in
// Unset clears what lies below, and otherwise what lies below holds. A field that is null in JSON is one that is absent.
type ModelConfig struct {
	TensorParallelSize   *uint32  `json:"tensor_parallel_size"`
	GPUMemoryUtilization *float32 `json:"gpu_memory_utilization"` // fraction of a GPU's total memory, 0 < x <= 1
	MaxModelLen          *uint32  `json:"max_model_len"`          // context length in tokens
	RequiredVRAMMB       *uint64  `json:"required_vram_mb"`       // per GPU, MiB; for placement only
	LoRAModules          []string `json:"lora_modules"`           // nil is not set; an empty list is set, to none
	Unset                []string `json:"unset,omitempty"`        // names of fields that are cleared; one that is set as well stays set
}

// The names of the fields of a [ModelConfig], as Unset has them.
const (
	ConfigTensorParallelSize   = "tensor_parallel_size"
	ConfigGPUMemoryUtilization = "gpu_memory_utilization"
	ConfigMaxModelLen          = "max_model_len"
	ConfigRequiredVRAMMB       = "required_vram_mb"
	ConfigLoRAModules          = "lora_modules"
)

// ConfigFields lists the names of the fields that a config can set.
func ConfigFields() []string {
	return []string{ConfigTensorParallelSize, ConfigGPUMemoryUtilization, ConfigMaxModelLen, ConfigRequiredVRAMMB, ConfigLoRAModules}
}

// EffectiveConfig is the config that a model runs with: its own, with the deployment's overrides over it. Nothing in it is Unset any more, because
// nothing lies below. The deployment may be nil.
func EffectiveConfig(s *ModelSpec, d *ModelDeployment) *ModelConfig {
	var over *ModelConfig
	if d != nil {
		over = d.ConfigOverrides
	}
	out := s.Config.Merge(over)
	if out != nil {
		out.Unset = nil
	}
	return out
}

// Merge returns c with over laid over it: every field that over sets is replaced, LoRAModules whole, and every field that over clears is not set. What
// either of them clears and nothing sets again stays in Unset, in order of name, so that laying a over b over c gives the same in whichever order the
// two steps are taken. Names that are no field's are kept. Neither input changes.
func (c *ModelConfig) Merge(over *ModelConfig) *ModelConfig {
	if c == nil && over == nil {
		return nil
	}
	var out ModelConfig
	cleared := map[string]bool{}
	for _, src := range []*ModelConfig{c, over} {
		if src == nil {
			continue
		}
		for _, name := range src.Unset {
			out.clear(name)
			cleared[name] = true
		}
		set(&out.TensorParallelSize, src.TensorParallelSize)
		set(&out.GPUMemoryUtilization, src.GPUMemoryUtilization)
		set(&out.MaxModelLen, src.MaxModelLen)
		set(&out.RequiredVRAMMB, src.RequiredVRAMMB)
		if src.LoRAModules != nil {
			out.LoRAModules = slices.Clone(src.LoRAModules)
		}
	}
	maps.DeleteFunc(cleared, func(name string, _ bool) bool { return out.has(name) })
	out.Unset = slices.Sorted(maps.Keys(cleared))
	return &out
}

func set[T any](dst **T, src *T) {
	if src != nil {
		v := *src
		*dst = &v
	}
}

// clear forgets the value of a field; no field of another name is there to be cleared.
func (c *ModelConfig) clear(name string) {
	switch name {
	case ConfigTensorParallelSize:
		c.TensorParallelSize = nil
	case ConfigGPUMemoryUtilization:
		c.GPUMemoryUtilization = nil
	case ConfigMaxModelLen:
		c.MaxModelLen = nil
	case ConfigRequiredVRAMMB:
		c.RequiredVRAMMB = nil
	case ConfigLoRAModules:
		c.LoRAModules = nil
	}
}

// has tells whether a field has a value.
func (c *ModelConfig) has(name string) bool {
	switch name {
	case ConfigTensorParallelSize:
		return c.TensorParallelSize != nil
	case ConfigGPUMemoryUtilization:
		return c.GPUMemoryUtilization != nil
	case ConfigMaxModelLen:
		return c.MaxModelLen != nil
	case ConfigRequiredVRAMMB:
		return c.RequiredVRAMMB != nil
	case ConfigLoRAModules:
		return c.LoRAModules != nil
	}
	return false
}
