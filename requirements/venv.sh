#!/bin/sh
# Some systems ship Python without the means to make a virtual environment. Install them where we may.
set -e
python="$1"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo -n"
if command -v apt-get >/dev/null 2>&1 && { [ -z "$as_root" ] || sudo -n true 2>/dev/null; }; then
	echo "Installing python$version-venv ..."
	$as_root apt-get -qq update >/dev/null
	DEBIAN_FRONTEND=noninteractive $as_root apt-get -qq install -y "python$version-venv" >/dev/null
	exec "$python" -m venv .venv
fi
echo "Python $version cannot make a virtual environment here: install its venv package (Debian: python$version-venv)." >&2
exit 1
