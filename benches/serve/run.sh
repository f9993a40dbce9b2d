#!/bin/sh
# mtasts serve beside PyPI's postfix-mta-sts-resolver on the test Internet, in one run in which they take turns; prints the
# section of benches/RESULTS.md. Needs root, two processors, and PyPI.
set -eu
cd "$(dirname "$0")/../.."
if [ "${1:-}" != inside ]; then
    cargo build --quiet --release --package mtasts-cli --features lab
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    chmod 755 "$work"
    cc -O2 -std=gnu99 benches/serve/load.c -o "$work/load"
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install --quiet 'postfix-mta-sts-resolver[sqlite,uvloop]==1.5.1' >&2
    target/release/mtasts lab run --crowd 1000 -- "$PWD/benches/serve/run.sh" inside "$work"
    exit
fi
work=$2
mtasts=$PWD/target/release/mtasts
domains=1000

start_ours() {
    taskset -c 0 "$mtasts" serve --listen 127.0.0.1:8461 2>"$work/serve.log" &
    ours=$!
}
# peer NAME PORT CACHE: its time between two looks at DNS is that of the comparison in the notes, 10 days.
start_peer() {
    printf 'host: 127.0.0.1\nport: %s\ncache_grace: 864000\n%s\ndefault_zone:\n  strict_testing: false\n  timeout: 10\n' "$2" "$3" >"$work/$1.yml"
    taskset -c 0 "$work/venv/bin/mta-sts-daemon" -c "$work/$1.yml" >"$work/$1.log" 2>&1 &
}
memory() { awk '/VmRSS/ { printf "%.0f", $2 / 1024 }' "/proc/$1/status"; }

start_ours
start_peer internal 8462 "cache:
  type: internal
  options:
    cache_size: 10000"
internal=$!
start_peer sqlite 8463 "cache:
  type: sqlite
  options:
    filename: \"$work/sqlite.db\""
sqlite=$!
trap 'kill $ours $internal $sqlite 2>/dev/null || true' EXIT
sleep 3

cold() { taskset -c 1 "$work/load" "$1" "$2" 100 0 $domains "$3"; }
echo "## Servers of socketmap lookups"
echo
echo "\`mtasts serve\` and postfix-mta-sts-resolver 1.5.1 with uvloop, each on processor 0, the client on processor 1; $domains domains"
echo "of the test Internet. Medians of five turns of a second."
echo
echo "| each domain once, 100 connections | s | domains/s | not OK |"
echo "| --- | --- | --- | --- |"
set -- $(cold 8461 postfix $ours); echo "| mtasts serve | $1 | $2 | $3 |"
set -- $(cold 8462 postfix $internal); echo "| resolver, internal | $1 | $2 | $3 |"
set -- $(cold 8463 postfix $sqlite); echo "| resolver, sqlite | $1 | $2 | $3 |"
echo
echo "| cached | connections | queries/s | ratio | p50, us | p99, us | processor us/query | RSS, MiB |"
echo "| --- | --- | --- | --- | --- | --- | --- | --- |"
median() { sort -g -k1 "$1" | sed -n 3p; }
for connections in 1 16 100; do
    rm -f "$work"/turn-*
    for turn in 1 2 3 4 5; do
        taskset -c 1 "$work/load" 8461 postfix $connections 1000 $domains $ours >>"$work/turn-ours"
        taskset -c 1 "$work/load" 8462 postfix $connections 1000 $domains $internal >>"$work/turn-internal"
        taskset -c 1 "$work/load" 8463 postfix $connections 1000 $domains $sqlite >>"$work/turn-sqlite"
    done
    set -- $(median "$work/turn-internal"); floor=$1
    for name in internal sqlite ours; do
        case $name in
            ours) title="mtasts serve" pid=$ours ;;
            internal) title="resolver, internal" pid=$internal ;;
            sqlite) title="resolver, sqlite" pid=$sqlite ;;
        esac
        set -- $(median "$work/turn-$name")
        echo "| $title | $connections | $1 | $(awk "BEGIN { printf \"%.2f\", $1 / $floor }") | $2 | $3 | $4 | $(memory $pid) |"
    done
done
