#!/bin/sh
# Packs the plugin, the package mtasts and its addon for this machine into a directory, and prints the tarballs.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
into=$1
node=$here/../../../node

addon=$into/addon
rm -rf "$addon"
mkdir -p "$addon"
cp "$node/mtasts.node" "$addon"
node -e '
const { version, license } = require(process.argv[1])
const { platform, arch } = process
const name = `@mtasts/${platform}-${arch}-gnu`
console.log(JSON.stringify({ name, version, license, main: "mtasts.node", os: [platform], cpu: [arch], libc: ["glibc"] }))
' "$node/package.json" >"$addon/package.json"

for package in "$addon" "$node" "$here/../.."; do
    (cd "$package" && npm pack --silent --pack-destination "$into" | sed "s|^|$into/|")
done
