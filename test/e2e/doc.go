// Package e2e tests Nebula from outside: the real program as a process, real embedded etcd, a real llama-server, real sockets. It
// imports nothing of Nebula's inside but the demo model, the stand-in hub and the public client.
package e2e
