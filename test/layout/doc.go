// Package layout tests the cache on disk as other programs see it: against golden trees, and with the official client of the Hugging Face Hub
// reading what Nebula wrote and the other way round. It has no code of its own.
package layout
