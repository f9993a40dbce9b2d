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

# apt ARCHITECTURE COMMAND...: with lists and packages of its own, as if nothing were installed here.
apt() {
    state=$dir/apt/$1
    architecture=$1
    shift
    mkdir -p "$state/lists/partial" "$state/archives/partial"
    : >>"$state/status"
    {
        for suite in $suites; do
            case $suite in *-security) archive=debian-security ;; *) archive=debian ;; esac
            echo "deb [signed-by=$keys] http://deb.debian.org/$archive $suite main"
        done
    } >"$state/sources.list"
    apt-get -qq -o APT::Architecture="$architecture" -o APT::Architectures::="$architecture" \
        -o Dir::State::lists="$state/lists" -o Dir::State::status="$state/status" -o Dir::Cache="$state" \
        -o Dir::Etc::sourcelist="$state/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Acquire::IndexTargets::deb::Packages::DefaultEnabled=true \
        -o Acquire::Languages=none -o APT::Sandbox::User=root "$@" >"$log" 2>&1
}

# fetch ARCHITECTURE TREE PACKAGE...
fetch() {
    architecture=$1 tree=$2
    shift 2
    say "downloading $* ($architecture)"
    rm -rf "$dir/debs"
    mkdir -p "$dir/debs" "$tree/usr/lib" "$tree/usr/bin"
    for name in lib bin; do ln -sfn usr/$name "$tree/$name"; done
    (cd "$dir/debs" && apt "$architecture" update && apt "$architecture" download "$@") || {
        cat "$log" >&2
        die "apt could not download them"
    }
    for deb in "$dir"/debs/*.deb; do
        dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$tree" --keep-directory-symlink || die "cannot unpack $deb"
    done
    rm -rf "$dir/debs"
}

compiler=$dir/compiler
if [ ! -e "$dir/complete" ]; then
    rm -rf "$compiler" "$dir/i386" "$dir/armhf" "$dir/build"
    # Compilers that run on this machine's C library.
    # shellcheck disable=SC1091
    suites=$(. /etc/os-release && echo "${VERSION_CODENAME}")
    suites="$suites $suites-security"
    fetch amd64 "$compiler" rustc-web libstd-rust-web-1.96 libstd-rust-web-dev libllvm22
    suites=trixie
    for architecture in i386 armhf; do
        fetch $architecture "$dir/$architecture" libstd-rust-web-dev libc6 libc6-dev linux-libc-dev libgcc-s1 libgcc-14-dev
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
    cargo check -q --locked --target $target --lib
    cargo check -q --locked --target $target --lib --bin mtasts --features cli
done
say "building the unit tests for i386"
program=$(cargo test -q --locked --target i686-unknown-linux-gnu --lib --no-run --message-format=json-render-diagnostics |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -1)
[ -x "$program" ] || die "there is no test program"
if ! "$program" --list >/dev/null 2>&1; then
    say "the kernel of this machine runs no i386 programs; the tests are built and not run"
    exit 0
fi
"$program" "$@"
