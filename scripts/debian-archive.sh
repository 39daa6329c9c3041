# shellcheck shell=bash
# Packages of Debian's archive for scripts that unpack them into a folder of their own, instead of installing them: apt works on lists and an
# archive under $work, checks the signatures with $keyring and resolves the dependencies, libc included. To be sourced.

# The mirror of the Debian archive that this machine uses, read by apt itself from either format of sources.
mirror() {
	apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
		grep -E '/(debian/?|mirrors/debian\.list)$' | head -n 1 || true
}

# run_apt SUITE ARG…: apt-get on that suite alone, on the state under $work.
run_apt() {
	local suite=$1
	shift
	mkdir -p "$work/$suite/lists/partial" "$work/$suite/archives/partial"
	echo "deb [target=Packages signed-by=$keyring] $mirror $suite main" >"$work/$suite/sources.list"
	# Given by -c because that is read last: nothing of the machine's own configuration weakens or disturbs it,
	# while its proxies and mirror credentials still hold.
	cat >"$work/$suite/apt.conf" <<-CONF
		Dir::Etc::sourcelist "$work/$suite/sources.list";
		Dir::Etc::sourceparts "/dev/null";
		Dir::Etc::preferences "/dev/null";
		Dir::Etc::preferencesparts "/dev/null";
		Dir::State "$work/$suite";
		Dir::State::lists "$work/$suite/lists";
		Dir::State::status "/dev/null";
		Dir::Cache "$work/$suite";
		Dir::Cache::archives "$work/$suite/archives";
		Debug::NoLocking "true";
		Acquire::Languages "none";
		Acquire::Retries "3";
		Acquire::AllowInsecureRepositories "false";
		Acquire::AllowDowngradeToInsecureRepositories "false";
		APT::Get::AllowUnauthenticated "false";
		APT::Update::Error-Mode "any";
		APT::Install-Recommends "false";
		#clear APT::Update::Pre-Invoke;
		#clear APT::Update::Post-Invoke;
		#clear APT::Update::Post-Invoke-Success;
	CONF
	apt-get -q -y -c "$work/$suite/apt.conf" "$@" </dev/null >>"$work/log" 2>&1
}

find_keyring() {
	local f
	for f in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; do
		if [ -r "$f" ]; then
			echo "$f"
			return
		fi
	done
	return 1
}
