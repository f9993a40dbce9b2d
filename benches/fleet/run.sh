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
for address in "unix:$work/socket" redis://127.0.0.1:7001; do
    echo "| ${address%%:*} | p50, us | p99, us |"
    echo "| --- | --- | --- |"
    "$bench" "$address" "$work/key"
    case $address in unix:*) "$work/peer/bin/python" benches/fleet/peer.py "unix://$work/socket" ;;
    *) "$work/peer/bin/python" benches/fleet/peer.py "$address/0" ;; esac
    echo
done
echo "memory of the server for the policy, in octets: ours $("$client" -p 7001 MEMORY USAGE mtasts:1:p:example.com)," \
    "its $("$client" -p 7001 MEMORY USAGE example.com)"
