#!/bin/sh
# Packs the plugin, the package mtasts and its addon for this machine into a directory, and prints the tarballs.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
into=$1
node=$here/../../../node

rm -rf "$into/addons" "$into/npm"
case $(uname -m) in aarch64) platform=linux-arm64-gnu ;; *) platform=linux-x64-gnu ;; esac
mkdir -p "$into/addons/$platform"
cp "$node/mtasts.node" "$into/addons/$platform"
make --silent -C "$node" pack ADDONS="$into/addons" OUT="$into/npm" >&2
(cd "$here/../.." && npm pack --silent --pack-destination "$into/npm" >&2)
ls "$into"/npm/*.tgz
