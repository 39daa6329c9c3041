package modelfiles

import (
	"crypto/sha256"
	"os"
	"testing"
	"time"
)

func sum256(b []byte) [32]byte { return sha256.Sum256(b) }

func overwrite(t *testing.T, name string, at int64) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("changed"), at); err != nil {
		t.Fatal(err)
	}
}

func chtimes(t *testing.T, name string) {
	t.Helper()
	if err := os.Chtimes(name, time.Time{}, time.UnixMilli(1e12)); err != nil {
		t.Fatal(err)
	}
}

func deleteFile(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
}
