#!/bin/sh
# Runs a fuzz target with coverage on the stable toolchain: run.sh TARGET [libFuzzer's options].
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
cargo build --release --target "$host" --bin "$target"
mkdir -p "corpus/$target"
dictionary=dictionaries/$target
[ ! -e "$dictionary" ] || set -- "-dict=$dictionary" "$@"
exec "target/$host/release/$target" "corpus/$target" "seeds/$target" "$@"
