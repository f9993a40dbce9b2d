#!/bin/sh
# Uses the wheels of a release on x86-64, as far as they run here: foreign.sh WHEELS WORK MTASTS.
#
# glibc: Python imports the package and looks a domain up. musl: no archive has a Python for it, so a
# program in C looks a domain up with the library of the wheel, and the command of the wheel does. aarch64 is emulated.
# qemu, musl and Python come from Debian 13 and are unpacked, not installed. Needs apt's archive, and zig, which
# `make release` has fetched.
set -eu
wheels=$(cd "$1" && pwd)
mkdir -p "$2"
work=$(cd "$2" && pwd)
mtasts=$3
here=$(cd "$(dirname "$0")/.." && pwd)
keys=/usr/share/keyrings/debian-archive-keyring.gpg

apt() {
    apt-get -qq -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::Cache="$work/cache" \
        -o Dir::State::lists="$work/lists" -o Dir::State::status="$work/status" -o APT::Architecture=amd64 \
        -o APT::Architectures::=amd64 -o APT::Architectures::=arm64 -o Acquire::Languages=none -o APT::Sandbox::User=root "$@"
}

# unpack TREE PACKAGE...
unpack() {
    tree=$work/$1
    shift
    mkdir -p "$work/debs" "$tree/usr/lib" "$tree/usr/bin"
    for name in lib bin; do ln -sfn usr/$name "$tree/$name"; done
    (cd "$work/debs" && apt download "$@")
    for deb in "$work"/debs/*.deb; do
        dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$tree" --keep-directory-symlink
    done
    rm -r "$work/debs"
}

if [ ! -e "$work/fetched" ]; then
    rm -rf "$work"
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
    echo "deb [signed-by=$keys] http://deb.debian.org/debian trixie main" >"$work/sources.list"
    : >"$work/status"
    apt update
    unpack qemu qemu-user
    unpack x86_64 musl:amd64
    unpack aarch64 musl:arm64 python3.13-minimal:arm64 libpython3.13-minimal:arm64 libpython3.13-stdlib:arm64 libc6:arm64 \
        zlib1g:arm64 libexpat1:arm64 libssl3t64:arm64 libzstd1:arm64 libffi8:arm64 libgcc-s1:arm64 libbz2-1.0:arm64 liblzma5:arm64 libuuid1:arm64
    python3 -m venv "$work/zig"
    "$work/zig/bin/pip" install -q --disable-pip-version-check ziglang==0.17.1
    touch "$work/fetched"
fi
qemu=$work/qemu/usr/bin/qemu-aarch64

# Root's helper is another user, who has to find all this.
cat >"$work/look.py" <<'END'
import platform, sys
import mtasts

answer = mtasts.lookup("good.test")
assert answer.mode is mtasts.Mode.ENFORCE and answer.mx == ("mx.good.test",), answer
print(f"{platform.machine()}, Python {platform.python_version()}, mtasts {mtasts.__version__}: {answer.explanation}")
END

for wheel in "$wheels"/mtasts-*.whl; do
    case $wheel in
        *musllinux*x86_64*) machine=x86_64 run= ;;
        *musllinux*aarch64*) machine=aarch64 run=$qemu ;;
        *manylinux*aarch64*) machine=aarch64 run="$qemu -L $work/aarch64" ;;
        *manylinux*x86_64*) machine=x86_64 run= ;;
        *) continue ;;
    esac
    tree=$work/wheel
    rm -rf "$tree"
    python3 -m pip install -q --disable-pip-version-check --no-deps --target "$tree" \
        --only-binary :all: --platform "$(echo "$wheel" | sed 's/.*-none-\([^.]*\).*\.whl/\1/')" --python-version 3.13 "$wheel"
    library=$(echo "$tree"/mtasts/_native/*.so)
    command=$(find "$tree" -path '*/bin/mtasts' -o -path '*/scripts/mtasts' | head -n 1)
    echo "$(basename "$wheel"):"
    case $wheel in
        *musllinux*)
            loader=$(echo "$work/$machine"/usr/lib/*-linux-musl/libc.so)
            mkdir -p "$work/lib"
            cp "$library" "$work/lib/libmtasts.so.1"
            "$work/zig/bin/python" -m ziglang cc -target $machine-linux-musl -I "$here/../../include" \
                "$here/../../examples/c/deliver.c" "$work/lib/libmtasts.so.1" -o "$work/deliver"
            "$mtasts" lab run -- $run "$loader" --library-path "$work/lib" "$work/deliver" good.test mx.good.test
            # Zig has linked this one to its own musl.
            "$mtasts" lab run -- $run "$command" check good.test
            ;;
        *)
            for file in "$library" "$command"; do
                newest=$(grep -ao 'GLIBC_2\.[0-9]*' "$file" | sort -Vu | tail -n 1)
                if [ "$(printf '%s\n' "$newest" GLIBC_2.17 | sort -V | tail -n 1)" != GLIBC_2.17 ]; then
                    echo "$file needs $newest"
                    exit 1
                fi
            done
            python=python3 version=$(python3 -c 'import sys; print("%d%d" % sys.version_info[:2])')
            [ $machine = x86_64 ] || python=$work/aarch64/usr/bin/python3.13 version=313
            python3 -m pip install -q --disable-pip-version-check --target "$tree" --only-binary :all: \
                --platform manylinux_2_17_$machine --python-version $version --implementation cp --abi cp$version cffi dnspython
            PYTHONPATH=$tree "$mtasts" lab run -- $run "$python" "$work/look.py"
            "$mtasts" lab run -- $run "$command" check good.test
            ;;
    esac
done
