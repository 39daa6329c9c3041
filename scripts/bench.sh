#!/usr/bin/env bash
# Measures Nebula on this machine and prints one line per figure; docs/benchmarks.md explains them. `make bench` calls it.
#
#   scripts/bench.sh [-only start|gateway|api|migrate|go]    NEBULA_BENCH=short: fewer and smaller rounds
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'bench: %s\n' "$*" >&2; }

find_nginx() { PATH=$PATH:/usr/sbin:/sbin type -P nginx; }

# install_nginx gets what the gateway is compared with. Debian would start a service with it, so a policy forbids that meanwhile.
install_nginx() {
	if [[ $(id -u) -ne 0 ]] || ! type -P apt-get >/dev/null; then
		say "no nginx: the figures that compare with it are left out; with Debian: apt-get install nginx-light"
		return
	fi
	if [[ ! -e /usr/sbin/policy-rc.d ]]; then
		trap 'rm -f /usr/sbin/policy-rc.d' EXIT
		printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
		chmod 755 /usr/sbin/policy-rc.d
	fi
	scripts/setup.sh nginx-light || say "nginx-light could not be installed: the figures that compare with it are left out"
}

find_nginx >/dev/null || (install_nginx)
args=(-llama-server "${NEBULA_LLAMA_SERVER:-$(scripts/llama-server.sh)}")
if [[ -n ${NEBULA_BIN:-} ]]; then
	args+=(-nebula "$NEBULA_BIN")
else
	make build
fi
[[ ${NEBULA_BENCH:-} != short ]] || args+=(-short)

# Not by go run, which stands between a signal and the program.
go build -o .cache/bench ./test/bench
exec .cache/bench "${args[@]}" "$@"
