#!/bin/bash
# `make fresh`: makes roots of Debian 12, Debian 13 and Ubuntu 24.04 with debootstrap, copies the committed tree into each,
# runs the commands of the README there, and prints a table. Root; a machine with network; an hour or two with the tests.
#
#   fresh.sh [DISTRIBUTION...]     bookworm trixie noble
#   COMMANDS="demo test"           which targets of make; each is run a second time to see what remains
#   PARTS="rust node"              of the tests only these parts
#   WHO="user root"                an ordinary user with sudo; root on a system without sudo
#   ROOTS=/var/tmp/mtasts-fresh    the bare roots, which are kept. A run changes an overlay and leaves nothing
set -euo pipefail
cd "$(dirname "$0")/../.."
die() { echo "fresh: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || die "needs root"
command -v debootstrap >/dev/null || die "needs debootstrap: apt-get install debootstrap"
roots=${ROOTS:-/var/tmp/mtasts-fresh}
mkdir -p "$roots"

# The certificates and proxies without which this machine reaches no server.
surroundings() { env | grep -E '^([A-Za-z_]*_proxy|[A-Z_]*_PROXY|SSL_CERT_FILE|CARGO_HTTP_CAINFO|PIP_CERT|NODE_EXTRA_CA_CERTS|PARTS)=' || :; }

bare() {
    [ ! -e "$roots/$1/complete" ] || return 0
    rm -rf "${roots:?}/$1"
    case $1 in
    bookworm | trixie) debootstrap --variant=minbase "$1" "$roots/$1" http://deb.debian.org/debian ;;
    noble)
        # Debian has neither the script nor the key. The key comes by HTTPS.
        local archive=https://archive.ubuntu.com/ubuntu keys=$roots/ubuntu-keyring file
        file=$(curl -fsL $archive/dists/noble/main/binary-amd64/Packages.xz | xzcat |
            awk '$1 == "Package:" { name = $2 } $1 == "Filename:" && name == "ubuntu-keyring" { print $2 }')
        curl -fsL -o "$keys.deb" "$archive/$file"
        dpkg-deb -x "$keys.deb" "$keys"
        debootstrap --variant=minbase --keyring="$keys/usr/share/keyrings/ubuntu-archive-keyring.gpg" \
            noble "$roots/noble" http://archive.ubuntu.com/ubuntu /usr/share/debootstrap/scripts/gutsy
        ;;
    *) die "bookworm, trixie or noble, not $1" ;;
    esac >"$roots/$1.log" 2>&1 || { tail "$roots/$1.log" >&2; die "debootstrap $1"; }
    # What an installed system has and debootstrap does not: updates and security.
    case $1 in
    noble) for suite in noble noble-updates noble-security; do
        echo "deb http://archive.ubuntu.com/ubuntu $suite main universe"
    done ;;
    *)
        echo "deb http://deb.debian.org/debian $1 main"
        echo "deb http://deb.debian.org/debian $1-updates main"
        echo "deb http://deb.debian.org/debian-security $1-security main"
        ;;
    esac >"$roots/$1/etc/apt/sources.list"
    touch "$roots/$1/complete"
}

# one DISTRIBUTION WHO: in a namespace of its own, where the overlay is mounted.
one() {
    local distribution=$1 who=$2 work=$roots/work/$1-$2 root home name command begin status first again disk spoiled
    rm -rf "$work"
    mkdir -p "$work"/{upper,work,root}
    root=$work/root
    mount -t overlay fresh -o "lowerdir=$roots/$distribution,upperdir=$work/upper,workdir=$work/work" "$root"
    mount -t proc proc "$root/proc"
    mount --rbind /sys "$root/sys"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs -o mode=755 run "$root/run"
    mount -t tmpfs tmp "$root/tmp"
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    mkdir -p "$root/usr/local/share/ca-certificates"
    cp -r /usr/local/share/ca-certificates/. "$root/usr/local/share/ca-certificates"
    hostname fresh
    echo 127.0.1.1 fresh >>"$root/etc/hosts"
    # Not chroot: a process that enters another mount namespace, as the tests do, would leave it.
    in_root() {
        unshare --mount --propagation private sh -c 'cd "$0" && pivot_root . . && umount -l . && cd / && exec "$@"' "$root" \
            env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
    }
    # README: "needs make". And the user's sudo.
    local packages=(make ca-certificates)
    [ "$who" = root ] || packages+=(sudo)
    {
        in_root apt-get update -q
        in_root DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${packages[@]}"
    } >"$work/log" 2>&1 || { tail "$work/log" >&2; die "$distribution: apt-get install ${packages[*]}"; }
    name=root home=/root
    if [ "$who" = user ]; then
        name=alice home=/home/alice
        in_root useradd --create-home --shell /bin/bash alice
        echo 'alice ALL=(ALL:ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/alice"
    fi
    mkdir "$root$home/libmtasts"
    git archive HEAD | tar -x -C "$root$home/libmtasts"
    in_root chown -R "$name:" "$home/libmtasts"
    mapfile -t environment < <(surroundings)
    as_user() {
        in_root setpriv --reuid "$name" --regid "$name" --init-groups env -C "$home/libmtasts" HOME="$home" USER="$name" \
            LANG=C.UTF-8 "${environment[@]}" "$@" </dev/null
    }
    for command in ${COMMANDS:-demo test}; do
        begin=$SECONDS
        status=passed
        as_user make "$command" YES=1 >"$work/$command.log" 2>&1 || status=FAILED
        first=$((SECONDS - begin))
        begin=$SECONDS
        again=-
        if [ "$command" = demo ] && [ $status = passed ]; then
            as_user make demo >"$work/again.log" 2>&1 || status=FAILED
            again=$((SECONDS - begin))
        fi
        disk=$(du -sm "$work/upper" | cut -f 1)
        # What the caller could neither change nor remove.
        spoiled=$(find "$root$home/libmtasts" -path '*/target/exim' -prune -o ! -user "$(stat -c %u "$root$home")" -print | wc -l)
        printf '| %s | %s | `make %s` | %s | %d s | %s s | %d MB | %d |\n' \
            "$(. "$root/etc/os-release" && echo "$PRETTY_NAME")" "$who" "$command" "$status" "$first" "$again" "$disk" "$spoiled"
        [ $status = passed ] || cp "$work/$command.log" "$roots/FAILED-$distribution-$who-$command.log"
    done
}

# Called again below, in the namespace.
if [ "${1:-}" = in-a-namespace ]; then
    one "$2" "$3"
    exit
fi
[ $# -gt 0 ] || set -- bookworm trixie noble
echo '| system | who | command | result | first time | again | disk | files of others |'
echo '|---|---|---|---|---|---|---|---|'
for distribution; do
    bare "$distribution"
    for who in ${WHO:-user root}; do
        ROOTS=$roots unshare --mount --uts --pid --fork --kill-child --propagation private "$0" in-a-namespace "$distribution" "$who" ||
            die "$distribution, $who: see $roots/work"
        rm -rf "$roots/work/$distribution-$who/upper" "$roots/work/$distribution-$who/work"
    done
done
