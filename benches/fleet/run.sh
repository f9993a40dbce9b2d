#!/bin/bash
# What the server of a fleet costs, beside postfix-mta-sts-resolver (from PyPI) on the same server.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
server=$(command -v valkey-server || command -v redis-server)
client=$(command -v valkey-cli || command -v redis-cli)
"$server" --port 7001 --unixsocket "$work/socket" --save "" --dir "$work" >/dev/null &
pid=$!
trap 'kill $pid; rm -r "$work"' EXIT
until [ -S "$work/socket" ]; do sleep 0.1; done
(umask 077 && echo "key $(openssl rand -hex 32)" >"$work/key")
python3 -m venv "$work/peer"
"$work/peer/bin/pip" install -q --disable-pip-version-check 'postfix-mta-sts-resolver[redis]==1.5.1'
bench=$(cargo bench --quiet --no-run --bench fleet --message-format=json |
    sed -n 's/.*"name":"fleet".*"executable":"\([^"]*\)".*/\1/p')
# By turns, so that whatever else the machine does is the same for both.
for address in "unix:$work/socket" redis://127.0.0.1:7001; do
    for turn in 1 2; do
        echo "| ${address%%:*}, turn $turn | p50, us | p99, us | per second |"
        echo "| --- | --- | --- | --- |"
        "$bench" "$address" "$work/key"
        case $address in unix:*) "$work/peer/bin/python" benches/fleet/peer.py "unix://$work/socket" ;;
        *) "$work/peer/bin/python" benches/fleet/peer.py "$address/0" ;; esac
        echo
    done
done
echo "memory of the server for the policy, in octets: ours $("$client" -p 7001 MEMORY USAGE mtasts:1:p:example.com)," \
    "its $("$client" -p 7001 MEMORY USAGE example.com)"

# Lookups of the disk, by an ordinary user: root would have a helper for each.
mkdir "$work/cache"
chmod 755 "$work"
chmod 777 "$work/socket"
cp "$bench" "$work/bench"
chown -R 65534:65534 "$work/cache" "$work/key"
echo
echo "| a policy on the disk | p50, us | |"
echo "| --- | --- | --- |"
setpriv --reuid 65534 --regid 65534 --clear-groups "$work/bench" "unix:$work/socket" "$work/key" "$work/cache"
