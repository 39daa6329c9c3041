#!/usr/bin/env bash
# Puts a real llama-server in place from Debian's own packages, without installing anything on the machine.
#
# An older Debian cannot install them, so apt works here on lists and an archive of its own: it checks the
# signatures and resolves the dependencies, libc included, and dpkg -x unpacks all of it into one folder. The
# wrapper in that folder starts the server through the folder's own dynamic linker.
set -euo pipefail
umask 022

usage() {
	cat <<'USAGE'
Usage: scripts/llama-server.sh [--help]

Prints the path of a llama-server and nothing else on stdout. One on the PATH is taken as it is; otherwise
Debian's llama.cpp-tools is downloaded once (about 20 MB, 75 MB on disk), verified by apt and unpacked into a
cache folder. No root needed; a second run answers from the folder and needs no network.

  NEBULA_LLAMA_DIR       the folder; default ${XDG_CACHE_HOME:-~/.cache}/nebula/llama-server
  NEBULA_DEBIAN_MIRROR   the mirror; default the one in the machine's apt sources, else http://deb.debian.org/debian
  NEBULA_DEBIAN_KEYRING  the archive keyring; default the one of the package debian-archive-keyring
USAGE
}

say() { printf 'llama-server.sh: %s\n' "$*" >&2; }
die() {
	say "$@"
	exit 1
}

. "$(dirname "$0")/debian-archive.sh"

# fetch SUITE: the package and all that it depends on, in $work/SUITE/archives.
fetch() {
	say "downloading llama.cpp-tools of Debian $1 from $mirror"
	run_apt "$1" update && run_apt "$1" install --download-only llama.cpp-tools
}

# The reason for a failure and what to do, read from the log of apt and dpkg.
explain() {
	grep -E '^(E:|W:|Err:|dpkg|tar|rm|  [A-Z])' "$work/log" | tail -n 8 >&2 || true
	if grep -qiE 'no space left|enough free space|disk quota' "$work/log"; then
		die "the disk is full: free 75 MB for $dir and 60 MB for ${TMPDIR:-/tmp}, or set NEBULA_LLAMA_DIR and TMPDIR"
	elif grep -qE 'NO_PUBKEY|is not signed|Missing key' "$work/log"; then
		die "$keyring does not verify $mirror: upgrade the package debian-archive-keyring and run this again"
	elif grep -qE 'Unable to locate package|no installation candidate|unmet dependencies' "$work/log"; then
		die "$mirror has no installable llama.cpp-tools in ${suites// / or }: try later or another NEBULA_DEBIAN_MIRROR," \
			"or put a llama-server on the PATH"
	fi
	die "cannot download from $mirror: check the network and apt's proxy settings, or set NEBULA_DEBIAN_MIRROR," \
		"or put a llama-server on the PATH"
}

write_wrapper() {
	local lib=usr/lib/$triplet
	cat >"$1/llama-server" <<-WRAPPER
		#!/bin/sh
		# Debian's llama-server with the libraries beside it; written by Nebula's scripts/llama-server.sh.
		here=\$(dirname "\$(readlink -f "\$0")") cpu=$cpu_best
		for flag in $cpu_needs; do grep -qwm1 "\$flag" /proc/cpuinfo || cpu=$cpu_any; done
		export GGML_BACKEND_PATH="\${GGML_BACKEND_PATH:-\$here/$lib/ggml/backends0/libggml-cpu-\$cpu.so}"
		exec "\$here/$lib/$linker" --library-path "\$here/$lib:\$here/$lib/llama" "\$here/usr/bin/llama-server" "\$@"
	WRAPPER
	chmod 755 "$1/llama-server"
}

case ${1-} in
-h | --help) usage && exit ;;
?*) usage >&2 && exit 2 ;;
esac

if type -P llama-server; then exit; fi
dir=${NEBULA_LLAMA_DIR:-${XDG_CACHE_HOME:-${HOME:?is not set: set NEBULA_LLAMA_DIR}/.cache}/nebula/llama-server}
case $dir in
*:*) die "$dir: a folder with a colon cannot hold libraries; set NEBULA_LLAMA_DIR to another" ;;
/*) ;;
*) dir=$PWD/$dir ;;
esac
if [ -x "$dir/llama-server" ]; then
	echo "$dir/llama-server"
	exit
fi

for tool in apt-get dpkg flock; do
	type -P "$tool" >/dev/null ||
		die "needs $tool, as Debian and its relatives have it; elsewhere put a llama-server on the PATH:" \
			"https://github.com/ggml-org/llama.cpp/releases"
done
arch=$(dpkg --print-architecture)
case $arch in
amd64)
	triplet=x86_64-linux-gnu linker=ld-linux-x86-64.so.2
	cpu_any=x64 cpu_best=haswell cpu_needs='avx2 fma bmi2 f16c'
	;;
arm64)
	triplet=aarch64-linux-gnu linker=ld-linux-aarch64.so.1
	cpu_any=armv8.0_1 cpu_best=armv8.2_2 cpu_needs='asimdhp asimddp'
	;;
*) die "knows amd64 and arm64, not $arch: put a llama-server on the PATH, built from https://github.com/ggml-org/llama.cpp" ;;
esac
keyring=${NEBULA_DEBIAN_KEYRING:-$(find_keyring)} ||
	die "no Debian archive keyring to check the packages with: apt-get install debian-archive-keyring"
[ -r "$keyring" ] || die "cannot read the keyring $keyring"
mirror=${NEBULA_DEBIAN_MIRROR:-$(mirror)}
mirror=${mirror:-http://deb.debian.org/debian}

mkdir -p "$(dirname "$dir")" || die "cannot write there: set NEBULA_LLAMA_DIR to a folder of yours"
exec 9>"$dir.lock" || die "cannot write there: set NEBULA_LLAMA_DIR to a folder of yours"
flock -n 9 || {
	say "waiting for another run of this script"
	flock 9
}
if [ -x "$dir/llama-server" ]; then
	echo "$dir/llama-server"
	exit
fi
[ -z "$(ls -A "$dir" 2>/dev/null)" ] || die "$dir holds something else: empty it or set NEBULA_LLAMA_DIR"

# apt's own user must be able to enter its folder, which it could not in a home; what a killed run left goes.
rm -rf "$dir".new.*
work=$(mktemp -dt nebula-llama.XXXXXX) && new=$(mktemp -d "$dir.new.XXXXXX") ||
	die "no room for temporary files: free some or set TMPDIR"
trap 'rm -rf "$work" "$new"' EXIT
chmod 755 "$work" "$new"
: >"$work/log"

# testing before unstable: its packages fit together at any time.
suites='forky sid' found=
for suite in $suites; do
	fetch "$suite" && found=$suite && break
done
[ -n "$found" ] || explain
for deb in "$work/$found"/archives/*.deb; do
	dpkg -x "$deb" "$new" 2>>"$work/log" || explain
done
rm -rf "$new"/{etc,var,usr/share} 2>>"$work/log"
write_wrapper "$new" || explain
version=$("$new/llama-server" --version 2>&1) || die "the server does not start on this machine: $version"
mv -T "$new" "$dir"
say "$(head -n 1 <<<"$version")"
echo "$dir/llama-server"
