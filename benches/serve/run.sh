#!/bin/sh
# mtasts serve beside PyPI's postfix-mta-sts-resolver on the test Internet, in one run in which they take turns; prints the
# section of benches/RESULTS.md. Needs root, two processors, redis-server, and PyPI.
set -eu
cd "$(dirname "$0")/../.."
if [ "${1:-}" != inside ]; then
    cargo build --quiet --release --package mtasts-cli --features lab
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    chmod 755 "$work"
    cc -O2 -std=gnu99 benches/serve/load.c -o "$work/load"
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install --quiet 'postfix-mta-sts-resolver[sqlite,redis,uvloop]==1.5.1' >&2
    target/release/mtasts lab run --crowd 1004 -- "$PWD/benches/serve/run.sh" inside "$work"
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
# Beside the client: its time is not counted as the resolver's.
taskset -c 1 redis-server --port 6390 --save '' --dir "$work" >"$work/redis-server.log" &
server=$!
start_peer redis 8464 "cache:
  type: redis
  options:
    url: \"redis://127.0.0.1:6390/0\""
redis=$!
trap 'kill $ours $internal $sqlite $redis $server 2>/dev/null || true' EXIT
sleep 3

# together PORT PID NUMBER: 100 clients ask at the same time for one domain that nobody knows. Prints the slowest, how often its
# policy was fetched, and its record was asked for.
together() {
    slowest=$(taskset -c 1 "$work/load" "$1" postfix 100 1 1 "$2" "$3" | cut -d ' ' -f 3)
    "$mtasts" lab counters --json | python3 -c '
import json, sys
counters, slowest, domain = json.load(sys.stdin), int(sys.argv[1]), sys.argv[2]
asked = counters["dns"].get(f"_mta-sts.{domain} TXT", 0)
print(round(slowest / 1000), counters["https"].get(f"mta-sts.{domain}", 0), asked)' "$slowest" "many$3.test"
}
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
set -- $(cold 8464 postfix $redis); echo "| resolver, redis | $1 | $2 | $3 |"
echo
echo "| 100 questions at once for a cold domain | the slowest, ms | fetches | questions for TXT |"
echo "| --- | --- | --- | --- |"
set -- $(together 8461 $ours 1000); echo "| mtasts serve | $1 | $2 | $3 |"
set -- $(together 8462 $internal 1001); echo "| resolver, internal | $1 | $2 | $3 |"
set -- $(together 8463 $sqlite 1002); echo "| resolver, sqlite | $1 | $2 | $3 |"
set -- $(together 8464 $redis 1003); echo "| resolver, redis | $1 | $2 | $3 |"
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
        taskset -c 1 "$work/load" 8464 postfix $connections 1000 $domains $redis >>"$work/turn-redis"
    done
    set -- $(median "$work/turn-internal"); floor=$1
    for name in internal sqlite redis ours; do
        case $name in
            ours) title="mtasts serve" pid=$ours ;;
            internal) title="resolver, internal" pid=$internal ;;
            sqlite) title="resolver, sqlite" pid=$sqlite ;;
            redis) title="resolver, redis" pid=$redis ;;
        esac
        set -- $(median "$work/turn-$name")
        echo "| $title | $connections | $1 | $(awk "BEGIN { printf \"%.2f\", $1 / $floor }") | $2 | $3 | $4 | $(memory $pid) |"
    done
done

# 100,000 policies. What the resolver keeps for one, its own classes say; ours are files, and the server is asked for each.
cache=$(sed -n 's/^cache_dir *= *"\(.*\)"/\1/p' /etc/mtasts/mtasts.toml)
policies=100000
python3 - "$cache" $policies <<'END'
import hashlib, os, sys, time
cache, count, now = sys.argv[1], int(sys.argv[2]), int(time.time())
for n in range(2000, 2000 + count):
    domain = f"many{n}.test"
    body = (f"domain: {domain}\npolicy-id: 1\nfetched: {now}\nmode-since: {now}\ntxt-seen: {now}\ntxt-next: {now + 3600}\n"
            f"used: {now}\n\nversion: STSv1\nmode: testing\nmx: mx1.{domain}\nmx: mx2.{domain}\nmx: *.mail.{domain}\n"
            "max_age: 604800\n")
    path = os.path.join(cache, domain)
    with open(path, "w") as file:
        file.write(f"mtasts 1 {hashlib.sha256(body.encode()).hexdigest()}\n{body}")
    os.chown(path, 65534, 65534)
END
before=$(memory $ours)
set -- $(taskset -c 1 "$work/load" 8461 postfix 100 0 $policies $ours 2000)
kept=$("$work/venv/bin/python" - $policies <<'END'
import asyncio, resource, sys
from postfix_mta_sts_resolver.base_cache import CacheEntry
from postfix_mta_sts_resolver.internal_cache import InternalLRUCache
count = int(sys.argv[1])
rss = lambda: int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
async def fill():
    cache = InternalLRUCache(cache_size=count)
    await cache.setup()
    before = rss()
    for n in range(count):
        domain = f"many{n}.test"
        policy = {"version": "STSv1", "mode": "testing", "max_age": 604800,
                  "mx": [f"mx1.{domain}", f"mx2.{domain}", f"*.mail.{domain}"]}
        await cache.set(domain, CacheEntry(ts=float(n), pol_id=str(n), pol_body=policy))
    return rss() - before
print(round(asyncio.run(fill()) / 2**20))
END
)
echo
echo "| 100,000 policies, each asked for once | RSS, MiB | before, MiB | s |"
echo "| --- | --- | --- | --- |"
echo "| mtasts serve, policies on disk | $(memory $ours) | $before | $1 |"
echo "| resolver, internal: what its cache takes | $kept | | |"
