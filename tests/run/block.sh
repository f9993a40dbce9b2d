# shellcheck shell=bash
# block PAGE HEADING [NUMBER [LANGUAGE]]: what is in a fenced block below a heading, by default the first one of sh. Sourced.
block() {
    local found
    found=$(awk -v heading="$2" -v number="${3:-1}" -v fence='```'"${4-sh}" '
        inside && /^```/ { inside = 0; next }
        inside { if (count == number) print; next }
        /^#+ / { there = $0; sub(/^#+ /, "", there); if (there == heading) count = 0; next }
        /^```/ { inside = 1; if (there == heading && $0 == fence) count++; else if (count == number) count = -99 }' "$1")
    [ -n "$found" ] || { echo "pages: $1 has no block ${3:-1} below $2" >&2; return 1; }
    printf '%s\n' "$found"
}
