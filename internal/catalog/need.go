package catalog

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/nebula-serve/nebula/api"
)

// model is one entry of the data file.
type model struct {
	ID          string               `json:"id"`
	Name        string               `json:"name"`
	Description string               `json:"description"`
	Category    api.TemplateCategory `json:"category"`
	Repo        string               `json:"repo"` // at Hugging Face
	Card        string               `json:"card"` // the repository with the model's card, when that is another one
	Files       []string             `json:"files"`
	Engine      string               `json:"engine"`
	Config      *api.ModelConfig     `json:"config"`
	Licence     string               `json:"licence"`
	Gated       bool                 `json:"gated"` // its licence is accepted at the hub first, and a token is needed
	Context     uint32               `json:"context"`
	MemoryMiB   uint64               `json:"memory_mib"`
	Need        Need                 `json:"need"`
}

// Need is what the memory of one replica is worked out from, with the numbers of the model's card and config.json.
//
//	memory = parameters x bytes per weight           the weights
//	       + projector                               a second file, for pictures or sound, in 16 bits
//	       + 2 x layers x kv_heads x head_dim x 2    keys and values of a token, in 16 bits ...
//	         x max_model_len x slots                 ... for as many tokens as the engine keeps: llama.cpp cuts its cache into 4 slots,
//	                                                 vLLM needs one request of full length to fit and uses what is left for more
//	       + overhead x GPUs                         buffers, graphs and the runtime: 1 GiB for llama.cpp, 2 GiB for vLLM
//
// Models that keep no keys and values (encoders) have no layers here. Windowed attention is counted in full, so the need of such a model is rather too
// high.
type Need struct {
	Parameters   string `json:"parameters"` // as the card says it: 8.19B, 137M
	Weights      string `json:"weights"`    // their format, a key of bytesPerWeight
	Layers       uint64 `json:"layers"`
	KVHeads      uint64 `json:"kv_heads"`
	HeadDim      uint64 `json:"head_dim"`
	ProjectorMiB uint64 `json:"projector_mib"`
}

const (
	mib            = 1 << 20
	llamaSlots     = 4 // of internal/engine, where the model does not say
	llamaOverhead  = 1 << 30
	pythonOverhead = 2 << 30
)

// bytesPerWeight is measured on files of 7B and more: the formats keep some tensors in more bits than their names say. MXFP4 is that of the gpt-oss
// checkpoints, whose attention and embedding stay in 16 bits.
var bytesPerWeight = map[string]float64{"F32": 4, "BF16": 2, "F16": 2, "Q8_0": 1.07, "Q4_K_M": 0.61, "Q4": 0.6, "MXFP4": 0.62}

// count is the number of parameters.
func (n *Need) count() (uint64, error) {
	unit := map[byte]float64{'M': 1e6, 'B': 1e9}
	if n.Parameters == "" {
		return 0, fmt.Errorf("parameters are missing")
	}
	last := n.Parameters[len(n.Parameters)-1]
	f, err := strconv.ParseFloat(n.Parameters[:len(n.Parameters)-1], 64)
	if err != nil || unit[last] == 0 || f <= 0 {
		return 0, fmt.Errorf("parameters %q are no number of millions (M) or billions (B)", n.Parameters)
	}
	return uint64(f*unit[last] + 0.5), nil
}

// memory is the formula above.
func (m *model) memory() (uint64, error) {
	params, err := m.Need.count()
	if err != nil {
		return 0, err
	}
	per, ok := bytesPerWeight[m.Need.Weights]
	if !ok {
		return 0, fmt.Errorf("weights %q are in no known format", m.Need.Weights)
	}
	gpus, slots, overhead := uint64(1), uint64(1), uint64(pythonOverhead)
	if m.Engine == api.EngineLlamaCPP {
		slots, overhead = llamaSlots, llamaOverhead
	}
	tokens := uint64(m.Context)
	if c := m.Config; c != nil {
		if c.TensorParallelSize != nil {
			gpus = uint64(*c.TensorParallelSize)
		}
		if c.MaxModelLen != nil {
			tokens = uint64(*c.MaxModelLen)
		}
	}
	kv := 2 * m.Need.Layers * m.Need.KVHeads * m.Need.HeadDim * 2 * tokens * slots
	return uint64(float64(params)*per) + m.Need.ProjectorMiB*mib + kv + overhead*gpus, nil
}

func (m *model) template() api.ModelTemplate {
	params, _ := m.Need.count() // held by the test of the file
	card := m.Card
	if card == "" {
		card = m.Repo
	}
	description := strings.TrimSpace(m.Description)
	if m.Gated {
		description += " Accept its licence on its page first, and store a token of yours with: nebula secret set."
	}
	return api.ModelTemplate{
		TemplateID: m.ID, Name: m.Name, Description: description, Category: m.Category,
		ModelName: m.Repo, ModelSource: api.SourceHuggingFace, EngineType: m.Engine, Config: m.Config, DefaultReplicas: 1, Files: m.Files,
		Source: api.TemplateSystem, Licence: m.Licence, Parameters: params, ContextLength: m.Context, MemoryBytes: m.MemoryMiB * mib,
		Homepage: homepage(card),
	}
}
