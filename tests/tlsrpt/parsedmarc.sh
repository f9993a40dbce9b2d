#!/bin/sh
# parsedmarc from PyPI, which many receivers read reports with: a virtual environment in DIR. Half a minute.
#
#   parsedmarc.sh DIR       DIR/venv/bin/python -c 'import parsedmarc; ...'
set -eu
dir=${1:?usage: parsedmarc.sh DIR}
[ ! -e "$dir/complete" ] || exit 0
mkdir -p "$dir"
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check parsedmarc==11.1.0 >fetch.log 2>&1 ||
    { cat fetch.log >&2; echo "parsedmarc: pip could not download it" >&2; exit 1; }
touch complete
