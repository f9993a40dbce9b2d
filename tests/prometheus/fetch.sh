#!/bin/sh
# promtool, of Debian's (or Ubuntu's) package prometheus, or of its own from Debian 13 on: unpacked into DIR, because the first
# one would start a server.
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
rm -f ./*.deb
download() {
    for package in promtool prometheus; do
        ! apt-get -q -o APT::Sandbox::User=root download $package >>fetch.log 2>&1 || return 0
    done
    return 1
}
download || { apt-get update -q >>fetch.log 2>&1 && download; } ||
    { cat fetch.log >&2; echo "prometheus: apt could not download it" >&2; exit 1; }
dpkg-deb --fsys-tarfile ./*.deb | tar -x ./usr/bin/promtool
rm ./*.deb
touch complete
