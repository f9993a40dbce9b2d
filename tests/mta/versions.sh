#!/bin/sh
# tests/mta.rs with the Postfix and the Sendmail of Debian 13: its base system is made by debootstrap below a directory,
# both are unpacked beside it, and the tests lay them over the machine's /usr. Nothing is installed on the machine, and
# nothing runs on it but apt in a chroot.
#
#   versions.sh DIR [TEST]        Debian 13 (Postfix 3.10, Sendmail 8.18)
#
# A second call finds the system and only tests. Needs root, debootstrap, and the archive of Debian.
set -eu

dir=${1:?usage: versions.sh DIR [TEST]} test=${2:-}
say() { echo "mta: $*" >&2; }
[ "$(id -u)" = 0 ] || { say "must run as root"; exit 1; }
command -v debootstrap >/dev/null || { say "debootstrap is missing: apt-get install debootstrap"; exit 1; }
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
root=$dir/trixie

if [ ! -e "$root/complete" ]; then
    say "making Debian 13"
    rm -rf "$root"
    debootstrap --variant=minbase trixie "$root" http://deb.debian.org/debian >"$dir/trixie.log"
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    cp "$here/fetch.sh" "$root/root/fetch.sh"
    # The C library is that of this system, and not that of the machine.
    sed -i '/ld-linux/d' "$root/root/fetch.sh"
    chroot "$root" /root/fetch.sh /mta postfix postfix
    chroot "$root" /root/fetch.sh /mta sendmail sendmail-bin sendmail-base sendmail-cf
    touch "$root/complete"
fi
say "Postfix $(cat "$root/mta/postfix/complete"), Sendmail $(cat "$root/mta/sendmail/complete")"
MTASTS_MTA=$root cargo test --test mta -- $test --nocapture
