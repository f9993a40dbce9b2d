#!/bin/sh
# Prints the directory of the first cargo that is new enough for Cargo.toml: that of $CARGO, of PATH, of rustup, or of a
# distribution that has a directory for each version (Ubuntu). The Makefile and tests/run/ready.sh ask here.
set -eu
wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$(dirname "$0")/Cargo.toml" | head -n 1)
for folder in "$(dirname "${CARGO:-/}")" "$(dirname "$(command -v cargo || echo /)")" "${CARGO_HOME:-${HOME-}/.cargo}/bin" \
    $(ls -d /usr/lib/rust-*/bin 2>/dev/null | sort -rV) /usr/bin; do
    [ -x "$folder/cargo" ] && [ -x "$folder/rustc" ] || continue
    version=$("$folder/rustc" --version 2>/dev/null | cut -d ' ' -f 2)
    if [ -n "$version" ] && [ "$(printf '%s\n' "$wanted" "$version" | sort -V | head -n 1)" = "$wanted" ]; then
        echo "$folder"
        exit
    fi
done
exit 1
