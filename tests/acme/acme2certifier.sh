#!/bin/sh
# acme2certifier from PyPI, an ACME server over an authority of openssl, with renewal information (RFC 9773) and profiles: a virtual
# environment in DIR. Some seconds.
#   acme2certifier.sh DIR       ACME_SRV_CONFIGFILE=... DIR/venv/bin/python -c "..."
#   acme2certifier.sh DIR       ACME_SRV_CONFIGFILE=... DIR/venv/bin/python serve.py ADDRESS PORT
set -eu
requirements=$(cd "$(dirname "$0")" && pwd)/acme2certifier.txt
dir=${1:?usage: acme2certifier.sh DIR}
[ ! -e "$dir/complete" ] || exit 0
mkdir -p "$dir"
cd "$dir"
# Several tests may ask at the same time.
exec 9>lock
flock 9
[ ! -e complete ] || exit 0
{ python3 -m venv venv && venv/bin/pip install -q --disable-pip-version-check --only-binary :all: -r "$requirements"; } >fetch.log 2>&1 ||
    { cat fetch.log >&2; echo "acme2certifier: pip could not download it" >&2; exit 1; }
touch complete
