package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"syscall"

	"github.com/nebula-serve/nebula/internal/engine"
)

// Probe asks the engine on its port and tells a loading engine from a silent one, and both from a stranger:
//
//  1. The port is not known yet, or nobody listens: refused.
//  2. A process that is not of this engine's group listens: stranger. It is not asked anything.
//  3. What the health path answers: 503 is busy, 2xx is ok, everything else, and no answer in time, has failed.
//  4. The first time it is ok, /v1/models must list the name that we gave it: otherwise stranger.
//
// Points 2 and 4 are remembered for as long as the engine listens.
func (p *Process) Probe(ctx context.Context, client *http.Client, pr engine.Probe) engine.Answer {
	port := p.Port()
	if port == 0 {
		return engine.AnswerRefused
	}
	p.mu.Lock()
	owned, named, pid := p.owned, p.named, p.state.Engine.PID
	p.mu.Unlock()
	if !owned {
		switch owns(pid, port) {
		case nobody:
			return engine.AnswerRefused
		case stranger:
			return engine.AnswerStranger
		case ours:
			owned = true
		case untold: // by its name alone
		}
	}
	served := p.rec.Launch.ServedName
	if named {
		served = ""
	}
	a := Probe(ctx, client, port, served, pr)
	p.mu.Lock()
	defer p.mu.Unlock()
	if a == engine.AnswerRefused { // it stopped listening: whoever comes next proves itself again
		owned, named = false, false
	}
	p.owned, p.named = owned, named || a == engine.AnswerOK
	return a
}

// Probe asks whatever listens on a port of loopback. With a served name it is ok only when /v1/models lists that name.
func Probe(ctx context.Context, client *http.Client, port int, served string, pr engine.Probe) engine.Answer {
	if pr.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, pr.Timeout)
		defer cancel()
	}
	a, _ := ask(ctx, client, port, pr.Path)
	if a != engine.AnswerOK || served == "" {
		return a
	}
	a, body := ask(ctx, client, port, "/v1/models")
	if a != engine.AnswerOK {
		return engine.AnswerFailed
	}
	var models struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	if json.Unmarshal(body, &models) == nil {
		for _, m := range models.Data {
			if m.ID == served {
				return engine.AnswerOK
			}
		}
	}
	return engine.AnswerStranger
}

// ask sends one GET; redirects are not followed, because an engine has none.
func ask(ctx context.Context, client *http.Client, port int, path string) (engine.Answer, []byte) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", port, path), nil)
	if err != nil {
		return engine.AnswerFailed, nil
	}
	c := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if client != nil {
		c.Transport = client.Transport
	}
	res, err := c.Do(req)
	if err != nil {
		if errors.Is(err, syscall.ECONNREFUSED) {
			return engine.AnswerRefused, nil
		}
		return engine.AnswerFailed, nil
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	switch {
	case err != nil:
		return engine.AnswerFailed, nil
	case res.StatusCode == http.StatusServiceUnavailable:
		return engine.AnswerBusy, nil
	case res.StatusCode < 200 || res.StatusCode > 299:
		return engine.AnswerFailed, nil
	}
	return engine.AnswerOK, body
}
