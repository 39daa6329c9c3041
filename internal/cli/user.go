package cli

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
	"github.com/nebula-serve/nebula/internal/app"
)

var errNoPassword = errors.New("the password is empty: type it when asked, or write it to standard input")

func (c *command) userCommand() *cobra.Command {
	cmd := group("user", "Look after the people who may use the API", c.userList(), c.userGet(), c.userCreate(), c.userUpdate(), c.userPassword(), c.userDelete())
	cmd.Aliases = []string{"users"}
	return cmd
}

func (c *command) userList() *cobra.Command {
	return listCommand(c, listing[api.User]{
		Short: "List users", Empty: "No users. Make the first one with: nebula setup",
		Key:   func(u api.User) string { return u.Name },
		Fetch: func(ctx context.Context, cl *client.Client) ([]api.User, error) { return cl.Users(ctx) },
		Columns: []column[api.User]{
			{Title: "NAME", Text: func(u api.User, _ time.Time) string { return u.Name }},
			{Title: "ROLE", Text: func(u api.User, _ time.Time) string { return string(u.Role) }},
			{Title: "DISABLED", Text: func(u api.User, _ time.Time) string { return yesNo(u.Disabled) }},
			{Title: "DISPLAY NAME", Text: func(u api.User, _ time.Time) string { return u.DisplayName }},
			{Title: "EMAIL", Wide: true, Text: func(u api.User, _ time.Time) string { return u.Email }},
			{Title: "AGE", Text: func(u api.User, now time.Time) string { return age(u.CreatedAtMS, now) }},
		},
	})
}

// about are the flags of what is said of a user.
func about(cmd *cobra.Command, role, display, email *string) {
	cmd.Flags().StringVar(role, "role", "viewer", "viewer, operator or admin")
	cmd.Flags().StringVar(display, "display-name", "", "what to call the user")
	cmd.Flags().StringVar(email, "email", "", "mail address")
}

func (c *command) userCreate() *cobra.Command {
	var role, display, email string
	none := false
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make a user", Args: exactly(1, "the user's NAME"),
		Long:    "Make a user. The password, of at least 15 characters, is asked for, or comes from standard input; never from the command line.",
		Example: "  nebula user create ann --role operator\n  nebula user create ci --role operator --no-password",
		RunE: func(cmd *cobra.Command, args []string) error {
			req := api.CreateUser{Name: args[0], Role: api.Role(role), DisplayName: display, Email: email}
			if err := req.Validate(); err != nil {
				return err
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			if !none {
				if req.Password, err = c.readHidden("Password of "+clean(req.Name), errNoPassword); err != nil {
					return err
				}
			}
			u, err := cl.CreateUser(cmd.Context(), req)
			if err != nil {
				return err
			}
			next := "to log in: nebula login"
			if none {
				next = "without a password nobody can log in as " + u.Name
			}
			return c.say("User " + u.Name + " is made, as " + string(u.Role) + "; " + next)
		},
	}
	about(cmd, &role, &display, &email)
	cmd.Flags().BoolVar(&none, "no-password", false, "a user who cannot log in with a password, such as the owner of a program's keys")
	return cmd
}

func (c *command) userUpdate() *cobra.Command {
	var role, display, email string
	disabled := false
	cmd := &cobra.Command{
		Use: "update NAME", Short: "Change a user's role, name or mail, or disable a user", Args: exactly(1, "the user's NAME"), ValidArgsFunction: c.completeUser,
		Example: "  nebula user update ann --role admin\n  nebula user update bob --disabled\n  nebula user update bob --disabled=false",
		RunE: func(cmd *cobra.Command, args []string) error {
			var req api.UpdateUser
			f, as := cmd.Flags(), api.Role(role)
			if f.Changed("role") {
				req.Role = &as
			}
			if f.Changed("display-name") {
				req.DisplayName = &display
			}
			if f.Changed("email") {
				req.Email = &email
			}
			if f.Changed("disabled") {
				req.Disabled = &disabled
			}
			if req == (api.UpdateUser{}) {
				return usagef("nothing to change: give --role, --display-name, --email or --disabled")
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			u, err := cl.UpdateUser(cmd.Context(), args[0], req)
			if err != nil {
				return err
			}
			return c.say("User " + u.Name + " is changed")
		},
	}
	about(cmd, &role, &display, &email)
	cmd.Flags().BoolVar(&disabled, "disabled", false, "log the user out and let him or her in no more, nor any of the user's keys")
	return cmd
}

func (c *command) userPassword() *cobra.Command {
	return &cobra.Command{
		Use: "password NAME", Short: "Give a user another password", Args: exactly(1, "the user's NAME"), ValidArgsFunction: c.completeUser,
		Example: "  nebula user password ann",
		Long:    "Give a user another password, which is asked for or comes from standard input. The user's sessions end; keys and tokens stay.",
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			password, err := c.readHidden("New password of "+clean(args[0]), errNoPassword)
			if err != nil {
				return err
			}
			if err := cl.SetPassword(cmd.Context(), args[0], password); err != nil {
				return err
			}
			return c.say("User " + args[0] + " has another password, and is logged out everywhere")
		},
	}
}

