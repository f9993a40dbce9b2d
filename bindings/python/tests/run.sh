#!/bin/sh
# run.sh LAB WORK WHEELS PYTHON [FILE]...: the tests, or these alone, on the test Internet, in an empty environment of a
# Python with the wheel.
set -e
lab=$1 work=$2 wheels=$3 python=$4
shift 4
tests=$(dirname "$(readlink -f "$0")")
files=$tests
[ $# -eq 0 ] || files=$(printf "$tests/%s " "$@")
name=$("$python" -c 'import sys; print(sys.implementation.cache_tag)')
here=$work/$name

"$python" -m venv --clear "$here"
pip="$here/bin/pip --disable-pip-version-check -q"
$pip install "$(ls "$wheels"/*.whl)[aiosmtplib,django]" pytest aiosmtpd celery[redis] django-mailer huey gunicorn flask-mail
# Which tests are left out.
some=
plain=
may_die=
without() { some="${some:+$some and }not $1"; }
case $name in
# It loses TLS connections of asyncio after a failed handshake, with aiosmtplib alone too (7.3.11).
# Its compiler is not warm after so few mails as that test of speed has.
pypy*)
    without aiosmtplib && without relay && without as_fast_as
    # Before 7.3.16 its garbage collector sometimes loses an object, mostly where pytest rewrites assertions, and PyPy dies
    # of SIGSEGV (pypy.org, "Fixing a Bug in PyPy's Incremental GC"). With so large a step its collections are not
    # incremental. What dies twice is a fault of ours.
    plain=--assert=plain
    export PYPY_GC_INCREMENT_STEP=4GB
    may_die=1
    ;;
# There is a uvloop for each of these; a test that wants it fails without.
*) $pip install --only-binary :all: uvloop ;;
esac

# There is one Mailman, of one Python. It gets the same wheel. What takes long is for that Python alone.
mailman=$MTASTS_MAILMAN/bin
if [ "$("$mailman/python" -c 'import sys; print(sys.implementation.cache_tag)')" = "$name" ]; then
    "$mailman/pip" --disable-pip-version-check -q install --no-deps --force-reinstall "$wheels"/*.whl
    MTASTS_SYS4=$work/../tlsrpt-reporter
    "$tests/../../../tests/tlsrpt/fetch.sh" "$MTASTS_SYS4"
    export MTASTS_SYS4
else
    for file in test_mailman test_workers test_memory; do without $file; done
fi

# A directory of its own for temporary files: pytest closes the one that it shares with others whenever another pytest
# starts, and the user who asks the network must be let in.
temporary=$(mktemp -d)
chmod 711 "$temporary"
as_root=$tests/../../../tests/run/as-root.sh
trap '"$as_root" rm -rf "$temporary"' EXIT

# Not in the directory of the sources, whose package would stand before the one that is installed.
cd "$here"
run() {
    MTASTS_LAB_COMMAND="$lab" PYTHONDONTWRITEBYTECODE=1 "$as_root" "$lab" lab run -- bin/pytest -q $plain \
        -p no:cacheprovider --basetemp "$temporary/tests" -c "$tests/../pyproject.toml" -k "$some" $files > log 2>&1
}
status=0
run || status=$?
if [ -n "$may_die" ] && [ $status -gt 128 ]; then
    cat log
    echo "$name: ended by signal $((status - 128)); once more"
    status=0
    run || status=$?
fi
if [ $status = 0 ]; then
    echo "$name: $(tail -n 1 log)"
else
    cat log
    echo "$name: failed"
    exit 1
fi
