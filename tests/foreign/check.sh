#!/bin/sh
# 32-bit: the library and the command compile for i386 and armhf, and the unit tests of `sys` pass as i386 programs,
# where the kernel of this machine runs such. There off_t, time_t and long are not what they are on a 64-bit machine.
#
#   check.sh DIR [TEST]...     the compiler, the libraries and what is built stay in DIR; TEST is a filter, by default sys::
#
# The standard library for a foreign machine fits one compiler alone. Debian has both of one build: rustc-web for this
# machine, libstd-rust-web-dev for the others. They are unpacked and not installed. Needs cargo, clang-19, ld and apt's
# archive of Debian; all but the unpacked files is left as it is.
set -eu

here=$(cd "$(dirname "$0")/../.." && pwd)
dir=${1:?usage: check.sh DIR [TEST]...}
shift
[ $# -gt 0 ] || set -- sys::
say() { echo "foreign: $*" >&2; }
die() { say "$*"; exit 1; }

[ "$(dpkg --print-architecture)" = amd64 ] || { say "only an amd64 machine is taken for this; nothing is checked"; exit 0; }
keys=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e $keys ] || die "$keys is missing: apt-get install debian-archive-keyring"
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
exec 9>"$dir/lock"
flock 9
log=$dir/log

# apt ARCHITECTURE PROGRAM ARGUMENT...: apt-get or apt-cache with lists of their own, as if nothing were installed here.
# Debian has this compiler in several suites; one of them may be renewed before the others.
apt() {
    architecture=$1 program=$2 state=$dir/apt/$1
    shift 2
    mkdir -p "$state/lists/partial" "$state/archives/partial"
    : >>"$state/status"
    for suite in "debian bookworm" "debian-security bookworm-security" "debian trixie"; do
        # What runs here has to do with an older C library.
        [ "$architecture $suite" = "amd64 debian trixie" ] || echo "deb [signed-by=$keys] http://deb.debian.org/$suite main"
    done >"$state/sources.list"
    "$program" -q -o APT::Architecture="$architecture" -o APT::Architectures::="$architecture" \
        -o Dir::State::lists="$state/lists" -o Dir::State::status="$state/status" -o Dir::Cache="$state" \
        -o Dir::Etc::sourcelist="$state/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o APT::Sandbox::User=root "$@"
}

# fetch ARCHITECTURE TREE PACKAGE...
fetch() {
    architecture=$1 tree=$2
    shift 2
    say "downloading $* ($architecture)"
    mkdir -p "$dir/debs" "$tree/usr/lib" "$tree/usr/bin"
    for name in lib bin; do ln -sfn usr/$name "$tree/$name"; done
    (cd "$dir/debs" && apt "$architecture" apt-get download "$@") >"$log" 2>&1 || { cat "$log" >&2; die "apt could not"; }
    for deb in "$dir"/debs/*.deb; do
        dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$tree" --keep-directory-symlink || die "cannot unpack $deb"
    done
    rm -rf "$dir/debs"
}

# of ARCHITECTURE UPSTREAM: the newest libstd-rust-web-dev whose version begins so.
of() {
    apt "$1" apt-cache madison libstd-rust-web-dev | sed -n "s/^[^|]*| *\($2[^ ]*\) *|.*/\1/p" | head -n 1
}

compiler=$dir/compiler
if [ ! -e "$dir/complete" ]; then
    rm -rf "$compiler" "$dir/i386" "$dir/armhf" "$dir/build" "$dir/debs"
    for architecture in amd64 i386 armhf; do
        # Where a list cannot be had now, another suite may do.
        apt $architecture apt-get update >"$log" 2>&1 || say "not all lists of $architecture could be had"
    done
    # The newest that there is for all three, and that runs with the C library of this machine: that of bookworm.
    version=
    for candidate in $(apt amd64 apt-cache madison rustc-web | sed -n 's/^[^|]*| *\([^ ]*~deb12[^ ]*\) *|.*/\1/p'); do
        upstream=${candidate%%~*}
        if [ -n "$(of i386 "$upstream")" ] && [ -n "$(of armhf "$upstream")" ]; then
            version=$candidate
            break
        fi
    done
    [ -n "$version" ] || die "Debian has no version of rustc-web for amd64, i386 and armhf at once"
    series=$(echo "$upstream" | cut -d . -f 1,2)
    llvm=$(apt amd64 apt-cache show "libstd-rust-web-$series=$version" | sed -n 's/^Depends:.*\(libllvm[0-9]*\).*/\1/p')
    # LLVM's libz3 is one that Ubuntu's LLVM does without.
    fetch amd64 "$compiler" "rustc-web=$version" "libstd-rust-web-$series=$version" "libstd-rust-web-dev=$version" "$llvm" libz3-4
    for architecture in i386 armhf; do
        fetch $architecture "$dir/$architecture" "libstd-rust-web-dev=$(of $architecture "$upstream")" \
            libc6 libc6-dev linux-libc-dev libgcc-s1 libgcc-12-dev
        cp -a "$dir/$architecture"/usr/lib/rustlib/*-linux-* "$compiler/usr/lib/rustlib/"
    done
    touch "$dir/complete"
fi

cat >"$dir/rustc" <<END
#!/bin/sh
LD_LIBRARY_PATH=$compiler/usr/lib/x86_64-linux-gnu\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH} exec $compiler/usr/bin/rustc "\$@"
END
chmod 755 "$dir/rustc"

export RUSTC="$dir/rustc" CARGO_TARGET_DIR="$dir/build" CARGO_INCREMENTAL=0
# Ring has C: headers come from the unpacked trees.
export CC_i686_unknown_linux_gnu="clang-19 --target=i686-linux-gnu --sysroot=$dir/i386"
export CC_armv7_unknown_linux_gnueabihf="clang-19 --target=armv7-linux-gnueabihf --sysroot=$dir/armhf"
# A test program finds the C library of the tree, wherever it is started.
loader="-Clink-arg=-Wl,--dynamic-linker=$dir/i386/usr/lib/ld-linux.so.2"
paths="-Clink-arg=-Wl,-rpath,$dir/i386/usr/lib/i386-linux-gnu"
export CARGO_TARGET_I686_UNKNOWN_LINUX_GNU_LINKER=clang-19
export CARGO_TARGET_I686_UNKNOWN_LINUX_GNU_RUSTFLAGS="-Clink-arg=--target=i686-linux-gnu -Clink-arg=--sysroot=$dir/i386 $loader $paths"

cd "$here"
for target in i686-unknown-linux-gnu armv7-unknown-linux-gnueabihf; do
    say "checking for $target"
    cargo check -q --locked --target $target --lib --features capi,fleet
    cargo check -q --locked --target $target --package mtasts-cli
done
say "building the unit tests for i386"
program=$(cargo test -q --locked --target i686-unknown-linux-gnu --lib --no-run --message-format=json-render-diagnostics |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -1)
[ -x "$program" ] || die "there is no test program"
if ! "$program" --list >/dev/null 2>&1; then
    say "the kernel of this machine runs no i386 programs; the tests are built and not run"
    exit 0
fi
"$here/tests/run/as-root.sh" "$program" "$@"
