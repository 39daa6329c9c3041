package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"

	"github.com/nebula-serve/nebula/api"
)

// Message is one message of a chat.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// ChatRequest is what Chat sends to /v1/chat/completions.
type ChatRequest struct {
	Model     string    `json:"model"`
	Messages  []Message `json:"messages"`
	MaxTokens int       `json:"max_tokens,omitempty"`
	Stream    bool      `json:"stream"`
}

// Chat yields the answer piece by piece as the engine produces it. An answer that is not complete ends with an error.
func (c *Client) Chat(ctx context.Context, req ChatRequest) iter.Seq2[string, error] {
	req.Stream = true
	return func(yield func(string, error) bool) {
		for e, err := range c.stream(ctx, http.MethodPost, "/v1/chat/completions", req) {
			if err == nil && e.Data == "[DONE]" {
				return
			}
			var piece string
			if err == nil {
				piece, err = c.chatPiece(e.Data)
			}
			if err != nil {
				yield("", err)
				return
			}
			if piece != "" && !yield(piece, nil) {
				return
			}
		}
	}
}

func (c *Client) chatPiece(data string) (string, error) {
	var chunk struct {
		Choices []struct {
			Delta struct {
				Content string `json:"content"`
			} `json:"delta"`
		} `json:"choices"`
		Error json.RawMessage `json:"error"`
	}
	if err := json.Unmarshal([]byte(data), &chunk); err != nil {
		return "", api.Errorf(api.CodeUpstream, "the server at %s sent a piece of an answer that cannot be read", c.shown)
	}
	if len(chunk.Error) > 0 && string(chunk.Error) != "null" {
		why := parseError([]byte(data)).Message
		if why == "" {
			why = "no reason was given"
		}
		return "", api.Errorf(api.CodeUpstream, "the answer broke off: %s", why)
	}
	if len(chunk.Choices) == 0 {
		return "", nil
	}
	return chunk.Choices[0].Delta.Content, nil
}
