#!/bin/bash
# Runs test programs once more for hosts of a fleet: again.sh silent|there TEST...
# With `silent` the server takes connections and says nothing: the tests pass as without a fleet. With `there` it is a real one.
set -euo pipefail
kind=$1
shift
directory=$(mktemp -d /tmp/mtasts-fleet-again.XXXXXX)
chmod 755 "$directory"
trap 'kill "$server" 2>/dev/null || :; rm -r "$directory"' EXIT
if [ "$kind" = silent ]; then
    python3 - "$directory/socket" <<'EOF' &
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o777)
listener.listen(1000)
taken = []
while True:
    taken.append(listener.accept()[0])
    del taken[:-500]
EOF
else
    server=$(command -v valkey-server || command -v redis-server)
    "$server" --port 0 --unixsocket "$directory/socket" --unixsocketperm 777 --save "" --dir "$directory" >/dev/null &
fi
server=$!
# It makes its socket first, and opens it to others later.
for _ in $(seq 50); do [ -z "$(find "$directory/socket" -perm 777 2>/dev/null)" ] || break; sleep 0.1; done
echo "key $(openssl rand -hex 32)" >"$directory/key"
# The user of the tests.
chown root:65534 "$directory/key"
chmod 640 "$directory/key"
export MTASTS_TEST_FLEET=unix:$directory/socket MTASTS_TEST_FLEET_KEY=$directory/key
tests=()
for test; do tests+=(--test "$test"); done
tests/run/run.sh cargo test --no-fail-fast "${tests[@]}"
