// Command console is the OpenID provider of the browser tests of the web console.
//
// It is started with the address that people come back to, prints one line of JSON with its own address, and ends when standard input does, so that
// nothing of it outlives a test.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/nebula-serve/nebula/test/oidc/provider"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "console:", err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("give the address that people come back to")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	issuer := "http://" + ln.Addr().String()
	people := map[string]provider.Person{
		"ann": {Groups: []string{"on-call"}, Verified: true},
		"eve": {Groups: []string{"others"}},   // no role comes of it
		"ada": {Groups: []string{"platform"}}, // somebody else has this name at Nebula
	}
	s := &http.Server{Handler: provider.Handler(issuer, provider.New(args[0], people)), ReadHeaderTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	first := map[string]string{"issuer": issuer, "client_id": provider.ClientID, "client_secret": provider.ClientSecret}
	if err := json.NewEncoder(out).Encode(first); err != nil {
		return fmt.Errorf("say where: %w", err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, in)
		ended <- err
	}()
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case err := <-ended:
		return errors.Join(err, s.Close())
	}
}
