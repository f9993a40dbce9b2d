#!/bin/sh
# tests/fleet.rs with the Valkey and the Redis of Debian 13: its base system is made by debootstrap below a directory, the servers
# are unpacked in it, and run with the C library from there. Nothing is installed on the machine.
#
#   versions.sh DIR [SERVER...]     valkey redis
#
# A second call finds the system and only tests. Needs root, debootstrap, and the archive of Debian.
set -eu

dir=${1:?usage: versions.sh DIR [SERVER...]}
shift
[ $# -gt 0 ] || set -- valkey redis
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
for server; do
    if [ ! -e "$root/fleet/$server/complete" ]; then
        cp /etc/resolv.conf "$root/etc/resolv.conf"
        cp "$mta/fetch.sh" "$root/root/fetch.sh"
        # The C library is that of this system, and not that of the machine.
        sed -i '/ld-linux/d' "$root/root/fetch.sh"
        chroot "$root" /root/fetch.sh /fleet "$server" "$server-server" "$server-tools"
    fi
    # The packages come in a tree of their own, and some of their libraries with the base system.
    lib=$(basename "$(dirname "$(echo "$root"/usr/lib/*/libc.so.6)")")
    mkdir -p "$dir/$server"
    for name in server cli; do
        program=$root/fleet/$server/usr/bin/$server-$name
        # By the name that the tests look for.
        cat >"$dir/$server/valkey-$name" <<END
#!/bin/sh
exec $(echo "$root"/usr/lib64/ld-linux*) --library-path $root/fleet/$server/usr/lib/$lib:$root/usr/lib/$lib $program "\$@"
END
        chmod 755 "$dir/$server/valkey-$name"
    done
    say "$server $(cat "$root/fleet/$server/complete")"
    MTASTS_VALKEY=$dir/$server cargo test --test fleet
done
