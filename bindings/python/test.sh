#!/bin/sh
# test.sh LAB WORK WHEELS PYTHON...: the tests on the test Internet, in the environment `default` and in one of each Python.
lab=$1 work=$2 wheels=$3
shift 3
here=$(dirname "$(readlink -f "$0")")

# Not in the directory of the sources, whose package would stand before the one that is installed.
cd "$work" || exit 1

run() { # NAME
    MTASTS_LAB_COMMAND="$lab" PYTHONDONTWRITEBYTECODE=1 \
        "$lab" lab run -- "$work/$1/bin/pytest" -q -p no:cacheprovider -c "$here/pyproject.toml" "$here/tests" \
        > "$work/$1.log" 2>&1 || { cat "$work/$1.log"; return 1; }
    echo "$("$work/$1/bin/python" -V): $(tail -n 1 "$work/$1.log")"
}

run default || exit 1
own=$("$work/default/bin/python" -c 'import sys; print(sys.implementation.cache_tag)')
failed=0
for python in "$@"; do
    tag=$("$python" -c 'import sys; print(sys.implementation.cache_tag)') || continue
    [ "$tag" = "$own" ] && continue
    "$here/venv.sh" "$python" "$work/$tag" "$wheels" && run "$tag" || failed=1
done
exit $failed
