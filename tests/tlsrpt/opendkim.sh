#!/bin/sh
# Debian's OpenDKIM: unpacked into DIR with the libraries that this machine lacks, nothing is installed.
#
#   opendkim.sh DIR         LD_LIBRARY_PATH=$(cat DIR/libraries) DIR/root/usr/sbin/opendkim -x CONFIG -t MAIL
set -eu
dir=${1:?usage: opendkim.sh DIR}
[ ! -e "$dir/complete" ] || exit 0
mkdir -p "$dir/debs/partial"
cd "$dir"
exec 9>lock
flock 9
[ ! -e complete ] || exit 0
apt-get -q -y --no-install-recommends --download-only -o Dir::Cache::archives="$PWD/debs" -o Debug::NoLocking=1 \
    -o APT::Sandbox::User=root install opendkim >fetch.log 2>&1 ||
    { cat fetch.log >&2; echo "opendkim: apt could not download it" >&2; exit 1; }
for deb in debs/*.deb; do dpkg-deb -x "$deb" root; done
find "$PWD/root" -name 'lib*.so.*' -printf '%h\n' | sort -u | paste -s -d : >libraries
touch complete
