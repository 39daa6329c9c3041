// Command nebula is the whole of Nebula in one binary: server, node agent, gateway and client.
package main

import "os"

func main() { os.Exit(0) }
