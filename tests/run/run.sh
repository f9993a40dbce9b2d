#!/bin/bash
# `make demo` and `make test`. Builds as the caller and asks for root only for what needs it.
#
#   run.sh ready [demo|test]   only looks at what is missing, and installs it after asking (YES=1: at once)
#   run.sh demo                a real Exim on the test Internet
#   run.sh test [PART]...      all parts, or some; a table at the end, and an exit status of 1 if a part failed
#   run.sh cargo ...           cargo as the caller, such as `cargo test --test exim`, and the tests as root
#
# Parts: rust programs arch node haraka python
set -euo pipefail
cd "$(dirname "$0")/../.."
here=$PWD/tests/run
say() { echo "$*" >&2; }
die() { say "$*"; exit 1; }

# Called as `sudo make demo`: what is built belongs to the caller anyway.
if [ "$(id -u)" = 0 ] && [ "${SUDO_UID:-0}" != 0 ] && [ "$(stat -c %u .)" = "$SUDO_UID" ]; then
    say "sudo is not needed in front: going on as $SUDO_USER"
    exec setpriv --reuid "$SUDO_UID" --regid "$SUDO_GID" --init-groups env HOME="$(getent passwd "$SUDO_UID" | cut -d : -f 6)" \
        USER="$SUDO_USER" LOGNAME="$SUDO_USER" SUDO_UID= "$0" "$@"
fi

# shellcheck source=tests/run/ready.sh
. "$here/ready.sh"

# root COMMAND...: as root. The password is asked for once, and kept valid as long as this runs.
root() {
    if [ "$(id -u)" != 0 ]; then
        if [ -z "${sudo_kept:-}" ]; then
            say "root is needed for $1: sudo"
            sudo -v
            while sleep 50 && kill -0 $$ 2>/dev/null; do sudo -n -v; done </dev/null >/dev/null 2>&1 &
            sudo_kept=$!
            trap 'kill $sudo_kept 2>/dev/null || :; hand_back' EXIT
        fi
    fi
    "$here/as-root.sh" "$@"
}

# What the tests have left in target/ belongs to the caller, who can then build again and clean up. Exim stays root's: it is
# set-uid, and is laid over the system's own files.
hand_back() {
    sudo -n find "${CARGO_TARGET_DIR:-target}" -path '*/target/exim' -prune -o -path target/exim -prune -o \
        -user root -exec chown -h "$(id -u):$(id -g)" {} + || :
}

# Tests run as root, cargo does not.
tests_as_root() {
    local host
    [ "$(id -u)" != 0 ] || return 0
    root true
    host=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
    export "CARGO_TARGET_${host}_RUNNER=$here/as-root.sh"
}

# The library that the demo's Exim loads; tests/kit/command.rs asks for the same.
library() { cargo rustc --locked --package mtasts --lib --features capi --crate-type cdylib; }

demo() {
    say "building the library, the test Internet and the demo"
    library
    cargo build --locked --package mtasts-kit --bin demo
    root "${CARGO_TARGET_DIR:-target}/debug/demo"
}

part_rust() {
    cargo build --locked --package mtasts-fuzz
    cargo build --locked --package mtasts-cli --features lab
    cargo build --locked --lib --features capi
    cargo test --locked --no-fail-fast
}
part_programs() {
    cargo test --locked --package mtasts-cli --package mtasts-lab --package mtasts-survey --features lab --no-fail-fast
}
part_arch() { make arch; }
part_node() { make node; }
part_haraka() { make haraka; }
part_python() { make python; }

# Each part is run, whatever became of the others.
run_parts() {
    local part begin status failed=0 table=
    TIMEFORMAT='%R %U %S'
    for part; do
        declare -F "part_$part" >/dev/null || die "no such part: $part (rust programs arch node haraka python)"
    done
    tests_as_root
    for part; do
        say "== $part"
        begin=$SECONDS
        status=passed
        # A function in a condition ignores `set -e`; a shell of its own does not.
        (set -e; "part_$part") & wait $! || status=FAILED
        [ $status = passed ] || failed=1
        table+=$(printf '%-10s %-7s %5d s' "$part" $status $((SECONDS - begin)))$'\n'
    done
    say ""
    printf '%s' "$table"
    printf '%-10s %-7s %5d s\n' all "$([ $failed = 0 ] && echo passed || echo FAILED)" $SECONDS
    return $failed
}

command=${1:?usage: run.sh ready|demo|test [PART]...}
shift
case $command in
ready) ready "${1:-test}" ;;
demo) ready demo && demo ;;
test)
    ready test
    [ $# -gt 0 ] || set -- rust programs arch node haraka python
    run_parts "$@"
    ;;
cargo) tests_as_root && cargo "$@" ;;
*) die "no such command: $command" ;;
esac
