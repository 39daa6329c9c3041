// Package secret seals what people entrust to the cluster, so that the store, its backups and whatever else leaves a server's key directory
// hold nothing that is of use without the key. It knows no store and no protocol.
package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/nebula-serve/nebula/api"
)

// KeyBytes is the length of a key: AES-256.
const KeyBytes = 32

// Key seals and opens secrets. Every server of a cluster has the same one.
type Key struct {
	bytes [KeyBytes]byte
}

// NewKey makes a key of its bytes.
func NewKey(b []byte) (Key, error) {
	if len(b) != KeyBytes {
		return Key{}, fmt.Errorf("a key for secrets has %d bytes, not %d", KeyBytes, len(b))
	}
	return Key{[KeyBytes]byte(b)}, nil
}

// Bytes returns the key itself: for a server that joins, and for nobody else.
func (k Key) Bytes() []byte { return k.bytes[:] }

// Format writes the key's id, whatever the verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(k.ID())) } // a printer that fails has its own way to say so

// ID tells keys apart and gives nothing of them away.
func (k Key) ID() string {
	sum := sha256.Sum256(append([]byte("nebula key for secrets "), k.bytes[:]...))
	return hex.EncodeToString(sum[:4])
}

// Load reads a key file; fs.ErrNotExist (in the chain) when there is none. One that others may read is refused.
func Load(path string) (Key, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Key{}, err
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return Key{}, fmt.Errorf("others may read the key in %s (mode %04o): run chmod 400 %s", path, perm, path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return Key{}, err
	}
	b, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(b) != KeyBytes {
		return Key{}, fmt.Errorf("%s holds no key: put back that of another server of the cluster", path)
	}
	return NewKey(b)
}

// Save writes a key file for its owner alone, as a whole or not at all.
func (k Key) Save(path string) error {
	if err := renameio.WriteFile(path, []byte(hex.EncodeToString(k.bytes[:])+"\n"), 0o400, renameio.IgnoreUmask()); err != nil {
		return fmt.Errorf("write the key for secrets: %w", err)
	}
	return nil
}

// Seal encrypts a value under a key made for it alone, and that key under k. Both are bound to name and version: what is sealed opens
// as that version of that secret and as nothing else.
func (k Key) Seal(name string, version uint64, value api.Token) (api.Sealed, error) {
	own := make([]byte, KeyBytes)
	_, _ = rand.Read(own) // never fails, by its documentation
	place := place(name, version)
	wrapped, err := seal(k.bytes[:], own, place)
	if err != nil {
		return api.Sealed{}, err
	}
	text, err := seal(own, []byte(value), place)
	if err != nil {
		return api.Sealed{}, err
	}
	return api.Sealed{KeyID: k.ID(), WrappedKey: wrapped, Ciphertext: text}, nil
}

// Errors of Open.
var (
	ErrOtherKey = errors.New("sealed with another key")
	ErrDamaged  = errors.New("not sealed by the key that it names, or not for this name and version")
)

// Open decrypts what Seal has made of the same name and version: else the error is [ErrOtherKey] or [ErrDamaged], and holds nothing of it.
func (k Key) Open(name string, version uint64, s api.Sealed) (api.Token, error) {
	if s.KeyID != k.ID() {
		return "", ErrOtherKey
	}
	place := place(name, version)
	own, err := open(k.bytes[:], s.WrappedKey, place)
	if err != nil {
		return "", err
	}
	if len(own) != KeyBytes {
		return "", ErrDamaged
	}
	value, err := open(own, s.Ciphertext, place)
	return api.Token(value), err
}

// place is what a sealed value is bound to: its key in the store, and its version.
func place(name string, version uint64) []byte {
	return []byte("/secrets/" + name + " " + strconv.FormatUint(version, 10))
}

// seal is AES-GCM with a random nonce in front; a key of its own seals one value, so nonces are no concern, and k seals one key a change.
func seal(key, text, place []byte) ([]byte, error) {
	g, err := gcm(key)
	if err != nil {
		return nil, err
	}
	return g.Seal(nil, nil, text, place), nil
}

func open(key, sealed, place []byte) ([]byte, error) {
	g, err := gcm(key)
	if err != nil {
		return nil, err
	}
	text, err := g.Open(nil, nil, sealed, place)
	if err != nil {
		return nil, ErrDamaged
	}
	return text, nil
}

func gcm(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("cipher: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}
