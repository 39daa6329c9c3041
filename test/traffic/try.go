package traffic

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"time"
)

// vary returns d, give or take a half.
func vary(d time.Duration) time.Duration {
	return d/2 + time.Duration(rand.Int64N(int64(d)+1))
}

// answer is what came of one try.
type answer struct {
	outcome   Outcome
	detail    string
	firstByte time.Time
	again     bool // the request was not taken on: trying again is safe
}

var errHang = errors.New("no byte for too long")

// try sends a request once and reads the answer to its end.
func (s Spec) try(ctx context.Context, g Gateway, id string, stream bool) answer {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(s.Hang, func() { cancel(errHang) })
	defer silence.Stop()
	alive := func() { silence.Reset(s.Hang) }

	body := fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":%q}],"stream":%v}`, s.Model, id, stream)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.URL+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		return answer{outcome: Unreached, detail: err.Error()}
	}
	req.Header.Set("Authorization", "Bearer "+g.Token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Request-Id", id)
	res, err := g.Client.Do(req)
	if err != nil {
		return broken(ctx, err)
	}
	defer res.Body.Close()
	in := &watched{Reader: res.Body, alive: alive}
	var a answer
	switch {
	case res.StatusCode != http.StatusOK:
		a = refusal(ctx, res, in)
	case stream:
		a = s.readStream(ctx, in)
	default:
		a = s.readWhole(ctx, in)
	}
	a.firstByte = in.first
	return a
}

// watched notes the first byte and every sign of life.
type watched struct {
	io.Reader
	alive func()
	first time.Time
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if n > 0 {
		if w.first.IsZero() {
			w.first = time.Now()
		}
		w.alive()
	}
	return n, err
}

// broken is a try that the connection ended.
func broken(ctx context.Context, err error) answer {
	if errors.Is(context.Cause(ctx), errHang) {
		return answer{outcome: Hang, detail: errHang.Error()}
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return answer{outcome: Unreached, detail: err.Error(), again: true}
	}
	return answer{outcome: Lost, detail: err.Error()}
}

// refusal is an answer other than 200.
func refusal(ctx context.Context, res *http.Response, in io.Reader) answer {
	b, err := io.ReadAll(io.LimitReader(in, 4<<10))
	if err != nil {
		return broken(ctx, err)
	}
	a := answer{
		outcome: Refused, detail: fmt.Sprintf("status %d: %s", res.StatusCode, bytes.TrimSpace(b)),
		again: res.StatusCode == http.StatusTooManyRequests || res.StatusCode == http.StatusServiceUnavailable,
	}
	var envelope struct {
		Error struct{ Message string }
	}
	if json.Unmarshal(b, &envelope) != nil || envelope.Error.Message == "" {
		a.outcome = Wrong // an error that the client's library cannot read
	}
	return a
}

// readWhole reads the answer to a plain request.
func (s Spec) readWhole(ctx context.Context, in io.Reader) answer {
	b, err := io.ReadAll(in)
	if err != nil {
		return broken(ctx, err)
	}
	var got struct {
		Choices []struct {
			Message      struct{ Content string }
			FinishReason string `json:"finish_reason"`
		}
	}
	if json.Unmarshal(b, &got) != nil {
		return answer{outcome: SilentCut, detail: fmt.Sprintf("%d bytes that are no whole answer: %.200q", len(b), b)}
	}
	if len(got.Choices) != 1 || got.Choices[0].Message.Content != s.Reply || got.Choices[0].FinishReason == "" {
		return answer{outcome: Wrong, detail: fmt.Sprintf("answer %.300s", b)}
	}
	return answer{outcome: OK}
}

// readStream reads an event stream. It is whole only with "[DONE]", and it may hold one error event, as its last.
func (s Spec) readStream(ctx context.Context, in io.Reader) answer {
	var text strings.Builder
	var fault string
	done := false
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, 4<<10), 1<<20)
	for lines.Scan() {
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data:"))
		data = bytes.TrimSpace(data)
		switch {
		case !ok:
			continue
		case done || fault != "":
			return answer{outcome: Wrong, detail: fmt.Sprintf("event after the end: %.200q", data)}
		case string(data) == "[DONE]":
			done = true
			continue
		}
		var event struct {
			Choices []struct{ Delta struct{ Content string } }
			Error   json.RawMessage
		}
		if err := json.Unmarshal(data, &event); err != nil {
			return answer{outcome: Wrong, detail: fmt.Sprintf("event that is no JSON: %.200q", data)}
		}
		if len(event.Error) > 0 && string(event.Error) != "null" {
			fault = string(event.Error)
		}
		for _, c := range event.Choices {
			text.WriteString(c.Delta.Content)
		}
	}
	switch err := lines.Err(); {
	case fault != "":
		return answer{outcome: ErrorEvent, detail: fault}
	case done && text.String() == s.Reply:
		return answer{outcome: OK}
	case done:
		return answer{outcome: Wrong, detail: fmt.Sprintf("stream said %.200q", text.String())}
	case err != nil:
		return broken(ctx, err)
	}
	return answer{outcome: SilentCut, detail: fmt.Sprintf("the stream ended after %.200q, without [DONE] and without an error", text.String())}
}
