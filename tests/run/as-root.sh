#!/bin/bash
# as-root.sh COMMAND...: runs a command as root, with the caller's environment. cargo starts the tests by this (its
# setting `runner`), so cargo itself stays the caller's. What a test builds belongs to the caller as well, who is named
# in MTASTS_BUILDER with his home (tests/kit/command.rs). Root's own home takes what a program leaves there: in the caller's
# it would be in his way, as in the cache of npm.
set -eu
[ "$(id -u)" != 0 ] || exec "$@"
mapfile -d '' -t environment < <(env -0)
exec sudo env "${environment[@]}" "HOME=$(getent passwd 0 | cut -d : -f 6)" \
    "CARGO_HOME=${CARGO_HOME:-$HOME/.cargo}" "RUSTUP_HOME=${RUSTUP_HOME:-$HOME/.rustup}" \
    "MTASTS_BUILDER=$(id -u):$(id -g):$HOME" "$@"
