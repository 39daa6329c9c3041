package openapitest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// Seen is an answer as a client got it, with what of the request it is held against.
type Seen struct {
	Method string
	URL    string // with the path and the query alone
	Answer
}

// Check holds the answer against the document.
func (s *Seen) Check(c *Checker) error {
	r, err := http.NewRequest(s.Method, s.URL, nil)
	if err != nil {
		return fmt.Errorf("read what was asked: %w", err)
	}
	if err := c.Check(r, s.Answer); err != nil {
		return fmt.Errorf("%s %s: %w", s.Method, s.URL, err)
	}
	return nil
}

// Through returns a transport that tells see of every answer that next brings. A body that is a stream, or not JSON, is not read: it may never end.
func Through(next http.RoundTripper, see func(Seen)) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		res, err := next.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		seen := Seen{Method: r.Method, URL: r.URL.RequestURI(), Answer: Answer{Status: res.StatusCode, Header: res.Header, Cut: true}}
		if strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
			body, err := io.ReadAll(io.LimitReader(res.Body, maxSeen))
			seen.Body, seen.Cut = body, err != nil || len(body) == maxSeen
			res.Body = rest{io.MultiReader(bytes.NewReader(body), failing{err}, res.Body), res.Body}
		}
		see(seen)
		return res, nil
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// rest is a body of which something was read ahead.
type rest struct {
	io.Reader
	io.Closer
}

// failing says again what reading ahead ended with.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return 0, io.EOF
}

// ToFolder returns what keeps each answer as a file of its own in a folder, for CheckFolder in another process.
func ToFolder(dir string) func(Seen) {
	return func(s Seen) {
		b, err := json.Marshal(s)
		if err != nil {
			panic(err) // of plain fields: it cannot fail
		}
		f, err := os.CreateTemp(dir, "answer-*")
		if err != nil {
			fmt.Fprintln(os.Stderr, "keep an answer:", err)
			return
		}
		_, err = f.Write(b)
		if err = errors.Join(err, f.Close()); err == nil {
			err = os.Rename(f.Name(), f.Name()+".json") // whole, or not there
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "keep an answer:", err)
		}
	}
}

// CheckFolder holds the answers that ToFolder has kept against the document, and returns how many there were and what is wrong with them.
func CheckFolder(c *Checker, dir string) (n int, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "answer-*.json"))
	if err != nil {
		return 0, err
	}
	var wrong []error
	for _, name := range files {
		b, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var s Seen
		if err == nil {
			err = json.Unmarshal(b, &s)
		}
		if err == nil {
			err = s.Check(c)
		}
		if err != nil {
			wrong = append(wrong, err)
		}
	}
	return len(files), errors.Join(wrong...)
}
