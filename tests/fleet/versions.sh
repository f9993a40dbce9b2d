#!/bin/sh
# tests/fleet.rs with the Valkey of Debian 13: its base system is made by debootstrap below a directory, the server is
# unpacked in it, and runs with the C library from there. Nothing is installed on the machine.
#
#   versions.sh DIR [TEST...]
#
# A second call finds the system and only tests. Needs root, debootstrap, and the archive of Debian.
set -eu

dir=${1:?usage: versions.sh DIR [TEST...]}
shift
say() { echo "fleet: $*" >&2; }
[ "$(id -u)" = 0 ] || { say "must run as root"; exit 1; }
command -v debootstrap >/dev/null || { say "debootstrap is missing: apt-get install debootstrap"; exit 1; }
mta=$(cd "$(dirname "$0")/../mta" && pwd)
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
root=$dir/trixie

if [ ! -e "$root/complete" ]; then
    say "making Debian 13"
    rm -rf "$root"
    debootstrap --variant=minbase trixie "$root" http://deb.debian.org/debian >"$dir/trixie.log"
    touch "$root/complete"
fi
if [ ! -e "$root/fleet/valkey/complete" ]; then
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    cp "$mta/fetch.sh" "$root/root/fetch.sh"
    # The C library is that of this system, and not that of the machine.
    sed -i '/ld-linux/d' "$root/root/fetch.sh"
    chroot "$root" /root/fetch.sh /fleet valkey valkey-server valkey-tools
fi
# The packages come in a tree of their own, and some of their libraries with the base system.
lib=$(basename "$(dirname "$(echo "$root"/usr/lib/*/libc.so.6)")")
for name in server cli; do
    program=$root/fleet/valkey/usr/bin/valkey-$name
    cat >"$dir/valkey-$name" <<END
#!/bin/sh
exec $(echo "$root"/usr/lib64/ld-linux*) --library-path $root/fleet/valkey/usr/lib/$lib:$root/usr/lib/$lib $program "\$@"
END
    chmod 755 "$dir/valkey-$name"
done
say "Valkey $(cat "$root/fleet/valkey/complete")"
[ $# -gt 0 ] || set -- --test fleet
MTASTS_VALKEY=$dir cargo test "$@"
