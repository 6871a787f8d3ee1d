#!/usr/bin/env bash
# Installs the Debian packages of those commands that this machine lacks; does nothing where it lacks none.
#
#   debian.sh COMMAND:PACKAGE…     debian.sh java:default-jre-headless mvn:maven
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

missing=()
for pair in "$@"; do command -v "${pair%%:*}" > /dev/null || missing+=("${pair#*:}"); done
[ ${#missing[@]} -gt 0 ] || exit 0

root=()
if [ "$(id -u)" != 0 ]; then
  command -v sudo > /dev/null || die "these packages are missing, and only root can install them: ${missing[*]}"
  root=(sudo -n)
fi
command -v apt-get > /dev/null || die "this is no Debian: install by hand what these packages hold: ${missing[*]}"

apt() {
  # In a session of its own: an interrupted test run must not leave the package database half written.
  setsid --wait ${root[@]+"${root[@]}"} env DEBIAN_FRONTEND=noninteractive \
    apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" < /dev/null 9>&-
}
apt update
apt install -y --no-install-recommends "${missing[@]}"
hash -r
for pair in "$@"; do need "${pair%%:*}" "${pair#*:}"; done
