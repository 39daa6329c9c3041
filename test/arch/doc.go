// Package arch keeps the structure of the repository true: who may import whom, which code is pure, what
// every package must have. It holds tests only, reads source and runs nothing of Nebula.
//
// The rules are data, in rules_test.go. To change one, change the row there together with the reason, run
// `go test ./test/arch -update`, which writes the table into ARCHITECTURE.md, and say why in the commit.
package arch
