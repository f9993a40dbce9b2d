#!/bin/sh
# A private MTA: unpacks Debian's (or Ubuntu's) packages, and what they need that this machine lacks, into DIR/NAME. Nothing
# is installed, no maintainer script runs, no daemon starts.
#
#   fetch.sh DIR NAME PACKAGE...
#
# The tree is to be laid over the machine's own /usr, /etc and /var in a private mount namespace (tests/mta/*.sh). A second
# call finds the tree and returns at once; remove DIR to begin anew. Needs root and apt.
set -eu

dir=${1:?usage: fetch.sh DIR NAME PACKAGE...} name=${2:?} package=${3:?}
shift 2
say() { echo "$name: $*" >&2; }
die() { say "$*"; exit 1; }

[ -e "$dir/$name/complete" ] && exit 0
[ "$(id -u)" = 0 ] || die "must run as root"
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
# Two test programs may ask at the same time.
exec 9>"$dir/$name.lock"
flock 9
[ -e "$dir/$name/complete" ] && exit 0

say "downloading $*"
rm -rf "$dir/$name" "$dir/$name.debs"
mkdir -p "$dir/$name.debs/partial"
for attempt in lists-as-they-are updated; do
    # --reinstall: also what this machine has. NoLocking: only an archive folder of our own is written.
    apt-get install --reinstall --download-only --yes --no-install-recommends -o Debug::NoLocking=1 \
        -o APT::Sandbox::User=root -o Dir::Cache::archives="$dir/$name.debs" "$@" >"$dir/$name.log" 2>&1 && break
    [ $attempt = lists-as-they-are ] || { cat "$dir/$name.log" >&2; die "apt could not download $*"; }
    apt-get update >/dev/null 2>&1 || true
done
# On a merged /usr, so that the tree can be laid over one.
mkdir -p "$dir/$name/usr/bin" "$dir/$name/usr/sbin" "$dir/$name/usr/lib"
for folder in bin sbin lib; do ln -sfn "usr/$folder" "$dir/$name/$folder"; done
for deb in "$dir/$name.debs"/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$dir/$name" --keep-directory-symlink || die "cannot unpack $deb"
done
# A C library of another version than the running one would break every program under the overlay.
[ -z "$(find "$dir/$name" -name 'ld-linux*')" ] || die "apt wants another libc6 for $name: run apt-get upgrade first"
dpkg-deb -f "$dir/$name.debs/$package"_*.deb Version >"$dir/$name/complete.new"
mv "$dir/$name/complete.new" "$dir/$name/complete"
