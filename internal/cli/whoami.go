package cli

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
)

// whoami is what the server says of the credential.
type whoami struct {
	ID     string `json:"id"`
	Role   string `json:"role"`
	Kind   string `json:"kind,omitempty"`
	Server string `json:"server"`
}

// Name is who it is, or nothing when the server does not say.
func (w whoami) Name() string { return w.ID }

// Text is for people.
func (w whoami) Text() string {
	switch {
	case w.ID == "":
		return "a holder of a valid credential"
	case w.Role == "" || w.Role == w.ID:
		return w.ID
	}
	return w.ID + " (" + w.Role + ")"
}

// whoIs asks the server of t whose the credential is.
func (c *command) whoIs(ctx context.Context, t target) (whoami, error) {
	cl, err := c.reach(t)
	if err != nil {
		return whoami{}, err
	}
	out := whoami{Server: cl.Base()}
	res, err := cl.Do(ctx, http.MethodGet, "/api/v2/whoami", nil, nil)
	if api.HasCode(err, api.CodeNotFound) { // an earlier server tells nothing, but only to those whom it knows
		return out, nil
	}
	if err != nil {
		return whoami{}, err
	}
	defer func() { _ = res.Body.Close() }()
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
		return whoami{}, api.Errorf(api.CodeUpstream, "what the server says of the credential cannot be read: does another program listen at %s?", cl.Base())
	}
	out.Server = cl.Base()
	return out, nil
}

func (c *command) whoamiCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "whoami", Short: "Show who you are to the server", Args: exactly(0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			t, err := c.target()
			if err != nil {
				return err
			}
			who, err := c.whoIs(cmd.Context(), t)
			if err != nil {
				return err
			}
			return c.print(who, func(bool) error { return c.say("You are " + who.Text() + " at " + who.Server) })
		},
	}
	c.addOutput(cmd)
	return cmd
}
