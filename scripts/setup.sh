#!/usr/bin/env bash
# Installs what a Debian machine with Go and make still lacks, and nothing when all of it is there.
#
#   scripts/setup.sh [PACKAGE ...]     default: what the tests need
#
# Root, or a sudo that asks nothing, is needed only when something is missing.
set -euo pipefail

go_wanted=1.26

say() { printf 'setup: %s\n' "$*" >&2; }

go_is_new_enough() {
	local have
	have=$(go env GOVERSION 2>/dev/null) || return 1
	have=${have#go}
	[[ $(printf '%s\n%s\n' "$go_wanted" "$have" | sort -V | head -n 1) == "$go_wanted" ]]
}

# present PACKAGE: asks for the thing itself, so that a compiler from elsewhere counts too.
present() {
	case $1 in
	gcc | make | curl | git) command -v "$1" >/dev/null ;;
	libc6-dev) [[ -e /usr/include/stdlib.h ]] ;;
	ca-certificates) [[ -s /etc/ssl/certs/ca-certificates.crt ]] ;;
	iproute2) command -v ip >/dev/null && command -v tc >/dev/null ;;
	nftables) [[ -x /usr/sbin/nft ]] || command -v nft >/dev/null ;;
	aria2) command -v aria2c >/dev/null ;;
	nodejs) command -v node >/dev/null ;;
	npm) command -v npm >/dev/null ;;
	nginx-light) [[ -x /usr/sbin/nginx ]] || command -v nginx >/dev/null ;;
	*) dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q '^install ok installed$' ;;
	esac
}

if ! go_is_new_enough; then
	say "Go $go_wanted or newer is needed (found: $(go env GOVERSION 2>/dev/null || echo none)): see https://go.dev/dl/"
	exit 1
fi

# Go fetches modules over TLS; the race detector needs cgo, and so a C compiler with its headers.
[[ $# -gt 0 ]] || set -- ca-certificates gcc libc6-dev
missing=()
for package in "$@"; do
	present "$package" || missing+=("$package")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

if ! command -v apt-get >/dev/null; then
	say "please install: ${missing[*]} (this machine has no apt-get, so it cannot be done from here)"
	exit 1
fi
as_root=()
if [[ $(id -u) -ne 0 ]]; then
	if ! sudo -n true 2>/dev/null; then
		say "please run: sudo apt-get install ${missing[*]}"
		exit 1
	fi
	as_root=(sudo -n)
fi
say "installing ${missing[*]}"
"${as_root[@]}" apt-get -qq update
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
	apt-get -qq install -y --no-install-recommends \
	-o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 "${missing[@]}" >/dev/null
