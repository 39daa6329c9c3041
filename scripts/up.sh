#!/usr/bin/env bash
# Starts Nebula with a demo model, shows that it answers, and serves until Ctrl-C. `make up` builds and calls it.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
	cat <<'USAGE'
Usage: scripts/up.sh [--help]

Starts Nebula on this machine with a demo model on a real llama-server, chats with it once and keeps serving until
Ctrl-C. A second run on the same data directory takes up where the first one ended.

  NEBULA_DATA_DIR      where all data is kept; default ${XDG_DATA_HOME:-~/.local/share}/nebula
  NEBULA_LISTEN        address to listen on; default 127.0.0.1:8081
  NEBULA_LLAMA_SERVER  a llama-server of yours; default what scripts/llama-server.sh finds or gets
  NEBULA_DEMO_REPLY    what the demo model answers
  NEBULA_UP_EXIT=1     end after the answer instead of serving on
  NEBULA_BIN           the program; default bin/nebula
USAGE
}

case ${1-} in
-h | --help) usage && exit ;;
?*) usage >&2 && exit 2 ;;
esac

nebula=${NEBULA_BIN:-bin/nebula}
model=demo
reply=${NEBULA_DEMO_REPLY:-Hello! Nebula works: this answer came from a real engine running a demo model.}
begun=$SECONDS pid='' log=''

say() { printf 'up: %s\n' "$*" >&2; }
die() {
	say "$@"
	exit 1
}

# stop ends Nebula, which stops its engines and its store. It is in a session of its own: a Ctrl-C reaches this script
# alone, and Nebula is asked once, because asked twice it ends without stopping its engines.
# shellcheck disable=SC2317 # the trap calls it
stop() {
	local code=$?
	trap '' INT TERM HUP
	if [[ -n $pid ]] && kill -TERM "$pid" 2>/dev/null; then
		say "stopping"
		wait "$pid" || say "Nebula did not stop cleanly; see $log"
	fi
	exit "$code"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# died says why Nebula ended by itself and ends with its exit code. Called only when it has.
died() {
	local code=0
	wait "$pid" || code=$?
	pid=''
	# Nebula's last words are one sentence for people; without one, the log has to do.
	if ! sed -n '/^Error: /,$p' "$log" | grep . >&2; then
		say "Nebula ended; the end of $log:"
		tail -n 20 "$log" >&2
	elif [[ $log == *.new ]]; then
		rm -f "$log"
	fi
	exit "$((code == 0 ? 1 : code))"
}

# start runs Nebula in the background and returns when it takes requests; $url is where. The log gets its name only then:
# until its lock is ours, the data directory may be another one's.
start() {
	log=$data/up.$$.new
	(umask 077 && : >"$log") || die "cannot write to $data: set NEBULA_DATA_DIR to a folder of yours"
	setsid "$nebula" up >"$log" 2>&1 </dev/null &
	pid=$!
	until url=$(sed -n 's|^Nebula is up at \(http[^ ]*\).*|\1|p' "$log") && [[ -n $url ]]; do
		kill -0 "$pid" 2>/dev/null || died
		sleep 0.05
	done
	mv -f "$log" "$data/up.log"
	log=$data/up.log
}

# first_user is the link to make the first user, which Nebula prints while there is none; empty: there is one.
first_user() { sed -n '/^There is no user yet/{n;s/^ *\(http[^ ]*\)$/\1/p;q;}' "$log"; }

# declare_model makes the demo model known and running. It may be there from an earlier run, with another reply.
declare_model() {
	local old=$data/demo/$model.gguf new shown code=0
	new=$("$nebula" demo-model "$data/demo" --name "$model.new" --reply "$reply")
	shown=$("$nebula" model get "$model" 2>/dev/null) || code=$?
	if ((code == 3)); then
		mv -f "$new" "$old"
		"$nebula" model create --uid "$model" --path "$old" --engine llamacpp --start >/dev/null
		return
	fi
	if ! grep -qF "$old" <<<"$shown"; then
		rm -f "$new"
		die "$url has another model called $model: remove it with \"$nebula model delete $model\", or set NEBULA_DATA_DIR to another folder"
	fi
	if cmp -s "$new" "$old"; then
		rm -f "$new"
	else
		"$nebula" model stop "$model" --wait >/dev/null # an engine reads its file once
		mv -f "$new" "$old"
	fi
	"$nebula" model start "$model" >/dev/null
}

next_steps() {
	local with='' link
	link=$(first_user)
	[[ $data == "$default_data" ]] || with="  export NEBULA_DATA_DIR='$data'"$'\n'
	cat <<NEXT

  Console      $url/
  OpenAI API   $url/v1     (model "$model")
  REST API     $url/api/v2
  API key      $data/admin.token
  Log          $log
${link:+  First user   $link
               (in a browser; it works once, in the first 15 minutes, and each start makes another. Or here: $nebula setup --name NAME)
}
Try next, in another terminal:

$with  $nebula chat -m $model
  $nebula model list
  $nebula node list
  curl $url/v1/chat/completions -H "Authorization: Bearer \$(cat '$data/admin.token')" \\
    -H 'Content-Type: application/json' -d '{"model":"$model","messages":[{"role":"user","content":"Hi"}]}'
  OpenAI(base_url="$url/v1", api_key=open("$data/admin.token").read().strip())    # Python, package openai

A model of your own: $nebula model create --path /path/to/model.gguf --start --wait
NEXT
}

default_data=${XDG_DATA_HOME:-${HOME:?is not set: set it or NEBULA_DATA_DIR}/.local/share}/nebula
data=${NEBULA_DATA_DIR:-$default_data}
mkdir -p "$data" || die "cannot make $data: set NEBULA_DATA_DIR to a folder of yours"
data=$(cd "$data" && pwd)
[[ -x $nebula ]] || die "$nebula is not there: run \"make build\" first"
NEBULA_LLAMA_SERVER=${NEBULA_LLAMA_SERVER:-$(scripts/llama-server.sh)}
export NEBULA_LLAMA_SERVER NEBULA_DATA_DIR=$data NEBULA_DRAIN_TIMEOUT=${NEBULA_DRAIN_TIMEOUT:-5s}
unset NEBULA_SERVER NEBULA_TOKEN # the commands below talk to the Nebula of this data directory

start
say "Nebula runs at $url"
declare_model
"$nebula" model wait "$model" --timeout 5m || {
	say "the end of the engine's log:"
	"$nebula" model logs "$model" --tail 20 >&2 || true
	exit 1
}
printf '\n$ %s chat -m %s "Does it work?"\n' "$nebula" "$model"
"$nebula" chat -m "$model" "Does it work?"
say "answered after $((SECONDS - begun)) s"
next_steps
[[ -z ${NEBULA_UP_EXIT:-} ]] || exit 0
printf '\nServing until Ctrl-C.\n'
while kill -0 "$pid" 2>/dev/null; do
	wait "$pid" || break
done
died
