#!/bin/bash
# `make reproducible`: builds the Debian packages of the committed tree a second time, in another directory, with another home,
# umask, time zone and language, and compares them with those of `make deb`. The tools and the crates are the same.
#
#   reproducible.sh [DEBS]     packages of this commit, by default target/deb; they are built if there are none
set -euo pipefail
cd "$(dirname "$0")/.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
first=$(realpath -m "${1:-$target/deb}")
compgen -G "$first/*.deb" >/dev/null || packaging/deb.sh "$first"

elsewhere=$(mktemp -d)
trap 'rm -rf "$elsewhere"' EXIT
mkdir "$elsewhere/home"
# The tools stay where they are. The crates are found by another path, which panics would name.
export RUSTUP_HOME=${RUSTUP_HOME:-$HOME/.rustup}
ln -s "${CARGO_HOME:-$HOME/.cargo}" "$elsewhere/crates"
(
    umask 027
    HOME=$elsewhere/home CARGO_HOME=$elsewhere/crates TZ=Pacific/Kiritimati LC_ALL=C.UTF-8 \
        packaging/deb.sh "$elsewhere/debs" "$elsewhere/another/directory"
)
status=0
for deb in "$elsewhere"/debs/*.deb; do
    if cmp "$deb" "$first/$(basename "$deb")"; then
        echo "$(basename "$deb"): the same bits"
    else
        status=1
    fi
done
[ $status = 0 ] || { trap - EXIT; echo "the second build is in $elsewhere" >&2; }
exit $status
