#!/bin/sh
# Measures everything that benches/RESULTS.md tells, and prints it: benches/run.sh > benches/RESULTS.md
# As root the fresh process is measured both as root and as the user nobody, who also asks from the warm process.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"

# By itself: cargo does no link-time optimisation of a library that is built for Rust in the same go.
cargo rustc --quiet --release --lib --features capi,fleet --crate-type cdylib
cp target/release/libmtasts.so "$work/libmtasts.so.1"
strip "$work/libmtasts.so.1"
bench() {
    cargo bench --quiet --no-run --bench "$1" --message-format=json |
        sed -n 's/.*"name":"'"$1"'".*"executable":"\([^"]*\)".*/\1/p'
}
core=$(bench core)
# Where a user can run it.
cp "$(bench cache)" "$work/cached"
fetch=$(bench fetch)

echo 'void nothing(void) {}' | cc -O2 -shared -fPIC -x c - -o "$work/empty.so"
cc -O2 -std=c99 -D_POSIX_C_SOURCE=200809L -Iinclude benches/warm.c "$work/libmtasts.so.1" -Wl,-rpath,"$work" -o "$work/warm"
cc -O2 -std=c99 -Iinclude benches/fresh.c -ldl -o "$work/fresh"
mkdir -m 700 "$work/cache"
"$core" make-cache "$work/cache" 10000
as_user=
if [ "$(id -u)" = 0 ]; then
    chown -R "nobody:$(id -g nobody)" "$work/cache"
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
$as_user "$work/fresh" run "$work/libmtasts.so.1" "$work/empty.so" "$work/cache" 1000
if [ "$(id -u)" = 0 ]; then
    "$work/fresh" run "$work/libmtasts.so.1" "$work/empty.so" "$work/cache" 1000
fi
cat <<END

## One cache, several processes

Each process asks for random ones of 10,000 domains, as fast as it can, for six seconds. A write is what a refresh does when
it has fetched: lock, read, write a new file, sync, rename.

| case | lookups/s, all processes | ratio | p50, us | p99, us | p99.99, us |
| --- | --- | --- | --- | --- | --- |
END
$as_user "$work/cached" shared "$work/cache" 10000
cat <<END

## Memory

What resident memory grows by, from the first lookup on: ten contexts of 10,000 policies each, which is all that one holds.

| case | grows by | octets for each | target | met |
| --- | --- | --- | --- | --- |
END
$as_user "$work/cached" memory "$work/cache" 10000
if [ "$(id -u)" = 0 ]; then
    cat <<END

## Cold fetches

3,000 domains, each asked for once, 256 in flight; DNS and HTTPS wait 50 ms before each answer. The origin (one thread)
shares the processors with whoever asks. \`bare\` is the least that can fetch a policy: no timeouts, no second name server,
no cache. \`processors allow\` is what could be reached if they did nothing else and nobody ever waited.

| case | domains/s | processor, ms for each | origin's, ms for each | processors allow | peak RSS, MiB | target | met |
| --- | --- | --- | --- | --- | --- | --- | --- |
END
    # The writes above have replaced files, and for 35 s ext4 without a journal spends more on passing their inodes over
    # than on all else.
    sleep 40
    unshare --net sh -c 'ip link set lo up && "$1" run "$2"' sh "$fetch" "$work"
fi
cat <<END

## TLS reports of a day

A million results of 50,000 domains, in the journals of eight hosts, are counted and made into compressed reports, on one thread.

END
cargo bench --quiet --package mtasts-report --bench day
if [ "$(id -u)" = 0 ]; then
    cat <<END

## Hosting policies

\`mtasts host run\` with 10,000 domains, and Caddy from apt with one, on one processor each. Four clients on the same machine.

END
    cargo build --quiet --release --package mtasts-cli
    cargo bench --quiet --package mtasts-host --bench speed
fi
size=$(wc -c < "$work/libmtasts.so.1")
cat <<END

## Size

| | octets | target | met |
| --- | --- | --- | --- |
| libmtasts.so, stripped | $size | <= 3500000 | $([ "$size" -le 3500000 ] && echo yes || echo '**no**') |
END
echo
echo "It needs: $(objdump -p "$work/libmtasts.so.1" | sed -n 's/ *NEEDED *//p' | tr '\n' ' ')"
if [ "$(id -u)" = 0 ]; then
    echo
    benches/serve/run.sh
fi
