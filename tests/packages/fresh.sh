#!/bin/bash
# `make packages-test`: installs the packages of `make deb` on fresh Debian 12, Debian 13 and Ubuntu 24.04, sends mail through
# the running Exim to the test Internet, upgrades under load, removes, installs again and purges (inside.sh). The same with
# Postfix and `mtasts serve`, where systemd runs (postfix.sh). Prints a table. lintian looks at them first, if it is there.
# Root; a machine with network and debootstrap; some minutes for each row.
#
#   fresh.sh [DISTRIBUTION...]     bookworm trixie noble
#   DEBS=target/deb                the packages. Build them on the oldest of the systems: they need its C library or a newer one
#   CONFIG="unsplit split postfix"  how Exim's configuration is kept; Postfix in place of Exim
#   ROOTS=/var/tmp/mtasts-fresh    the bare roots, which are kept. A run changes a copy
set -euo pipefail
cd "$(dirname "$0")/../.."
die() { echo "packages: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || die "needs root"
command -v debootstrap >/dev/null || die "needs debootstrap: apt-get install debootstrap"
roots=${ROOTS:-/var/tmp/mtasts-fresh}
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
debs=$(realpath "${DEBS:-$target/deb}")
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
mkdir -p "$roots"
# shellcheck source=tests/run/roots.sh
. tests/run/roots.sh

# newer IN OUT: the same packages as a later version, with a library of another name: what an upgrade brings.
newer() {
    local deb folder library
    rm -rf "$2"
    mkdir -p "$2"
    for deb in "$1"/*.deb; do
        folder=$2/$(basename "$deb" .deb)
        dpkg-deb -R "$deb" "$folder"
        sed -i "s/${version//./\\.}-1/$version-2/" "$folder/DEBIAN/control"
        for library in "$folder"/usr/lib/*/libmtasts.so."$version"; do
            [ -e "$library" ] || continue
            mv "$library" "$library-2"
            ln -sf "libmtasts.so.$version-2" "${library%".$version"}.1"
            sed -i "s/libmtasts.so.$version/&-2/" "$folder/DEBIAN/md5sums"
        done
        [ ! -e "$folder/etc/exim4/conf.d/retry/20_mtasts" ] || echo '# Version 2.' >>"$folder/etc/exim4/conf.d/retry/20_mtasts"
        dpkg-deb -b --root-owner-group "$folder" "$2" >/dev/null
        rm -rf "$folder"
    done
}

# with_exim, with_postfix: what happens in the system.
with_exim() {
    local split=true
    [ "$config" = split ] || split=false
    # Services start although there is no init system, as on a machine that runs.
    printf '#!/bin/sh\nexit 0\n' >"$root/usr/sbin/policy-rc.d"
    chmod +x "$root/usr/sbin/policy-rc.d"
    printf '%s\n' "exim4-config exim4/dc_eximconfig_configtype select internet site; mail is sent and received directly using SMTP" \
        "exim4-config exim4/use_split_config boolean $split" "exim4-config exim4/mailname string sender.test" \
        "exim4-config exim4/dc_local_interfaces string 127.0.0.1" |
        in_root debconf-set-selections
    in_root DEBIAN_FRONTEND=noninteractive sh -c 'apt-get install -q -y --no-install-recommends /root/packages/new/*.deb'
    in_root bash /root/packages/inside.sh installed "$config"
    in_root /root/packages/lab lab run -- bash /root/packages/inside.sh mail "$config"
}
with_postfix() {
    # What is installed starts with the system.
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod +x "$root/usr/sbin/policy-rc.d"
    printf '%s\n' "postfix postfix/main_mailer_type select Internet Site" "postfix postfix/mailname string mail.sender.test" |
        in_root debconf-set-selections
    in_root DEBIAN_FRONTEND=noninteractive sh -c \
        'apt-get install -q -y --no-install-recommends systemd dbus postfix /root/packages/new/mtasts_*.deb'
    rm "$root/usr/sbin/policy-rc.d"
    # Elsewhere the MX hosts of the test Internet listen.
    in_root postconf -e 'inet_interfaces = loopback-only'
    in_root /root/packages/lab lab run -- bash /root/packages/boot.sh bash /root/packages/postfix.sh
}

# one DISTRIBUTION CONFIG: in a namespace of its own, where it is mounted.
one() {
    local distribution=$1 config=$2 work=$roots/runs/packages-$1-$2 root mta=exim begin=$SECONDS status=passed
    [ "$config" != postfix ] || mta=postfix
    copied "$distribution" "$work"
    mkdir -p "$root/root/packages/new" "$root/root/packages/newer"
    cp "$debs"/*.deb "$root/root/packages/new"
    newer "$debs" "$root/root/packages/newer"
    cp "$target/debug/mtasts" "$root/root/packages/lab"
    cp tests/packages/inside.sh tests/packages/postfix.sh tests/run/boot.sh tests/run/block.sh "$root/root/packages"
    # Not in a condition, where `set -e` would have no effect.
    set +e
    (
        set -e
        in_root apt-get update -q
        # ip is the lab's. The rest comes with the packages.
        in_root DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends ca-certificates iproute2
        with_$mta
    ) >"$work/log" 2>&1 </dev/null
    [ $? = 0 ] || status="FAILED: $(grep '^inside: ' "$work/log" | tail -n 1)"
    set -e
    printf '| %s | %s | %s | %s | %s | %d s |\n' "$(. "$root/etc/os-release" && echo "$PRETTY_NAME")" \
        "$(in_root dpkg-query -W -f '${source:Package} ${Version}' ${mta/exim/exim4-config})" "$config" "$status" \
        "$(sed -n 's/^load: //p' "$work/log" | tail -n 1)" $((SECONDS - begin))
    cp "$work/log" "$roots/packages-$distribution-$config.log"
}

# Called again below, in the namespace.
if [ "${1:-}" = in-a-namespace ]; then
    one "$2" "$3"
    exit
fi
[ -e "$target/debug/mtasts" ] || die "needs the test Internet: cargo build --package mtasts-cli --features lab"
compgen -G "$debs/exim4-mtasts_*.deb" >/dev/null || die "needs the packages: make deb"
# Debian's own check of packages, where it is installed.
if command -v lintian >/dev/null; then
    lintian --allow-root --fail-on error --suppress-tags initial-upload-closes-no-bugs "$debs"/*.deb >&2 || die "lintian"
fi
[ $# -gt 0 ] || set -- bookworm trixie noble
echo '| system | mail server | configuration | result | mail during upgrades | time |'
echo '|---|---|---|---|---|---|'
for distribution; do
    bare "$distribution"
    for config in ${CONFIG:-unsplit split postfix}; do
        ROOTS=$roots DEBS=$debs unshare --mount --uts --pid --fork --kill-child --propagation private "$0" in-a-namespace \
            "$distribution" "$config" || die "$distribution, $config: see $roots/packages-$distribution-$config.log"
        rm -rf "$roots/runs/packages-$distribution-$config"
    done
done
