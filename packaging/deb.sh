#!/bin/bash
# `make deb`: builds the Debian packages of the committed tree (or of an unpacked release) into target/deb. Needs dpkg-dev, debhelper and a Rust of 1.89 or
# newer, from the distribution or on PATH; cargo takes the crates of Cargo.lock from its registry. With the tools and the
# crates of one day two builds have the same bits, in whatever directories.
#
#   deb.sh [OUT [BUILD]]     where the packages go, and where they are built
set -euo pipefail
cd "$(dirname "$0")/.."
say() { echo "deb: $*" >&2; }
die() { say "$*"; exit 1; }
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
out=$(realpath -m "${1:-$target/deb}")
build=$(realpath -m "${2:-$target/deb/build}")
[ "$(dpkg-parsechangelog -S Version)" = "$version-1" ] || die "debian/changelog has another version than Cargo.toml"

rm -rf "$build"
mkdir -p "$out" "$build/libmtasts-$version"
if [ -e .git ]; then
    git archive HEAD
else
    # The source of a release.
    tar --exclude=./target --exclude=node_modules -c .
fi | tar -x -C "$build/libmtasts-$version"
cd "$build/libmtasts-$version"

flags=()
if ! missing=$(dpkg-checkbuilddeps 2>&1); then
    # A Rust that no package has brought.
    rest=$(dpkg-checkbuilddeps -d "$(sed -n '/^Build-Depends:/,/^[A-Z]/p' debian/control | sed '/cargo\|rustc\|^Standards/d; s/^Build-Depends://')" 2>&1) ||
        die "$rest"
    command -v cargo >/dev/null || die "$missing"
    say "Rust is $(cargo --version) on PATH"
    flags+=(-d)
fi
# The time in the packages is that of debian/changelog, also when `make release` builds them.
unset CARGO_TARGET_DIR SOURCE_DATE_EPOCH
dpkg-buildpackage --build=binary --no-sign "${flags[@]}"
mv ../*.deb ../*.changes ../*.buildinfo "$out"
ls -l "$out"/*.deb
