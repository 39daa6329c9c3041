// Command console is what the browser tests of the web console need beside Nebula itself: a hub with demo models whose replies are known.
//
// It prints one line of JSON with its addresses, then takes lines of JSON on standard input, each of which changes how the hub behaves, and
// answers each with a line. It ends when standard input does, so that nothing of it outlives a test.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/nebula-serve/nebula/internal/demomodel"
	"github.com/nebula-serve/nebula/test/hub"
)

// Reply is what the model on the hub says.
const Reply = "The model from the hub answers: everything that was downloaded is whole."

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "console:", err)
		os.Exit(1)
	}
}

// wish changes the hub; what is absent stays.
type wish struct {
	// Faults is what goes wrong from now on; see [hub.Faults].
	Faults *hub.Faults `json:"faults"`
	// Publish makes a repository with a model of that reply.
	Publish *struct{ ID, Reply string } `json:"publish"`
}

func run(in io.Reader, out io.Writer) error {
	// Some hundred kilobytes, so that a slowed hub takes seconds over it.
	tiny, err := repo("acme/Tiny-GGUF", Reply, 1500)
	if err != nil {
		return err
	}
	gated := tiny
	gated.ID, gated.Gated = "acme/Gated-GGUF", true
	h, err := hub.New(tiny, gated)
	if err != nil {
		return fmt.Errorf("start the hub: %w", err)
	}
	defer h.Close()
	answers := json.NewEncoder(out)
	if err := answers.Encode(map[string]string{"hub": h.URL, "scope": h.ScopeURL}); err != nil {
		return err
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var w wish
		if err := json.Unmarshal(lines.Bytes(), &w); err != nil {
			return fmt.Errorf("read a wish: %w", err)
		}
		if w.Faults != nil {
			h.Break(*w.Faults)
		}
		if w.Publish != nil {
			r, err := repo(w.Publish.ID, w.Publish.Reply, 0)
			if err != nil {
				return err
			}
			if _, err := h.Publish(r); err != nil {
				return err
			}
		}
		if err := answers.Encode(map[string]bool{"ok": true}); err != nil {
			return err
		}
	}
	return lines.Err()
}

// repo is a repository with a demo model. Its reply is followed by as many words as asked for, which make its file larger: they come after the end
// of the sentence that a test waits for.
func repo(id, reply string, words int) (hub.Repo, error) {
	var more strings.Builder
	more.WriteString(reply)
	for i := range words {
		fmt.Fprintf(&more, " word%d", i)
	}
	var b bytes.Buffer
	if err := demomodel.Write(&b, demomodel.Options{Name: "tiny", Reply: more.String()}); err != nil {
		return hub.Repo{}, fmt.Errorf("make the demo model: %w", err)
	}
	return hub.Repo{ID: id, Files: map[string][]byte{"tiny-Q4_K_M.gguf": b.Bytes(), "README.md": []byte("# " + id + "\n")}}, nil
}
