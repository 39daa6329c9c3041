package demomodel

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nebula-serve/nebula/test/llama"
)

var listening = regexp.MustCompile(`listening on (http://127\.0\.0\.1:\d+)`)

// startEngine serves a demo model with a real llama-server until the test ends and returns its base URL.
func startEngine(t *testing.T, reply string, args ...string) string {
	t.Helper()
	server, dir := llama.Need(t), t.TempDir()
	model, logPath := filepath.Join(dir, "demo.gguf"), filepath.Join(dir, "log")
	if err := WriteFile(model, Options{Reply: reply}); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(logPath)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(server, append([]string{"-m", model, "--host", "127.0.0.1", "--port", "0", "--jinja", "--threads", "1"}, args...)...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // its state tells
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if text, err := os.ReadFile(logPath); err == nil && t.Failed() {
			t.Logf("%s", text[max(0, len(text)-2000):])
		}
	})
	deadline := time.After(60 * time.Second)
	for {
		text, err := os.ReadFile(logPath)
		if err != nil {
			t.Fatal(err)
		}
		if m := listening.FindSubmatch(text); m != nil {
			return string(m[1])
		}
		select {
		case <-ended:
			t.Fatalf("llama-server ended: %v\n%s", cmd.ProcessState, text)
		case <-deadline:
			t.Fatalf("llama-server does not listen:\n%s", text)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// post sends a JSON body and returns that of the answer.
func post(t *testing.T, url string, body map[string]any) []byte {
	t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Close = true // llama-server ends the connection after a stream while it announces to keep it
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %s, %v", url, resp.Status, answer, err)
	}
	return answer
}

// completion is what the completion answers and the chunks of a stream have in common.
type completion struct {
	Choices []struct {
		Text           string
		Message, Delta struct{ Content string }
		FinishReason   string `json:"finish_reason"`
	}
}

// ask returns the text of an answer, and why it ended.
func ask(t *testing.T, url string, body map[string]any) (string, string) {
	t.Helper()
	var text, finish string
	for line := range strings.Lines(string(post(t, url, body))) {
		data, isEvent := strings.CutPrefix(strings.TrimSpace(line), "data: ")
		if data == "" || data == "[DONE]" || body["stream"] == true && !isEvent {
			continue
		}
		var c completion
		if err := json.Unmarshal([]byte(data), &c); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		for _, choice := range c.Choices {
			text += choice.Text + choice.Message.Content + choice.Delta.Content
			finish = choice.FinishReason
		}
	}
	return text, finish
}

// questions returns requests that would make a true model answer differently each time.
func questions(reply string) []map[string]any {
	message := func(role, text string) map[string]any { return map[string]any{"role": role, "content": text} }
	long := strings.Repeat("How long can a question be? ", 80)
	topK := []int{0, 1, 40}
	var bodies []map[string]any
	for i, messages := range [][]map[string]any{
		{message("user", "hello")},
		{message("system", "Answer in French."), message("user", long)},
		{message("user", "Say this: "+reply), message("assistant", reply), message("user", reply)},
	} {
		for _, stream := range []bool{false, true} {
			plain := map[string]any{"messages": messages, "stream": stream, "max_tokens": 1000}
			wild := map[string]any{
				"temperature": 1.5, "top_k": topK[i], "top_p": 1, "min_p": 0, "repeat_penalty": 1.5, "frequency_penalty": 2,
			}
			maps.Copy(wild, plain)
			bodies = append(bodies, plain, wild)
		}
	}
	return bodies
}

func TestEngineAnswersExactly(t *testing.T) {
	llama.Need(t)
	replies := append(slices.Clone(oddReplies), "Hello from Nebula's demo model.", strings.Repeat("again and again, ", 200))
	for _, reply := range replies {
		t.Run(fmt.Sprintf("%.20q", reply), func(t *testing.T) {
			url := startEngine(t, reply)
			for _, body := range questions(reply) {
				if text, finish := ask(t, url+"/v1/chat/completions", body); text != reply || finish != "stop" {
					t.Errorf("stream %v, top_k %v: %q (%s), want %q", body["stream"], body["top_k"], text, finish, reply)
				}
			}
			prompts := []string{"Once upon a time"}
			if unreachable(reply) { // a prompt that stops where the answer could go on
				prompts = append(prompts, reply, strings.Fields(reply + " .")[0])
			}
			for _, prompt := range prompts {
				if text, _ := ask(t, url+"/v1/completions", map[string]any{"prompt": prompt, "max_tokens": 1000}); text != reply {
					t.Errorf("prompt %q: %q, want %q", prompt, text, reply)
				}
			}
		})
	}
}

func TestEnginesAreToldApart(t *testing.T) {
	llama.Need(t)
	replies := []string{"Answered by version one.", "Answered by version two."}
	urls := []string{startEngine(t, replies[0]), startEngine(t, replies[1])}
	for i, url := range urls {
		body := map[string]any{"messages": []any{map[string]any{"role": "user", "content": "Who are you?"}}}
		if text, _ := ask(t, url+"/v1/chat/completions", body); text != replies[i] {
			t.Errorf("engine %d: %q, want %q", i, text, replies[i])
		}
	}
}

func TestEngineEmbeds(t *testing.T) {
	llama.Need(t)
	url := startEngine(t, "Hello there.", "--embeddings", "--pooling", "mean")
	body := post(t, url+"/v1/embeddings", map[string]any{"input": []string{"one text", "another", "one text"}})
	var answer struct {
		Data []struct {
			Index     int
			Embedding []float64
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatal(err)
	}
	if len(answer.Data) != 3 || len(answer.Data[0].Embedding) != width {
		t.Fatalf("got %+v, want 3 vectors of %d", answer.Data, width)
	}
	first, second, third := answer.Data[0].Embedding, answer.Data[1].Embedding, answer.Data[2].Embedding
	if !cmp.Equal(first, third) || cmp.Equal(first, second) {
		t.Error("the embedding does not follow the input")
	}
}
