#!/bin/sh
# Prints CARGO_ENCODED_RUSTFLAGS for what is shipped: the caller's own flags, and other names for the directories of this
# machine, whose paths would otherwise stand in the binaries with every message of a panic: a builder's home is nobody's
# business, and two machines make the same. All Makefiles and the Python package ask here, so that they can share what is
# built. (Where flags stand in a file of cargo's configuration, cargo goes by these instead: give them as RUSTFLAGS.)
set -eu

separator=$(printf '\037')
flags=${CARGO_ENCODED_RUSTFLAGS-$(printf %s "${RUSTFLAGS-}" | tr -s ' ' '\037')}
remap() {
    # Whoever asks again, as a make below a make does, finds it there.
    flag=--remap-path-prefix=$1=$2
    case $1 in "" | /) return ;; esac
    case $separator$flags$separator in *"$separator$flag$separator"*) return ;; esac
    flags=${flags:+$flags$separator}$flag
}

# Of several that fit the last one counts.
remap "${HOME-}" /home
remap "${CARGO_HOME:-${HOME-}/.cargo}" /cargo
remap "$(rustc --print sysroot 2>/dev/null || :)" /rust
remap "$(cd "$(dirname "$0")" && pwd -P)" /libmtasts
printf %s "$flags"
