package script

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/test/answers"
)

// httpCall is a program of the scripts: an old client, which knows routes and no commands of ours. It sends a request to the server of the data directory
// and prints the status, the headers and the body: http [-only FIELD] [-header "NAME: VALUE"] METHOD PATH [BODY]. With -only it prints one field of the body. The
// credential is the content of the file that TOKEN_FILE names, or that of the data directory; none where TOKEN_FILE is -. A status from 400 on ends
// it with 22, as curl -f does.
func httpCall(args []string) int {
	flags, header := flag.NewFlagSet("http", flag.ContinueOnError), http.Header{}
	only := flags.String("only", "", "field")
	flags.Func("header", "NAME: VALUE", func(s string) error {
		name, value, _ := strings.Cut(s, ": ")
		header.Add(name, value)
		return nil
	})
	if err := flags.Parse(args); err != nil || flags.NArg() < 2 || flags.NArg() > 3 {
		return fail(errors.New("usage: http [-only FIELD] [-header NAME:VALUE] METHOD PATH [BODY]"))
	}
	field := *only
	status, header, body, err := oldCall(flags.Arg(0), flags.Arg(1), flags.Arg(2), header)
	if err != nil {
		return fail(err)
	}
	if field != "" {
		var doc map[string]any
		if err := json.Unmarshal(body, &doc); err != nil || doc[field] == nil {
			return fail(fmt.Errorf("there is no %s in %s %s", field, http.StatusText(status), body))
		}
		fmt.Println(doc[field])
	} else {
		fmt.Println(status, http.StatusText(status))
		_ = header.Write(os.Stdout)
		fmt.Printf("\n%s\n", body)
	}
	if status >= http.StatusBadRequest {
		return 22
	}
	return 0
}

func oldCall(method, path, body string, header http.Header) (status int, answered http.Header, got []byte, err error) {
	dir, token := os.Getenv("NEBULA_DATA_DIR"), os.Getenv("TOKEN_FILE")
	addr, err := os.ReadFile(filepath.Join(dir, "server.addr")) //nolint:gosec // the script's own folder
	if err != nil {
		return 0, nil, nil, err
	}
	r, err := http.NewRequest(method, strings.TrimSpace(string(addr))+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, nil, err
	}
	r.Header = header
	r.Header.Set("User-Agent", "old-client/1.0")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if token == "" {
		token = filepath.Join(dir, "admin.token")
	}
	if token != "-" {
		secret, err := os.ReadFile(token) //nolint:gosec // the script's own folder
		if err != nil {
			return 0, nil, nil, err
		}
		r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(secret)))
	}
	client := &http.Client{Timeout: time.Minute}
	if keep := answers.Keeping(); keep != nil {
		client.Transport = keep(http.DefaultTransport)
	}
	res, err := client.Do(r)
	if err != nil {
		return 0, nil, nil, err
	}
	defer func() { _ = res.Body.Close() }()
	got, err = io.ReadAll(res.Body)
	return res.StatusCode, res.Header, got, err
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, "http:", err)
	return 1
}
