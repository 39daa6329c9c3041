package demomodel

import (
	"fmt"
	"slices"
)

// poolingMean is LLAMA_POOLING_TYPE_MEAN of llama.h.
const poolingMean = 1

// Token ids: three special tokens, the 256 bytes, the space, then the pieces of the reply.
const (
	tokenUnknown = iota
	tokenBegin
	tokenEnd
	tokenByte0
	tokenSpace  = tokenByte0 + 256
	tokenPiece0 = tokenSpace + 1
)

// Token types as in llama.cpp's enum llama_token_type.
const (
	typeNormal  = 1
	typeUnknown = 2
	typeControl = 3
	typeByte    = 6
)

const (
	// width is that of every vector: stateBits for the state, 8 for the byte, one that is always set, the
	// rest zero. It is the smallest that engines align to.
	width     = 32
	stateBits = 16
	always    = stateBits + 8
	// gain is what the right token's logit is above zero, and every other one below it, at the least. So even
	// a temperature of 2 samples no other token, and no penalty that scales logits lets another pass.
	gain = 30

	// chatTemplate ends behind a space, so that the last token of a chat's prompt is never a piece.
	chatTemplate = `{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}
{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}`

	description = "A demo model: it answers every prompt with the same text, which its weights were made from. " +
		"It is for tests and first steps and knows nothing."
)

// build returns the model as GGUF.
func build(o Options) []byte {
	tokens, types := specialTokens()
	taken := map[string]bool{}
	for _, t := range tokens {
		taken[t] = true
	}
	pieces := split(o.Reply, taken)
	for _, p := range pieces {
		tokens, types = append(tokens, p), append(types, typeNormal)
	}
	scores := make([]float32, len(tokens))
	for i := range scores {
		scores[i] = float32(-i)
	}

	var g gguf
	g.putString("general.architecture", "llama")
	g.putString("general.type", "model")
	g.putString("general.name", o.Name)
	g.putString("general.description", description)
	g.putUint32("general.file_type", 0) // all F32
	g.putUint32("llama.vocab_size", uint32(len(tokens)))
	g.putUint32("llama.context_length", ContextLength)
	if o.Embedding {
		g.putUint32("llama.pooling_type", poolingMean)
	}
	g.putUint32("llama.embedding_length", width)
	g.putUint32("llama.block_count", 1)
	g.putUint32("llama.feed_forward_length", width)
	g.putUint32("llama.attention.head_count", 1)
	g.putUint32("llama.attention.head_count_kv", 1)
	g.putUint32("llama.rope.dimension_count", width)
	g.putFloat32("llama.attention.layer_norm_rms_epsilon", 1e-6)
	g.putString("tokenizer.ggml.model", "llama")
	g.putStrings("tokenizer.ggml.tokens", tokens)
	g.putFloat32s("tokenizer.ggml.scores", scores)
	g.putInt32s("tokenizer.ggml.token_type", types)
	g.putUint32("tokenizer.ggml.unknown_token_id", tokenUnknown)
	g.putUint32("tokenizer.ggml.bos_token_id", tokenBegin)
	g.putUint32("tokenizer.ggml.eos_token_id", tokenEnd)
	g.putBool("tokenizer.ggml.add_bos_token", true)
	g.putBool("tokenizer.ggml.add_eos_token", false)
	g.putBool("tokenizer.ggml.add_space_prefix", false)
	g.putString("tokenizer.chat_template", chatTemplate)
	addTensors(&g, len(pieces))
	return g.bytes()
}

// specialTokens returns every token but the reply's, with its type.
func specialTokens() ([]string, []int32) {
	tokens, types := []string{"<unk>", "<s>", "</s>"}, []int32{typeUnknown, typeControl, typeControl}
	for b := range 256 {
		tokens, types = append(tokens, fmt.Sprintf("<0x%02X>", b)), append(types, typeByte)
	}
	return append(tokens, metaspace), append(types, typeNormal)
}

// addTensors adds the weights for a reply of that many pieces.
func addTensors(g *gguf, pieces int) {
	vocabulary := tokenPiece0 + pieces
	embed, output := newMatrix(vocabulary), newMatrix(vocabulary)
	for token := range vocabulary {
		state := max(token-tokenPiece0+1, 0) // the state that the token leads to
		putBits(embed.row(token)[:stateBits], state, 1)
		embed.row(token)[always] = 1
		output.row(token)[always] = -gain
	}
	for b := range 256 { // the state machine ignores it; it makes different inputs' embeddings different
		putBits(embed.row(tokenByte0 + b)[stateBits:always], b, 1)
	}
	for i := range pieces {
		output.answer(tokenPiece0+i, i)
	}
	output.answer(tokenEnd, pieces)

	g.addTensor("token_embd.weight", embed, vocabulary)
	g.addTensor("output.weight", output, vocabulary)
	for _, name := range []string{"output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"} {
		g.addTensor(name+".weight", slices.Repeat([]float32{1}, width), 0)
	}
	for _, name := range []string{"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"} {
		g.addTensor("blk.0."+name+".weight", newMatrix(width), width)
	}
}

// matrix has rows of width.
type matrix []float32

func newMatrix(rows int) matrix          { return make(matrix, rows*width) }
func (m matrix) row(token int) []float32 { return m[token*width : (token+1)*width] }

// answer makes the token the answer in a state: its bits all agree there, and the threshold is one less.
func (m matrix) answer(token, state int) {
	row := m.row(token)
	putBits(row[:stateBits], state, gain)
	row[always] = -gain * (stateBits - 1)
}

// putBits writes n as +scale for a set bit and -scale for a clear one, lowest first.
func putBits(row []float32, n int, scale float32) {
	for i := range row {
		row[i] = -scale
		if n>>i&1 == 1 {
			row[i] = scale
		}
	}
}
