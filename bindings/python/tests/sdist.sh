#!/bin/sh
# sdist.sh WHEELS PYTHON: where there is no cargo, the source distribution says what to install. It downloads no compiler.
set -e
python=$2
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
for program in sh cc; do ln -s "$(command -v $program)" "$bin"; done
"$python" -m venv "$bin/venv"
if PATH=$bin "$bin/venv/bin/pip" --disable-pip-version-check install --no-deps --no-cache-dir "$1"/mtasts-*.tar.gz >"$bin/log" 2>&1; then
    cat "$bin/log"
    echo "sdist: a wheel without cargo"
    exit 1
fi
if ! grep -q "cargo is not in PATH. Install Rust 1.89 or newer (https://rustup.rs) and a C compiler" "$bin/log" ||
    grep -q Traceback "$bin/log"; then
    cat "$bin/log"
    echo "sdist: it does not say what is missing"
    exit 1
fi
echo "sdist: says what is missing"
