# shellcheck shell=bash
# Fresh systems of debootstrap, for fresh.sh and tests/packages/fresh.sh. Sourced by them; `roots` is where they are.

# The certificates and proxies without which this machine reaches no server, and which parts of the tests are wanted.
surroundings() { env | grep -E '^([A-Za-z_]*_proxy|[A-Z_]*_PROXY|SSL_CERT_FILE|CARGO_HTTP_CAINFO|PIP_CERT|NODE_EXTRA_CA_CERTS|PARTS|JOBS)=' || :; }

# bare DISTRIBUTION: makes the root, unless it is there.
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

# copied DISTRIBUTION WORK: copies the system into WORK, and says with $root where. In a namespace of one's own. No overlay:
# the tests lay one over /etc within another, and the kernel has no third one below.
copied() {
    rm -rf "$2"
    mkdir -p "$2"
    root=$2/root
    cp -a --reflink=auto "$roots/$1" "$root"
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount --rbind /sys "$root/sys"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs -o mode=755 run "$root/run"
    mount -t tmpfs -o mode=1777 tmp "$root/tmp"
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    mkdir -p "$root/usr/local/share/ca-certificates"
    cp -r /usr/local/share/ca-certificates/. "$root/usr/local/share/ca-certificates"
    hostname fresh
    echo fresh >"$root/etc/hostname"
    echo 127.0.1.1 fresh >>"$root/etc/hosts"
}

# in_root COMMAND...: not by chroot, which a process that enters another mount namespace, as the tests do, would leave.
in_root() {
    unshare --mount --propagation private sh -c 'cd "$0" && pivot_root . . && umount -l . && cd / && exec "$@"' "$root" \
        env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}