func (c *command) userDelete() *cobra.Command {
	return doCommand(c, doing{
		Use: "delete NAME", Aliases: []string{"rm"}, Short: "Remove a user, with sessions and keys", Arg: "the user's NAME", Complete: c.completeUser,
		Example: "  nebula user delete bob",
		Do: func(ctx context.Context, cl *client.Client, name string) (any, string, error) {
			return nil, "User " + name + " is removed", cl.DeleteUser(ctx, name)
		},
	})
}

func (c *command) sessionCommand() *cobra.Command {
	return group("session", "Look at logins, and end them", c.sessionList(), doCommand(c, doing{
		Use: "delete ID", Aliases: []string{"rm"}, Short: "End a session", Arg: "the session's ID",
		Example: "  nebula session delete 0123456789abcdef",
		Do: func(ctx context.Context, cl *client.Client, id string) (any, string, error) {
			return nil, "Session " + id + " is over", cl.DeleteSession(ctx, id)
		},
	}))
}

func (c *command) sessionList() *cobra.Command {
	return listCommand(c, listing[api.SessionView]{
		Short: "List your sessions, or as an administrator those of all", Empty: "Nobody is logged in with a browser.",
		Key:   func(s api.SessionView) string { return s.ID },
		Fetch: func(ctx context.Context, cl *client.Client) ([]api.SessionView, error) { return cl.Sessions(ctx) },
		Columns: []column[api.SessionView]{
			{Title: "ID", Text: func(s api.SessionView, _ time.Time) string { return s.ID }},
			{Title: "USER", Text: func(s api.SessionView, _ time.Time) string { return s.User }},
			{Title: "AGE", Text: func(s api.SessionView, now time.Time) string { return age(s.CreatedAtMS, now) }},
			{Title: "SOURCE", Text: func(s api.SessionView, _ time.Time) string { return s.Source }},
			{Title: "BROWSER", Wide: true, Text: func(s api.SessionView, _ time.Time) string { return s.UserAgent }},
		},
	})
}

func (c *command) setupCommand() *cobra.Command {
	name := ""
	cmd := &cobra.Command{
		Use: "setup", Short: "Make the first administrator of a new cluster", Args: exactly(0, "no argument"),
		Long: "Make the first administrator. On the server's machine the one-time token is found in the data directory. The password, of at least 15\n" +
			"characters, is asked for or comes from standard input.",
		Example: "  nebula setup --name ann",
		RunE: func(cmd *cobra.Command, _ []string) error {
			req := api.Setup{Username: name}
			user := req.User()
			if err := user.Validate(); err != nil {
				return err
			}
			dir, err := c.dataDir()
			if err != nil {
				return err
			}
			token, err := app.LocalSetup(dir)
			if err != nil {
				return api.Errorf(api.CodeNotFound, "there is no setup token in %s: nebula up and nebula server make one while there is no user; run this on the server's machine, as the one who runs it", dir)
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			if req.Password, err = c.readHidden("Password for "+clean(name), errNoPassword); err != nil {
				return err
			}
			req.Token = api.Token(token)
			who, err := cl.Setup(cmd.Context(), req)
			if err != nil {
				return err
			}
			return c.say("User " + who.ID + " is the first administrator; to log in: nebula login")
		},
	}
	cmd.Flags().StringVar(&name, "name", "admin", "the administrator's user name")
	return cmd
}
