#!/bin/bash
# `make fresh`: makes roots of Debian 12, Debian 13 and Ubuntu 24.04 with debootstrap, copies the committed tree into each,
# runs the commands of the README there, and prints a table. Root; a machine with network; an hour or two with the tests.
#
#   fresh.sh [DISTRIBUTION...]     bookworm trixie noble
#   COMMANDS="demo test"           which targets of make; each is run a second time to see what remains
#   PARTS="rust node"              of the tests only these parts; JOBS=2 as in make test
#   WHO="user root"                an ordinary user with sudo; root on a system without sudo
#   ROOTS=/var/tmp/mtasts-fresh    the bare roots, which are kept. A run changes a copy
set -euo pipefail
cd "$(dirname "$0")/../.."
die() { echo "fresh: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || die "needs root"
command -v debootstrap >/dev/null || die "needs debootstrap: apt-get install debootstrap"
roots=${ROOTS:-/var/tmp/mtasts-fresh}
mkdir -p "$roots"

# shellcheck source=tests/run/roots.sh
. tests/run/roots.sh

# one DISTRIBUTION WHO: in a namespace of its own, where it is mounted.
one() {
    local distribution=$1 who=$2 work=$roots/runs/$1-$2 root home name command begin status first again disk spoiled
    copied "$distribution" "$work"
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
        disk=$(($(du -sxm "$root" | cut -f 1) - $(du -sxm "$roots/$distribution" | cut -f 1)))
        # What the caller could neither change nor remove, in the checkout and elsewhere at home.
        spoiled=$(find "$root$home" -path '*/target/exim' -prune -o ! -user "$(stat -c %u "$root$home")" -print | wc -l)
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
            die "$distribution, $who: see $roots/runs"
        rm -rf "$roots/runs/$distribution-$who/root"
    done
done
