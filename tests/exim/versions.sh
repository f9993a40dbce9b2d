#!/bin/sh
# The tests of tests/exim with the Exim of other distributions: a whole system of each is made by debootstrap below a
# directory, and tests/exim/host.sh lays its /usr over the machine's. Nothing is installed on the machine, and nothing runs
# on it but apt in a chroot.
#
#   versions.sh DIR [NAME...]      trixie (Exim 4.98), noble (4.97)
#
# A second call finds the systems and only tests. Needs root, debootstrap, and the archives of Debian and Ubuntu.
set -eu

dir=${1:?usage: versions.sh DIR [NAME...]}
shift
[ $# -gt 0 ] || set -- trixie noble
say() { echo "exim: $*" >&2; }
[ "$(id -u)" = 0 ] || { say "must run as root"; exit 1; }
command -v debootstrap >/dev/null || { say "debootstrap is missing: apt-get install debootstrap"; exit 1; }
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

make_system() {
    name=$1 root=$dir/$1
    rm -rf "$root"
    case $name in
        trixie)
            debootstrap --variant=minbase trixie "$root" http://deb.debian.org/debian >"$dir/$name.log" ;;
        noble)
            # Debian has no keyring of Ubuntu's. The system is used for these tests alone.
            keys=/usr/share/keyrings/ubuntu-archive-keyring.gpg
            if [ -e $keys ]; then check=--keyring=$keys; else check=--no-check-gpg; fi
            debootstrap $check --variant=minbase --components=main,universe noble "$root" \
                http://archive.ubuntu.com/ubuntu /usr/share/debootstrap/scripts/gutsy >"$dir/$name.log" ;;
        *) say "unknown system $name (trixie, noble)"; exit 1 ;;
    esac
    # No daemon starts.
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    chroot "$root" sh -ec '
        export DEBIAN_FRONTEND=noninteractive
        apt-get install -q -y --no-install-recommends exim4-daemon-heavy
        cd /root && apt-get download exim4-daemon-light
        dpkg-deb --fsys-tarfile exim4-daemon-light_*.deb | tar -xO ./usr/sbin/exim4 >/usr/sbin/exim4-light
        chmod 4755 /usr/sbin/exim4-light' >>"$dir/$name.log" 2>&1 || { tail -20 "$dir/$name.log" >&2; exit 1; }
    touch "$root/complete"
}

for name; do
    [ -e "$dir/$name/complete" ] || { say "making $name"; make_system "$name"; }
done
failed=
for name; do
    say "$name: $(chroot "$dir/$name" dpkg-query -W -f '${Package} ${Version}' exim4-daemon-heavy)"
    MTASTS_EXIM=$dir/$name cargo test --test exim || failed="$failed $name"
done
[ -z "$failed" ] || { say "failed:$failed"; exit 1; }
