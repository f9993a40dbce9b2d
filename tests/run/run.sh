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
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
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
    sudo -n find "$target" bindings -path "$PWD/target/exim" -prune -o \
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
library() { cargo rustc --locked --package mtasts --lib --features capi,fleet --crate-type cdylib; }

demo() {
    say "building the library, the test Internet and the demo"
    library
    cargo build --locked --package mtasts-kit --bin demo
    root "$target/debug/demo"
}

part_rust() {
    cargo build --locked --package mtasts-fuzz
    cargo build --locked --package mtasts-cli --features lab
    cargo build --locked --lib --features capi,fleet
    cargo test --locked --no-fail-fast
}
part_programs() {
    cargo test --locked --package mtasts-cli --package mtasts-lab --package mtasts-survey --package mtasts-serve --features lab --no-fail-fast
}
# i386 and armhf compile, and the tests of what depends on the size of numbers pass on i386.
part_arch() { tests/foreign/check.sh "$target/foreign"; }
# The npm package. Its tools come from npm and stay in bindings/node/test.
part_node() {
    cargo build --locked --package mtasts-cli --features lab
    make -C bindings/node test TARGET="$target"
}
# A real Haraka with the plugin. Haraka comes from npm and stays in target/.
part_haraka() {
    cd bindings/haraka
    npm ci --prefix test --ignore-scripts --no-audit --no-fund
    npm run lint
    npm run prettier
    npm test
}
# A wheel, and its tests in each Python that is found.
part_python() {
    cargo build --locked --package mtasts-cli --features lab
    make -C bindings/python test CARGO_TARGET_DIR="$target"
}

# one PART: runs it, and notes what became of it.
one() {
    local begin=$SECONDS status=passed
    say "== $1"
    # No pipe: a server that a failed test has left behind would hold it open, and nobody would come to the end.
    : >"$logs/$1"
    (set -e; "part_$1") >"$logs/$1" 2>&1 &
    tail -n +1 -f --pid=$! "$logs/$1"
    wait $! || status=FAILED
    # The second line is what the children of this shell have used of the processors.
    times >"$results/.times"
    awk -v part="$1" -v status=$status -v seconds=$((SECONDS - begin)) 'NR == 2 {
        for (i = 1; i <= 2; i++) { split($i, time, /[ms]/); cpu += 60 * time[1] + time[2] }
        printf "%-10s %-7s %6d s %6d s\n", part, status, seconds, cpu
    }' "$results/.times" >"$results/$1"
}

# failures PART: the lines of a failed part that name a failure, and its last ones: thousands of lines follow them.
failures() {
    echo "== $1 failed:"
    {
        # What a panic says stands below its place.
        awk '/panicked at/ { more = 5 }
            (more-- > 0 || /^(FAILED|ERROR|E  ) |\.\.\. FAILED|^ *not ok|✖|: failed$|^error/) && !seen[$0]++' "$logs/$1" | tail -n 40
        tail -n 15 "$logs/$1"
    } | cut -c 1-300
}

# Each part is run, whatever became of the others; with JOBS=2 the first two beside the rest. A part has a shell of its own.
run_parts() {
    local part lane first=() rest=()
    results=$(mktemp -d)
    logs=$(mktemp -d)
    for part; do
        declare -F "part_$part" >/dev/null || die "no such part: $part (rust programs arch node haraka python)"
        case $part in rust | programs) first+=("$part") ;; *) rest+=("$part") ;; esac
    done
    tests_as_root
    # What runs in the background ignores Ctrl-C.
    trap 'trap - INT; kill 0' INT
    if [ "${JOBS:-1}" -gt 1 ]; then
        (for part in "${first[@]}"; do (one "$part") 2>&1 | sed -u "s/^/$part: /"; done) & lane=$!
        (for part in "${rest[@]}"; do (one "$part") 2>&1 | sed -u "s/^/$part: /"; done)
        wait $lane
    else
        for part; do (one "$part"); done
    fi
    say ""
    for part; do ! grep -q FAILED "$results/$part" || failures "$part"; done
    printf '%-10s %-7s %8s %8s\n' part result time cpu
    for part; do cat "$results/$part"; done
    printf '%-10s %-7s %6d s\n' all "$(grep -q FAILED "$results"/* && echo FAILED || echo passed)" $SECONDS
    ! grep -q FAILED "$results"/*
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
