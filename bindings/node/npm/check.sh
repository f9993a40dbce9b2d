#!/bin/sh
# Checks what an addon asks of the system: check.sh ADDON [GLIBC]. With a version it is for glibc and asks for none that
# is newer; without one it is for musl.
set -eu

addon=$1 oldest=${2-}
needed=$(readelf -d "$addon" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort | tr '\n' ' ')
versions=$(readelf -V "$addon" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tr '\n' ' ')

fail() {
    echo "$addon: $1 (libraries: $needed; versions: $versions)" >&2
    exit 1
}

for library in $needed; do
    case $library in
        libgcc_s.so.1) ;;
        libc.so | ld-musl-*) [ -z "$oldest" ] || fail "is for musl" ;;
        libc.so.6 | libm.so.6 | libpthread.so.0 | libdl.so.2 | librt.so.1 | ld-linux-*) [ -n "$oldest" ] || fail "is for glibc" ;;
        *) fail "needs $library" ;;
    esac
done
if [ -n "$oldest" ]; then
    newest=$(printf '%s\n' $versions | sed 's/GLIBC_//' | tail -n 1)
    [ "$(printf '%s\n' "$newest" "$oldest" | sort -V | tail -n 1)" = "$oldest" ] || fail "needs glibc $newest"
else
    [ -z "$versions" ] || fail "is for glibc"
fi
# Node finds one symbol; and no soname, least of all the library's, stands in another's place.
readelf --dyn-syms -W "$addon" | grep -q 'GLOBAL DEFAULT .* napi_register_module_v1$' || fail "is no addon"
readelf -d "$addon" | grep -q SONAME && fail "has a soname"
readelf -d "$addon" | grep -q NODELETE || fail "can be unloaded"
echo "$addon: $(stat -c %s "$addon") octets; $needed"
