// Command nebula is the whole of Nebula in one binary: server, node agent, gateway and client.
package main

import (
	"os"

	"github.com/nebula-serve/nebula/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:])) }
