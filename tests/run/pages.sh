#!/bin/bash
# `make pages`: the commands of the README and of the pages, as they are written, on a fresh system: an ordinary user with sudo
# builds and installs; then the system is started with systemd on the test Internet, and the same user sets up Exim, Postfix and
# the others (servers.sh); before that, root sets up the policy host (host.sh). Root; a machine with network and debootstrap; half an hour for a distribution.
#
#   pages.sh [DISTRIBUTION...]        bookworm trixie noble
#   CHAPTERS="install host ..."       in this order; programs and packages can be left out: they are four more builds
#   BUILT=target                      what is built there (`make`, and the command with the lab) is not built again
#   ROOTS=/var/tmp/mtasts-fresh       the bare roots, which are kept. A run changes a copy
set -euo pipefail
cd "$(dirname "$0")/../.."
die() { echo "pages: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || die "needs root"
command -v debootstrap >/dev/null || die "needs debootstrap: apt-get install debootstrap"
roots=${ROOTS:-/var/tmp/mtasts-fresh}
mkdir -p "$roots"
# shellcheck source=tests/run/roots.sh
. tests/run/roots.sh
# shellcheck source=tests/run/block.sh
. tests/run/block.sh

# as_user COMMANDS...: in the checkout. A login has no sbin on PATH, and sudo asks for no password.
as_user() {
    printf '%s\n' "$@" >&2
    in_root setpriv --reuid alice --regid alice --init-groups env -C /home/alice/libmtasts HOME=/home/alice USER=alice \
        PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 YES=1 "${environment[@]}" bash -euc "$(printf '%s\n' "$@")"
}

install() {
    if [ -n "${BUILT:-}" ]; then
        in_root apt-get install -q -y --no-install-recommends iproute2
        mkdir -p "$checkout/target/debug"
        cp -r "$BUILT/dist" "$checkout/target"
        cp "$BUILT/debug/mtasts" "$checkout/target/debug"
        in_root chown -R alice: /home/alice/libmtasts/target
        touch "$checkout"/target/dist/*
    else
        as_user "$(block CONTRIBUTING.md Build)"
    fi
    as_user "$(block README.md 'Install from source')"
    # The demo and the tests, which are the last two, are those of fresh.sh.
    [ "$(block README.md 'Demo and tests')" = "$(printf 'make demo\nmake test')" ] || die "README has other commands"
    # The mail servers that the pages are about, and what is not there without them.
    printf '%s\n' "exim4-config exim4/dc_eximconfig_configtype select internet site; mail is sent and received directly using SMTP" \
        "exim4-config exim4/mailname string sender.test" "exim4-config exim4/dc_local_interfaces string 127.0.0.1" \
        "postfix postfix/main_mailer_type select Internet Site" "postfix postfix/mailname string mail.sender.test" |
        in_root debconf-set-selections
    in_root DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends exim4-daemon-heavy systemd dbus acl
    in_root apt-get install -q -y --no-install-recommends --download-only postfix
}

servers() {
    in_root rm -f /usr/sbin/policy-rc.d
    in_root /home/alice/libmtasts/target/debug/mtasts lab run -- /home/alice/libmtasts/tests/run/boot.sh \
        /home/alice/libmtasts/tests/run/servers.sh
}

# For those who receive mail: in a network of its own, with an authority.
host() {
    in_root DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends pebble curl openssl bind9-dnsutils
    in_root unshare --net /home/alice/libmtasts/tests/run/boot.sh /home/alice/libmtasts/tests/run/host.sh
}

# For those who write programs, and have a compiler.
programs() {
    [ -z "${BUILT:-}" ] || as_user "make ready"
    as_user "cd examples/c" "$(block docs/c.md 'C and other languages')" "! ./deliver"
    as_user "$(block docs/lab.md 'The test Internet' | sed 's/your-mail-server/true/')"
    as_user "$(block docs/python.md Python)" "venv/bin/python -m mtasts --version"
    # As the directory of a Haraka.
    in_root install -d -o alice -g alice /srv/haraka /srv/haraka/config
    in_root useradd --system haraka
    # npm is that of `make ready`.
    as_user 'export PATH=$PWD/target/nodejs/run:$PATH' "$(block README.md Haraka)" \
        "cd /srv/haraka; node -e 'require(\"mtasts\").lookup'"
}

packages() {
    # They are built here in any case.
    [ -z "${BUILT:-}" ] || as_user "make ready"
    as_user "$(block docs/packages.md 'Debian and Ubuntu' | sed 's/ install / install -y /')"
}

# one DISTRIBUTION: in a namespace of its own, where it is mounted.
one() {
    local distribution=$1 work=$roots/runs/pages-$1 root checkout chapter begin status environment
    copied "$distribution" "$work"
    mapfile -t environment < <(surroundings)
    {
        # What is installed starts with the system.
        printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
        chmod +x "$root/usr/sbin/policy-rc.d"
        in_root apt-get update -q
        in_root DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends make ca-certificates sudo
    } >"$work/log" 2>&1 || { tail "$work/log" >&2; die "$distribution: apt-get"; }
    in_root useradd --create-home --shell /bin/bash alice
    echo 'alice ALL=(ALL:ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/alice"
    checkout=$root/home/alice/libmtasts
    mkdir "$checkout"
    git archive HEAD | tar -x -C "$checkout"
    in_root chown -R alice: /home/alice/libmtasts
    for chapter in ${CHAPTERS:-install host servers programs packages}; do
        begin=$SECONDS
        # Not in a condition, where `set -e` would have no effect.
        set +e
        (set -e; "$chapter") >"$work/$chapter.log" 2>&1 </dev/null
        status=$?
        set -e
        cp "$work/$chapter.log" "$roots/pages-$distribution-$chapter.log"
        [ $status = 0 ] && status=passed || status="FAILED: $(grep '^pages: ' "$work/$chapter.log" | tail -n 1 || :)"
        printf '| %s | %s | %s | %d s |\n' "$(. "$root/etc/os-release" && echo "$PRETTY_NAME")" "$chapter" "$status" $((SECONDS - begin))
    done
}

# Called again below, in the namespace.
if [ "${1:-}" = in-a-namespace ]; then
    one "$2"
    exit
fi
[ $# -gt 0 ] || set -- bookworm trixie noble
echo '| system | commands | result | time |'
echo '|---|---|---|---|'
for distribution; do
    bare "$distribution"
    ROOTS=$roots unshare --mount --uts --pid --fork --kill-child --propagation private "$0" in-a-namespace "$distribution" ||
        die "$distribution: see $roots/runs"
    rm -rf "$roots/runs/pages-$distribution"
done
