# What the Makefile includes for those who work on the library. A target runs as it stands here in CI as well.

.PHONY: test lint packages demo bench soak arch node haraka python exim-versions

# Every test. Root, because network namespaces are made. CI calls `lint` beside it.
test:
	@[ "$$(id -u)" = 0 ] || { echo "needs root: sudo make test" >&2; exit 1; }
	cargo build --package mtasts-fuzz
	cargo build --package mtasts-cli --features lab
	cargo build --lib --features capi
	cargo test --no-fail-fast
	cargo test --package mtasts-cli --package mtasts-lab --package mtasts-survey --features lab --no-fail-fast
	$(MAKE) arch
	$(MAKE) node
	$(MAKE) haraka
	$(MAKE) python

# 32-bit: i386 and armhf compile, and the tests of what depends on the size of numbers pass on i386.
arch:
	tests/foreign/check.sh $(TARGET)/foreign

# The npm package. Its tools come from npm and stay in bindings/node/test.
node:
	cargo build --package mtasts-cli --features lab
	$(MAKE) -C bindings/node test TARGET=$(abspath $(TARGET))

# The Python package: a wheel, and its tests in each Python that is found.
python:
	cargo build --package mtasts-cli --features lab
	$(MAKE) -C bindings/python test CARGO_TARGET_DIR=$(abspath $(TARGET))

lint:
	cargo fmt --all --check
	cargo clippy -- -D warnings
	cargo clippy --package mtasts-cli -- -D warnings
	cargo clippy --workspace --exclude mtasts-node --all-targets --features lab -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --features capi
	command -v cargo-deny >/dev/null || cargo install cargo-deny --version 0.20.2 --locked
	cargo deny --workspace --exclude mtasts-fuzz check licenses bans sources
# The advisories are a repository of their own; where it cannot be had, that is no verdict.
	@if cargo deny fetch db 2>/dev/null; then cargo deny --workspace --exclude mtasts-fuzz check advisories; \
	else echo "lint: the advisory database cannot be had from here; advisories are not checked"; fi

# A quarter of an hour of bad weather, of which `make test` has half a minute: make soak SECONDS=900 SEED=
soak: SECONDS = 900
soak:
	@[ "$$(id -u)" = 0 ] || { echo "needs root: sudo make soak" >&2; exit 1; }
	SOAK_SECONDS=$(SECONDS) SOAK_SEED=$(SEED) cargo test --test soak

# A real Haraka with the plugin. Haraka comes from npm and stays in target/.
haraka:
	cd bindings/haraka && npm ci --prefix test --ignore-scripts --no-audit --no-fund && npm run lint && npm run prettier && npm test

# tests/exim with the Exim of Ubuntu noble and Debian trixie. Needs debootstrap.
exim-versions:
	tests/exim/versions.sh $(TARGET)/exim/systems

# What the tests need from Debian's or Ubuntu's archive.
packages:
	apt-get update -q
	DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$(cat .ci/packages)

# A real Exim, a test Internet, one mail to each of a dozen domains, and what became of it.
demo:
	@[ "$$(id -u)" = 0 ] || { echo "needs root: sudo make demo" >&2; exit 1; }
	@cargo build -q --lib --features capi
	@cargo run -q --example demo

bench:
	benches/run.sh
