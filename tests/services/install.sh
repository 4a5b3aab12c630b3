#!/bin/sh
# Installs the real services that tests use, where root or sudo allows. Says what is missing otherwise;
# the tests then skip what needs it, or fail where CI is set.
missing=""
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
command -v redis-server >/dev/null 2>&1 || missing="$missing redis-server"
[ -z "$missing" ] && exit 0
as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo -n"
if command -v apt-get >/dev/null 2>&1 && { [ -z "$as_root" ] || sudo -n true 2>/dev/null; }; then
	echo "Installing for the tests:$missing"
	$as_root apt-get -qq update >/dev/null &&
		DEBIAN_FRONTEND=noninteractive $as_root apt-get -qq install -y --no-install-recommends $missing >/dev/null && exit 0
fi
echo "NOT INSTALLED:$missing. Tests that need them will be skipped (or fail where CI is set)." >&2
