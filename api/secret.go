package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Secret is a stored secret: what people entrust to the cluster, such as a token of a hub. The store has it sealed, and no answer of the
// API has it at all.
type Secret struct {
	Name string `json:"name"`
	// Version is another one with every change of the value, also after the secret was deleted and set again.
	Version     uint64 `json:"version"`
	Sealed      Sealed `json:"sealed"`
	CreatedAtMS int64  `json:"created_at_ms"`
	UpdatedAtMS int64  `json:"updated_at_ms"`
	CreatedBy   string `json:"created_by,omitempty"`
	UpdatedBy   string `json:"updated_by,omitempty"`
	// Named is how often a model has come to name the secret: it changes with that, so that naming and deleting it at once cannot both pass.
	Named uint64 `json:"named,omitempty"`
}

// Sealed is a value under a key of its own, and that key under the one that KeyID names, which only servers have.
type Sealed struct {
	KeyID      string `json:"key_id"`
	WrappedKey []byte `json:"wrapped_key"`
	Ciphertext []byte `json:"ciphertext"`
}

// Limits of secrets.
const (
	MaxSecretName  = 63
	MaxSecretBytes = 4096
)

// ValidSecretName applies the rule for names of secrets, which is that of [KnownUID].
func ValidSecretName(name string) bool { return validSegment(name, MaxSecretName) }

// tokenPrefixes begin the tokens of hubs, of Nebula, and of what people use beside them.
var tokenPrefixes = []string{"hf_", "ms-", "sk-", "neb_", "nbj_", "nba_", "ghp_", "gho_", "github_pat_", "glpat-", "xoxb-", "AKIA", "eyJ"}

// How long an unbroken run of letters and digits is in a token: after one of the prefixes, and anywhere.
const (
	tokenRun     = 12
	longTokenRun = 20
)

// LooksLikeToken tells whether a text that is meant as a name is likely a token that was put in its place: one with a known prefix, a UUID, or a long
// run of letters and digits. Names are stored in clear and shown to everybody.
func LooksLikeToken(name string) bool {
	run := longTokenRun
	for _, prefix := range tokenPrefixes {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			name, run = rest, tokenRun
			break
		}
	}
	if isUUID(name) {
		return true
	}
	for part := range strings.FieldsFuncSeq(name, func(r rune) bool { return r == '.' || r == '_' || r == '-' }) {
		letters := strings.Trim(part, "0123456789") != ""
		digits := strings.ContainsAny(part, "0123456789")
		if len(part) >= run && letters && digits || len(part) >= longTokenRun && run == tokenRun {
			return true
		}
	}
	return false
}

// isUUID tells whether a text is 32 hexadecimal digits in five groups.
func isUUID(s string) bool {
	groups := strings.Split(s, "-")
	if len(groups) != 5 {
		return false
	}
	for i, n := range []int{8, 4, 4, 4, 12} {
		if len(groups[i]) != n || strings.Trim(groups[i], "0123456789abcdefABCDEF") != "" {
			return false
		}
	}
	return true
}

// Token is the value of a secret on its way. It prints as stars, whatever the verb, so that no message has it by mistake; JSON, the wire, has it.
type Token string

// Format writes stars.
func (t Token) Format(f fmt.State, _ rune) {
	_, _ = f.Write([]byte("***")) // a printer that fails has its own way to say so
}

// UnmarshalJSON is that of a string, with errors that quote nothing.
func (t *Token) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return errors.New("value must be a string")
	}
	*t = Token(s)
	return nil
}

// PutSecret is the body of PUT /api/v2/secrets/{name}.
type PutSecret struct {
	Value Token `json:"value"`
}

// Validate tells what is wrong with a secret, without quoting any of it. A token travels in a header, so it is visible ASCII.
func (p *PutSecret) Validate(name string) error {
	var bad problems
	if !ValidSecretName(name) {
		bad.add("name", "%q is not a legal name: use letters, digits, \".\", \"_\" and \"-\", start with a letter or digit, at most %d characters", clip(name), MaxSecretName)
	} else if LooksLikeToken(name) { // it is not repeated: it may be one
		bad.add("name", "looks like a token itself, and names are stored in clear: choose a name that says what the secret is for, such as hf-members, and give the token as the value; "+
			"if it is a token, it has been sent as a name, so renew it where it comes from when others may read along")
	}
	switch v := string(p.Value); {
	case v == "":
		bad.add("value", "must not be empty")
	case len(v) > MaxSecretBytes:
		bad.add("value", "is %d bytes long; at most %d", len(v), MaxSecretBytes)
	case strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r > '~' }):
		bad.add("value", "must be one token, without spaces, line breaks and characters that are not ASCII")
	}
	return bad.err("the secret is not valid")
}

// SecretView is a secret in a list: everything but its value.
type SecretView struct {
	Name        string       `json:"name"`
	CreatedAtMS int64        `json:"created_at_ms"`
	UpdatedAtMS int64        `json:"updated_at_ms"`
	CreatedBy   string       `json:"created_by,omitempty"`
	UpdatedBy   string       `json:"updated_by,omitempty"`
	UsedBy      List[string] `json:"used_by"` // uids of the models that name it
}

// SecretDeleted answers a DELETE of a secret.
type SecretDeleted struct {
	Name   string `json:"name"`
	Status string `json:"status"` // "deleted"
}

// ModelToken is what a node gets for the download of a model that names a secret.
type ModelToken struct {
	Token Token `json:"token"`
}
