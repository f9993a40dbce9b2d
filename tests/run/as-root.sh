#!/bin/bash
# as-root.sh COMMAND...: runs a command as root, with the caller's environment. cargo starts the tests by this (its
# setting `runner`), so cargo itself stays the caller's. What a test builds belongs to the caller as well, who is named
# in MTASTS_BUILDER (tests/kit/command.rs).
set -eu
[ "$(id -u)" != 0 ] || exec "$@"
mapfile -d '' -t environment < <(env -0)
exec sudo env "${environment[@]}" "MTASTS_BUILDER=$(id -u):$(id -g)" "$@"
