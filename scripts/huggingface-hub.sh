#!/usr/bin/env bash
# Puts the official client of the Hugging Face Hub in place, with a Python of its own, from Debian's packages and without installing anything
# on the machine. Tests compare Nebula with it; nothing else needs it.
set -euo pipefail
umask 022

usage() {
	cat <<'USAGE'
Usage: scripts/huggingface-hub.sh [--help]

Prints the path of a python3 that has huggingface_hub and nothing else on stdout. Debian's python3-huggingface-hub is downloaded once (about
50 MB, 105 MB on disk), verified by apt and unpacked into a cache folder. No root needed; a second run answers from the folder and needs no
network.

  NEBULA_HF_CLIENT_DIR   the folder; default ${XDG_CACHE_HOME:-~/.cache}/nebula/huggingface-hub
  NEBULA_DEBIAN_MIRROR   the mirror; default the one in the machine's apt sources, else http://deb.debian.org/debian
  NEBULA_DEBIAN_KEYRING  the archive keyring; default the one of the package debian-archive-keyring
USAGE
}

say() { printf 'huggingface-hub.sh: %s\n' "$*" >&2; }
die() {
	say "$@"
	exit 1
}

. "$(dirname "$0")/debian-archive.sh"

case ${1-} in
-h | --help) usage && exit ;;
?*) usage >&2 && exit 2 ;;
esac

dir=${NEBULA_HF_CLIENT_DIR:-${XDG_CACHE_HOME:-${HOME:?is not set: set NEBULA_HF_CLIENT_DIR}/.cache}/nebula/huggingface-hub}
case $dir in
*:*) die "$dir: a folder with a colon cannot hold libraries; set NEBULA_HF_CLIENT_DIR to another" ;;
/*) ;;
*) dir=$PWD/$dir ;;
esac
if [ -x "$dir/python3" ]; then
	echo "$dir/python3"
	exit
fi

for tool in apt-get dpkg flock; do
	type -P "$tool" >/dev/null || die "needs $tool, as Debian and its relatives have it"
done
case $(dpkg --print-architecture) in
amd64) triplet=x86_64-linux-gnu linker=ld-linux-x86-64.so.2 ;;
arm64) triplet=aarch64-linux-gnu linker=ld-linux-aarch64.so.1 ;;
*) die "knows amd64 and arm64 only" ;;
esac
keyring=${NEBULA_DEBIAN_KEYRING:-$(find_keyring)} || die "no Debian archive keyring to check the packages with: apt-get install debian-archive-keyring"
[ -r "$keyring" ] || die "cannot read the keyring $keyring"
mirror=${NEBULA_DEBIAN_MIRROR:-$(mirror)}
mirror=${mirror:-http://deb.debian.org/debian}

mkdir -p "$(dirname "$dir")" && exec 9>"$dir.lock" || die "cannot write there: set NEBULA_HF_CLIENT_DIR to a folder of yours"
flock 9
if [ -x "$dir/python3" ]; then
	echo "$dir/python3"
	exit
fi
[ -z "$(ls -A "$dir" 2>/dev/null)" ] || die "$dir holds something else: empty it or set NEBULA_HF_CLIENT_DIR"

rm -rf "$dir".new.* # of a run that was killed
work=$(mktemp -dt nebula-hf.XXXXXX) && new=$(mktemp -d "$dir.new.XXXXXX") || die "no room for temporary files: free some or set TMPDIR"
trap 'rm -rf "$work" "$new"' EXIT
chmod 755 "$work" "$new" # apt's own user must be able to enter
: >"$work/log"

found=
for suite in forky sid; do
	say "downloading python3-huggingface-hub of Debian $suite from $mirror"
	run_apt "$suite" update && run_apt "$suite" install --download-only python3-huggingface-hub && found=$suite && break
done
[ -n "$found" ] || {
	tail -n 5 "$work/log" >&2
	die "$mirror does not give python3-huggingface-hub of forky or sid: check the network, or try another NEBULA_DEBIAN_MIRROR"
}
for deb in "$work/$found"/archives/*.deb; do
	case ${deb##*/} in
	git_* | git-man_* | perl* | libperl*) continue ;; # for uploads alone
	esac
	dpkg -x "$deb" "$new" 2>>"$work/log" || die "cannot unpack ${deb##*/}: $(tail -n 1 "$work/log")"
done
rm -rf "$new"/{etc,var,usr/share}
python=("$new"/usr/bin/python3.[0-9]*)
lib=usr/lib/$triplet
cat >"$new/python3" <<WRAPPER
#!/bin/sh
# Debian's python3 with huggingface_hub and the libraries beside it; written by Nebula's scripts/huggingface-hub.sh.
here=\$(dirname "\$(readlink -f "\$0")")
exec "\$here/$lib/$linker" --library-path "\$here/$lib" "\$here/usr/bin/${python[0]##*/}" "\$@"
WRAPPER
chmod 755 "$new/python3"
version=$("$new/python3" -c 'import huggingface_hub; print(huggingface_hub.__version__)' 2>&1) || die "the client does not start on this machine: $version"
mv -T "$new" "$dir"
say "huggingface_hub $version"
echo "$dir/python3"
