#!/bin/sh
# A private Exim: unpacks Debian's (or Ubuntu's) exim4-daemon-heavy, and the shared libraries which this machine lacks,
# into a directory. Nothing is installed, no maintainer script runs, no daemon starts: the machine stays as it was.
#
#   fetch.sh DIR            DIR/gnutls: the packages as they are (Exim with GnuTLS)
#   fetch.sh DIR openssl    also DIR/openssl: the same source with OpenSSL (about 30 seconds of compiler time)
#   fetch.sh DIR light      also DIR/light: exim4-daemon-light, which has no dlfunc
#
# They are trees to be laid over the machine's own /usr, /etc and /var in a private mount namespace (tests/exim/host.sh).
# A second call finds the trees and returns at once; remove DIR to begin anew. Needs root and apt.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
dir=${1:?usage: fetch.sh DIR [openssl]}
flavour=${2:-gnutls}
say() { echo "exim: $*" >&2; }
die() { say "$*"; exit 1; }

case $flavour in gnutls|openssl|light) ;; *) die "unknown flavour $flavour (gnutls, openssl, light)" ;; esac
# whole FLAVOUR: complete, and as it was unpacked. A `chown -R` over the checkout takes the files from root, and from Exim
# its set-uid bit.
whole() {
    exim=$dir/$1/usr/sbin/exim4
    [ -e "$dir/$1/complete" ] && { [ "$(id -u)" != 0 ] || { [ -u "$exim" ] && [ -O "$exim" ]; }; }
}

whole "$flavour" && exit 0
[ "$(id -u)" = 0 ] || die "must run as root: apt downloads, and the binary is set-uid root"
command -v apt-get >/dev/null || die "needs apt (Debian or Ubuntu)"

mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
# Two test programs may ask at the same time.
exec 9>"$dir/lock"
flock 9
for tree in gnutls openssl light; do
    if [ -e "$dir/$tree/complete" ] && ! whole $tree; then
        say "$dir/$tree belongs to another user or has lost its set-uid bit: it is given back to root"
        chown -R -h 0:0 "$dir/$tree"
        chmod 4755 "$dir/$tree/usr/sbin/exim4"
    fi
done
whole "$flavour" && exit 0
log=$dir/fetch.log

# download FOLDER PACKAGE...: the packages and whatever they need that is not installed here.
download() {
    folder=$1; shift
    mkdir -p "$folder/partial"
    for attempt in lists-as-they-are updated; do
        # --reinstall: also what this machine has. NoLocking: only an archive folder of our own is written.
        if apt-get install --reinstall --download-only --yes --no-install-recommends \
            -o Debug::NoLocking=1 -o APT::Sandbox::User=root -o Dir::Cache::archives="$folder" "$@" >"$log" 2>&1
        then return; fi
        [ $attempt = updated ] || apt-get update >/dev/null 2>&1 || true
    done
    cat "$log" >&2
    die "apt could not download $*"
}

