# make            builds the libraries and the command
# make install    says at the end what is left to do
# make uninstall  removes what `make install` with the same variables has installed; policies and settings stay
#                 PREFIX=/usr/local DESTDIR= LIBDIR=PREFIX/lib BINDIR= INCLUDEDIR= MANDIR= DOCDIR= PKGCONFIGDIR=

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR ?= $(PREFIX)/share/man
DOCDIR ?= $(PREFIX)/share/doc/libmtasts
PKGCONFIGDIR ?= $(LIBDIR)/pkgconfig

# Where the distribution's first cargo is too old.
export PATH := $(addsuffix :,$(shell ./rust.sh))$(PATH)
CARGO ?= cargo
CARGO_FLAGS ?= --locked
INSTALL ?= install
STRIP ?= strip

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
ABI := $(shell sed -n 's/^\#define MTASTS_ABI //p' include/mtasts.h)
TARGET := $(or $(CARGO_TARGET_DIR),target)
DIST := $(TARGET)/dist
SOURCES := Cargo.lock build.rs rustflags.sh $(shell find Cargo.toml src programs -name '*.rs' -o -name Cargo.toml)
DOCUMENTS := $(shell find examples -type f) $(wildcard docs/*.md README.md CHANGELOG.md) LICENSE LICENSE-MIT LICENSE-APACHE

.PHONY: all install uninstall

all: $(DIST)/libmtasts.so $(DIST)/mtasts

# What is shipped names no directory of the machine on which it was built.
$(DIST)/libmtasts.so $(DIST)/mtasts: export CARGO_ENCODED_RUSTFLAGS = $(shell ./rustflags.sh)

# Asked for by themselves, because cargo does no link-time optimisation of a library that is also built for Rust; and
# copied, because building the command leaves such a one in their place. Cargo strips no archive, and the C in it comes
# with its paths.
$(DIST)/libmtasts.so: $(SOURCES)
	$(CARGO) rustc $(CARGO_FLAGS) --release --lib --features capi,fleet --crate-type cdylib,staticlib
	mkdir -p $(DIST)
	cp $(TARGET)/release/libmtasts.a $(DIST)/libmtasts.a
	$(STRIP) --strip-debug $(DIST)/libmtasts.a
	cp $(TARGET)/release/libmtasts.so $@

$(DIST)/mtasts: $(SOURCES) $(DIST)/libmtasts.so
	$(CARGO) build $(CARGO_FLAGS) --release --package mtasts-cli
	cp $(TARGET)/release/mtasts $@

# A directory as pkg-config likes it: below ${prefix} where it is.
below_prefix = $(patsubst $(PREFIX)/%,$${prefix}/%,$(1))

# Mail servers load the library, and a timer starts the command, at any moment: their names always lead to a whole file. So
# each is a new file or link that is renamed into place.
replace = $(INSTALL) -m $(1) $(2) $(3).new && mv -f $(3).new $(3)
relink = ln -sf $(1) $(2).new && mv -f $(2).new $(2)

# What completes the command in each shell, where these look for it.
completion.bash = bash-completion/completions/mtasts
completion.zsh = zsh/site-functions/_mtasts
completion.fish = fish/vendor_completions.d/mtasts.fish
SHELLS = bash zsh fish
COMPLETIONS = $(foreach shell,$(SHELLS),$(completion.$(shell)))

install: all
	$(INSTALL) -d $(addprefix $(DESTDIR),$(BINDIR) $(LIBDIR) $(INCLUDEDIR) $(PKGCONFIGDIR))
	$(INSTALL) -d $(addprefix $(DESTDIR)$(MANDIR)/,man1 man3 man5)
	$(call replace,755,$(DIST)/mtasts,$(DESTDIR)$(BINDIR)/mtasts)
	$(call replace,644,$(DIST)/libmtasts.so,$(DESTDIR)$(LIBDIR)/libmtasts.so.$(VERSION))
	$(call relink,libmtasts.so.$(VERSION),$(DESTDIR)$(LIBDIR)/libmtasts.so.$(ABI))
	$(call relink,libmtasts.so.$(ABI),$(DESTDIR)$(LIBDIR)/libmtasts.so)
	$(INSTALL) -m 644 $(DIST)/libmtasts.a $(DESTDIR)$(LIBDIR)/libmtasts.a
	$(INSTALL) -m 644 include/mtasts.h $(DESTDIR)$(INCLUDEDIR)/mtasts.h
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' \
	    -e 's|@LIBDIR@|$(call below_prefix,$(LIBDIR))|' -e 's|@INCLUDEDIR@|$(call below_prefix,$(INCLUDEDIR))|' \
	    mtasts.pc.in > $(DIST)/mtasts.pc
	$(INSTALL) -m 644 $(DIST)/mtasts.pc $(DESTDIR)$(PKGCONFIGDIR)/mtasts.pc
	$(INSTALL) -m 644 docs/man/mtasts.1 $(DESTDIR)$(MANDIR)/man1/mtasts.1
	$(INSTALL) -m 644 docs/man/libmtasts.3 $(DESTDIR)$(MANDIR)/man3/libmtasts.3
	$(INSTALL) -m 644 docs/man/mtasts.toml.5 $(DESTDIR)$(MANDIR)/man5/mtasts.toml.5
	for file in $(DOCUMENTS); do $(INSTALL) -D -m 644 "$$file" "$(DESTDIR)$(DOCDIR)/$$file" || exit 1; done
# The examples start the command from where it is.
	sed -i 's|/usr/bin/mtasts|$(BINDIR)/mtasts|' $(DESTDIR)$(DOCDIR)/examples/systemd/mtasts-refresh.service \
	    $(DESTDIR)$(DOCDIR)/examples/systemd/mtasts-serve.service $(DESTDIR)$(DOCDIR)/examples/systemd/mtasts-report.service \
	    $(DESTDIR)$(DOCDIR)/examples/systemd/mtasts-collect.service $(DESTDIR)$(DOCDIR)/examples/systemd/mtasts-visit.service \
	    $(DESTDIR)$(DOCDIR)/examples/systemd/mtasts-host.service $(DESTDIR)$(DOCDIR)/examples/cron/mtasts
	$(INSTALL) -d $(dir $(COMPLETIONS:%=$(DESTDIR)$(PREFIX)/share/%))
	for shell in $(SHELLS); do $(DIST)/mtasts completions $$shell > $(DIST)/completion.$$shell || exit 1; done
	$(foreach shell,$(SHELLS),$(INSTALL) -m 644 $(DIST)/completion.$(shell) $(DESTDIR)$(PREFIX)/share/$(completion.$(shell)) &&) :
	@[ -n "$(DESTDIR)" ] || sed 's|@DOCDIR@|$(DOCDIR)|' docs/after-install.txt

# An Exim that asks for a library which is gone would let all mail wait.
uninstall:
	@[ -n "$(DESTDIR)" ] || ! { exim4 -bP config || exim -bP config; } 2>/dev/null | grep -q '{mtasts_exim_' || \
	    { echo "Exim asks the library: run mtasts exim remove and restart Exim first, or all its mail waits" >&2; exit 1; }
	rm -f $(DESTDIR)$(BINDIR)/mtasts $(DESTDIR)$(INCLUDEDIR)/mtasts.h $(DESTDIR)$(PKGCONFIGDIR)/mtasts.pc
	rm -f $(addprefix $(DESTDIR)$(LIBDIR)/,libmtasts.so libmtasts.so.$(ABI) libmtasts.so.$(VERSION) libmtasts.a)
	rm -f $(addprefix $(DESTDIR)$(MANDIR)/,man1/mtasts.1 man3/libmtasts.3 man5/mtasts.toml.5)
	rm -f $(foreach shell,$(SHELLS),$(DESTDIR)$(PREFIX)/share/$(completion.$(shell)))
	for file in $(DOCUMENTS); do rm -f "$(DESTDIR)$(DOCDIR)/$$file"; done
	find $(DESTDIR)$(DOCDIR) -depth -type d -empty -delete 2>/dev/null || :
	@[ -n "$(DESTDIR)" ] || echo "Left are, if you have made them: /var/lib/mtasts, /etc/mtasts, the timer"

include tests/targets.mk
