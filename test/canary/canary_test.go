package canary_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/test/canary"
)

func TestSet_seesEveryEncoding(t *testing.T) {
	secret := rand.Text() + `-_ "ö\<&>` + rand.Text()
	inJSON, err := json.Marshal(secret)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"clear": secret, "begin": secret[:20], "end": secret[len(secret)-20:], "lower": strings.ToLower(secret), "hex": hex.EncodeToString([]byte("a" + secret)),
		"HEX": fmt.Sprintf("%X", secret), "base64": base64.StdEncoding.EncodeToString([]byte("user:" + secret)),
		"base64 shifted": base64.StdEncoding.EncodeToString([]byte("Bearer " + secret)), "base64url": base64.RawURLEncoding.EncodeToString([]byte("12345678" + secret)),
		"JSON": string(inJSON), "URL": url.QueryEscape(secret), "path": url.PathEscape(secret), "quoted": fmt.Sprintf("%q", secret),
		"in a file made large": string(bytes.Repeat([]byte{0}, 1000)) + secret + string(bytes.Repeat([]byte{0}, 1000)),
	} {
		set := &canary.Set{}
		if err := set.Add("it", secret); err != nil {
			t.Fatal(err)
		}
		if leaks := set.Leaks([]byte(`{"a":"` + text + `"}`)); len(leaks) != 1 || leaks[0].What != "it" || leaks[0].Lines == "" {
			t.Errorf("%s: seen %v", name, leaks)
		}
	}
	set := &canary.Set{}
	set.Plant("it")
	if leaks := set.Leaks([]byte(rand.Text() + rand.Text())); len(leaks) > 0 {
		t.Errorf("another secret is taken for it: %v", leaks)
	}
}

func TestSet_Add_refuses(t *testing.T) {
	set := &canary.Set{}
	set.Plant("it")
	for what, secret := range map[string]string{"short": "0123456789abcde", "empty": "", "it": rand.Text()} {
		if err := set.Add(what, secret); err == nil {
			t.Errorf("%s: taken", what)
		} else if secret != "" && strings.Contains(err.Error(), secret) {
			t.Errorf("the secret is in %v", err)
		}
	}
	if set.Len() != 1 {
		t.Errorf("%d secrets", set.Len())
	}
}
