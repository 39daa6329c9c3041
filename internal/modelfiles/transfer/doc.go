// Package transfer brings one blob at a time from its sources to the disk: in parallel stretches, hashed while they are
// written, with a journal to go on from after a kill, and published only when every byte is right.
//
// Pure parts decide (span.go, plan.go, ramp.go, pick.go); one loop per blob carries it out (loop.go), with one goroutine
// per connection (worker.go), one that hashes (sum.go) and one that keeps the journal (keeper.go).
package transfer
