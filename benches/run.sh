#!/bin/sh
# Measures everything that benches/RESULTS.md tells, and prints it: benches/run.sh > benches/RESULTS.md
# As root the fresh process is measured both as root and as the user nobody, who also asks from the warm process.
set -eu
cd "$(dirname "$0")/.."
cargo build --quiet --release --lib --features silent
core=$(cargo bench --quiet --no-run --features silent --bench core --message-format=json |
    sed -n 's/.*"name":"core".*"executable":"\([^"]*\)".*/\1/p')

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
cp target/release/libmtasts.so "$work/libmtasts.so.0"
strip "$work/libmtasts.so.0"
echo 'void nothing(void) {}' | cc -O2 -shared -fPIC -x c - -o "$work/empty.so"
cc -O2 -std=c99 -D_POSIX_C_SOURCE=200809L -Iinclude benches/warm.c "$work/libmtasts.so.0" -Wl,-rpath,"$work" -o "$work/warm"
cc -O2 -std=c99 -Iinclude benches/fresh.c -ldl -o "$work/fresh"
mkdir -m 700 "$work/cache"
"$core" make-cache "$work/cache" 10000
as_user=
if [ "$(id -u)" = 0 ]; then
    chown -R nobody "$work/cache"
    as_user="setpriv --reuid=nobody --regid=$(id -g nobody) --clear-groups"
fi

cpu=$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)
cat <<END
# Speed, measured

By \`benches/run.sh\` on $(date -u +%Y-%m-%d): $cpu, $(nproc) cores, Linux $(uname -r), $(rustc --version), load $(cut -d ' ' -f 1 /proc/loadavg)
at the start. Absolute values move with the machine; ratios were taken in one run, in which the cases took turns.
A ratio is over the first row of its block, the floor.

## Pure parts (ns, medians)

| case | ns | ratio | target | met |
| --- | --- | --- | --- | --- |
END
"$core"
cat <<END

## Warm process, through the C ABI (ns, medians)

| case | ns | ratio | target | met |
| --- | --- | --- | --- | --- |
END
$as_user "$work/warm" "$work/cache" 10000
cat <<END

## Fresh process (ms and KiB)

The processes take turns. \`added\` is the p50 over that of the same process without a library, \`processor\` the same of the
processor time, \`RSS\` of the peak of memory. As root a child asks, which has become the owner of the cache directory.

| case | p50 | p10 | added | processor | RSS | target | met |
| --- | --- | --- | --- | --- | --- | --- | --- |
END
$as_user "$work/fresh" run "$work/libmtasts.so.0" "$work/empty.so" "$work/cache" 1000
if [ "$(id -u)" = 0 ]; then
    "$work/fresh" run "$work/libmtasts.so.0" "$work/empty.so" "$work/cache" 1000
fi
size=$(wc -c < "$work/libmtasts.so.0")
cat <<END

## Size

| | octets | target | met |
| --- | --- | --- | --- |
| libmtasts.so, stripped | $size | <= 3500000 | $([ "$size" -le 3500000 ] && echo yes || echo '**no**') |
END
echo
echo "It needs: $(objdump -p "$work/libmtasts.so.0" | sed -n 's/ *NEEDED *//p' | tr '\n' ' ')"