# unpack FOLDER TREE: all packages of FOLDER, on a merged /usr so that the tree can be laid over one.
unpack() {
    mkdir -p "$2/usr/bin" "$2/usr/sbin" "$2/usr/lib"
    for name in bin sbin lib; do ln -sfn "usr/$name" "$2/$name"; done
    for deb in "$1"/*.deb; do
        dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$2" --keep-directory-symlink || die "cannot unpack $deb"
    done
}

if [ ! -e "$dir/gnutls/complete" ]; then
    say "downloading exim4-daemon-heavy"
    rm -rf "$dir/gnutls" "$dir/debs"
    download "$dir/debs" exim4-daemon-heavy exim4-base exim4-config
    unpack "$dir/debs" "$dir/gnutls"
    # A C library of another version than the running one would break every program under the overlay.
    [ -z "$(find "$dir/gnutls" -name 'ld-linux*')" ] || die "apt wants another libc6 for Exim: run apt-get upgrade first"
    dpkg-deb -f "$dir"/debs/exim4-daemon-heavy_*.deb Version >"$dir/gnutls/complete"
fi
version=$(cat "$dir/gnutls/complete")
if [ "$flavour" = light ]; then
    say "downloading exim4-daemon-light"
    rm -rf "$dir/light" "$dir/debs-light"
    download "$dir/debs-light" "exim4-daemon-light=$version"
    mkdir -p "$dir/debs-light/alone"
    mv "$dir"/debs-light/exim4-daemon-light_*.deb "$dir/debs-light/alone"
    unpack "$dir/debs-light/alone" "$dir/light"
    echo "$version" >"$dir/light/complete"
fi
[ "$flavour" = openssl ] || exit 0

say "building Exim $version with OpenSSL"
for tool in dpkg-source make cc perl; do
    command -v $tool >/dev/null || die "$tool is missing: apt-get install build-essential"
done
work=$dir/build
rm -rf "$work" "$dir/openssl"
mkdir -p "$work/sources" "$work/lists/partial" "$work/debs"

# Source entries of the archive that the binary came from; the machine's own lists stay untouched.
archive=$(apt-cache madison exim4-daemon-heavy | awk -v v="$version" -F ' *[|] *' '$2 == v { split($3, w, " "); print w[1] }')
for uri in $archive; do
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
        [ -e "$file" ] && grep -qF "$uri" "$file" || continue
        case $file in
            *.sources) sed 's/^Types:.*/Types: deb-src/' "$file" ;;
            *.list) grep -F "$uri" "$file" | sed -n 's/^deb /deb-src /p' ;;
        esac >"$work/sources/${file##*/}"
    done
done
set -- -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$work/sources" \
    -o Dir::State::lists="$work/lists" -o Dir::Cache="$work" -o APT::Sandbox::User=root
cd "$work"
if ! { apt-get "$@" update && apt-get "$@" source --download-only "exim4=$version"; } >"$log" 2>&1; then
    # A mirror that has the packages and not all of their source.
    if ! apt-get "$@" source --download-only --tar-only "exim4=$version" >>"$log" 2>&1; then
        cat "$log" >&2
        die "apt could not download the source of exim4 $version"
    fi
    say "the archive lacks Debian's patches: this is Exim as it was released"
fi
description=$(find . -maxdepth 1 -name 'exim4_*.dsc')
if [ -n "$description" ]; then
    dpkg-source --no-check -x "$description" exim >"$log" 2>&1 || { cat "$log" >&2; die "dpkg-source failed"; }
else
    mkdir exim
    tar -x -f exim4_*.orig.tar.[gx]z -C exim --strip-components 1
    mkdir -p exim/Local
fi

download "$work/debs" libssl-dev libpcre2-dev libdb-dev
unpack "$work/debs" "$work/root"
arch=$(dpkg-architecture -qDEB_HOST_MULTIARCH)
# What the machine has itself has not been downloaded: those libraries are linked, and not the static ones beside them, which
# may want others.
find "$work/root/usr/lib/$arch" -xtype l -name '*.so' | while read -r link; do
    ln -sf "/usr/lib/$arch/$(basename "$(readlink "$link")")" "$link"
done
{
    cat "$here/openssl.mk"
    echo "INCLUDE=-I$work/root/usr/include -I$work/root/usr/include/$arch"
    echo "LFLAGS=-L$work/root/usr/lib/$arch"
} >"$work/exim/Local/Makefile"
if ! make -C "$work/exim" -j2 exim >"$log" 2>&1; then
    tail -30 "$log" >&2
    die "Exim did not build, see $log"
fi
mkdir -p "$dir/openssl/usr/sbin"
install -m 4755 "$work"/exim/build-*/exim "$dir/openssl/usr/sbin/exim4"
echo "$version" >"$dir/openssl/complete"
rm -rf "$work"
