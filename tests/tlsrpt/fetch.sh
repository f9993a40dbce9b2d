#!/bin/sh
# sys4's tlsrpt-reporter from PyPI, which has the collector that Postfix feeds: unpacked into DIR, nothing is installed.
#
#   fetch.sh DIR            PYTHONPATH=DIR python3 -c 'from tlsrpt_reporter.tlsrpt import tlsrpt_collectd_main as main; main()'
set -eu
dir=${1:?usage: fetch.sh DIR}
[ ! -e "$dir/complete" ] || exit 0
mkdir -p "$dir"
cd "$dir"
# Two test programs may ask at the same time.
exec 9>lock
flock 9
[ ! -e complete ] || exit 0
cat >requirements.txt <<'PINNED'
tlsrpt-reporter==0.6.0 --hash=sha256:a6eec314c7142af2e1d609a63e82a63b7ec1d14db664244c98e1344b3c603397
PINNED
{ python3 -m venv venv && venv/bin/pip install -q --disable-pip-version-check --no-deps --only-binary :all: \
    --require-hashes --target . -r requirements.txt; } >fetch.log 2>&1 ||
    { cat fetch.log >&2; echo "tlsrpt-reporter: pip could not download it" >&2; exit 1; }
rm -rf venv
touch complete
