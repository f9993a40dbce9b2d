#!/bin/sh
# promtool, of Debian's (or Ubuntu's) package prometheus: unpacked into DIR, because the package would start a server.
#
#   fetch.sh DIR            DIR/usr/bin/promtool
set -eu
dir=${1:?usage: fetch.sh DIR}
[ ! -e "$dir/complete" ] || exit 0
mkdir -p "$dir"
cd "$dir"
# Two test programs may ask at the same time.
exec 9>lock
flock 9
[ ! -e complete ] || exit 0
set -- -q -o APT::Sandbox::User=root download prometheus
apt-get "$@" >fetch.log 2>&1 || { apt-get update -q >>fetch.log 2>&1 && apt-get "$@" >>fetch.log 2>&1; } ||
    { cat fetch.log >&2; echo "prometheus: apt could not download it" >&2; exit 1; }
dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool
rm prometheus_*.deb
touch complete
