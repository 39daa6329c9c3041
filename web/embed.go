// Package web holds the console as it was built by vite, for the binary to serve. It serves nothing itself, and knows nothing of Nebula.
package web

import (
	"embed"
	"io/fs"
)

// dist is what vite writes; a README keeps the folder there, so that a clone compiles without the console.
//
//go:embed all:dist
var dist embed.FS

// Console returns the files of the console, index.html at the top; false: this binary was built without it.
func Console() (fs.FS, bool) {
	files, err := fs.Sub(dist, "dist/console")
	if err != nil {
		return nil, false
	}
	if page, err := fs.Stat(files, "index.html"); err != nil || !page.Mode().IsRegular() {
		return nil, false
	}
	return files, true
}
