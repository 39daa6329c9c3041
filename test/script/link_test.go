package script

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

var setupLink = regexp.MustCompile(`http://\S+/setup#\S+`)

// openLink does what a browser does with the setup link that a file has: it gets the page, without the token, and then sends what the page's
// script sends: openlink FILE NAME PASSWORD. The page is printed, and the status and body of the answer.
func openLink(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: openlink FILE NAME PASSWORD")
	}
	link, err := url.Parse(setupLink.FindString(ts.ReadFile(args[0])))
	ts.Check(err)
	now, err := url.Parse(strings.TrimSpace(ts.ReadFile("data/server.addr")))
	ts.Check(err)
	token := link.Fragment
	link.Host, link.Fragment = now.Host, "" // an old link's server had another port
	page, err := http.Get(link.String())    //nolint:noctx // the script's own deadline ends it
	ts.Check(err)
	fmt.Fprintln(ts.Stdout(), read(ts, page))
	body, err := json.Marshal(map[string]string{"token": token, "username": args[1], "password": args[2]})
	ts.Check(err)
	link.Path = "/api/v2/setup"
	res, err := http.Post(link.String(), "application/json", strings.NewReader(string(body))) //nolint:noctx // as above
	ts.Check(err)
	fmt.Fprintln(ts.Stdout(), res.StatusCode, read(ts, res))
}

func read(ts *testscript.TestScript, res *http.Response) string {
	b, err := io.ReadAll(res.Body)
	ts.Check(err)
	ts.Check(res.Body.Close())
	return string(b)
}
