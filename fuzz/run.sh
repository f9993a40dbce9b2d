#!/bin/sh
# Runs a fuzz target with coverage on the stable toolchain: run.sh TARGET [libFuzzer's options | files].
set -eu
cd "$(dirname "$0")"
target=$1
shift
# libFuzzer's own instrumentation, by LLVM; rustc hands it on. A --target keeps it off the build scripts.
export RUSTFLAGS="-Cpasses=sancov-module -Ccodegen-units=1 \
-Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"
host=$(rustc -vV | sed -n 's/^host: //p')
cargo build --release --target "$host" --target-dir target --bin "$target"
mkdir -p "corpus/$target" artifacts
case ${1-} in
-* | '') # Options, or nothing: fuzz. Otherwise files, which are run once each.
    dictionary=dictionaries/$target
    [ ! -e "$dictionary" ] || set -- "-dict=$dictionary" "$@"
    set -- -artifact_prefix=artifacts/ "$@" "corpus/$target" "seeds/$target"
    ;;
esac
exec "target/$host/release/$target" "$@"
