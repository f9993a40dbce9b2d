#!/bin/sh
# A real Haraka on the test Internet, with the plugin as a user gets it: both packages packed, and installed without
# scripts and without a compiler. Asks for root (network namespaces) by sudo. Needs, for what is not in the npm cache, the network.
#
#   run.sh [COMMAND...]     default: node --test for all tests
#
# HARAKA=3.1.1 takes another Haraka than the pinned one.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
work=$target/haraka
app=$work/app${HARAKA:+-$HARAKA}

(cd "$root" && cargo build --quiet --package mtasts-cli --features lab)
addon=$root/bindings/node/mtasts.node
if [ ! -e "$addon" ] || find "$root/src" "$root/bindings/node/src" -name '*.rs' -newer "$addon" | grep -q .; then
    make --silent -C "$root/bindings/node" addon
fi

# For the reports: the reporter of sys4, and OpenDKIM.
"$root/tests/tlsrpt/fetch.sh" "$target/tlsrpt-reporter"
"$root/tests/run/as-root.sh" "$root/tests/mta/fetch.sh" "$target/mta" opendkim opendkim

# The mail server, before it knows of the plugin.
pinned=$(cat "$here/app/package-lock.json" | sha256sum)
if [ "$(cat "$app/.pinned" 2>/dev/null)" != "$pinned" ]; then
    rm -rf "$app"
    mkdir -p "$app"
    cp "$here/app/package.json" "$app"
    if [ -n "${HARAKA:-}" ]; then
        npm install --prefix "$app" --save-exact --omit=optional --ignore-scripts --loglevel=error "Haraka@$HARAKA"
    else
        cp "$here/app/package-lock.json" "$app"
        npm ci --prefix "$app" --omit=optional --ignore-scripts --loglevel=error
    fi
    echo "$pinned" >"$app/.pinned"
fi

# As the README says, from tarballs in place of the registry.
rm -rf "$app"/node_modules/mtasts "$app"/node_modules/haraka-plugin-mta-sts
tarballs=$("$here/pack.sh" "$work")
# No compiler can be found on this PATH.
mkdir -p "$work/bin"
for tool in node sh; do ln -sf "$(command -v $tool)" "$work/bin/$tool"; done
npm=$(command -v npm)
# shellcheck disable=SC2086
(cd "$app" && PATH=$work/bin "$npm" install --no-save --no-package-lock --omit=optional --ignore-scripts \
    --prefer-offline --loglevel=error $tarballs)

[ -e "$here/../node_modules" ] || npm ci --prefix "$here/.." --ignore-scripts --loglevel=error
[ $# -gt 0 ] || set -- node --test --test-concurrency=1 "$here"/../*.test.js "$here"/*.test.js
exec "$root/tests/run/as-root.sh" "$target/debug/mtasts" lab run --crowd "${CROWD:-60}" -- env \
    MTASTS="$target/debug/mtasts" SYS4="$target/tlsrpt-reporter" OPENDKIM="$target/mta/opendkim" \
    HARAKA_APP="$app" NODE_PATH="$app/node_modules" "$@"
