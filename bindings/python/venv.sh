#!/bin/sh
# venv.sh PYTHON DIRECTORY WHEELS: an empty environment of a Python, with the wheel and what the tests need.
set -e
"$1" -m venv --clear "$2"
pip="$2/bin/pip --disable-pip-version-check -q"
$pip install "$(ls "$3"/*.whl)[aiosmtplib,django]" pytest aiosmtpd
# Where there is no uvloop for a Python, its tests are skipped there; the machine's own Python has it.
$pip install --only-binary :all: uvloop 2>/dev/null || true
touch "$2/done"
