# Installation, the source archive and Debian packages.

.PHONY: install install-documents dist deb

PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
UNITS  ?= $(PREFIX)/lib/systemd/system
# Debian's packages set this to vendor-completions.
ZSH_FUNCTIONS ?= $(PREFIX)/share/zsh/site-functions

install: all install-documents
	install -D -m 755 $(BUILD)/dflockd $(DESTDIR)$(PREFIX)/bin/dflockd
	install -D -m 755 $(BUILD)/dflockctl $(DESTDIR)$(PREFIX)/bin/dflockctl
	install -D -m 755 $(BUILD)/dflockd-bench $(DESTDIR)$(PREFIX)/bin/dflockd-bench
	install -d $(DESTDIR)$(PREFIX)/include/dflockd $(DESTDIR)$(LIBDIR)/pkgconfig
	install -m 644 include/dflockd/*.h $(DESTDIR)$(PREFIX)/include/dflockd
	install -m 644 $(BUILD)/libdflockd.a $(BUILD)/libdflockd.so.0 $(DESTDIR)$(LIBDIR)
	ln -sf libdflockd.so.0 $(DESTDIR)$(LIBDIR)/libdflockd.so
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' \
	    -e "s|@VERSION@|$$(sed -n 's/.*DFLOCKD_VERSION "\(.*\)"/\1/p' include/dflockd/version.h)|" \
	    tools/dist/libdflockd.pc.in >$(DESTDIR)$(LIBDIR)/pkgconfig/libdflockd.pc
	install -D -m 644 LICENSE $(DESTDIR)$(PREFIX)/share/doc/dflockd/LICENSE
	install -D -m 644 tools/dist/seccomp.json $(DESTDIR)$(PREFIX)/share/doc/dflockd/seccomp.json
	install -D -m 644 tools/dist/fail2ban/dflockd.conf \
	    $(DESTDIR)$(PREFIX)/share/doc/dflockd/fail2ban/dflockd.conf
	install -d $(DESTDIR)$(UNITS)
	sed 's|/usr/local/bin/|$(PREFIX)/bin/|' tools/dist/dflockd.service \
	    >$(DESTDIR)$(UNITS)/dflockd.service
	install -m 644 tools/dist/dflockd.socket $(DESTDIR)$(UNITS)/dflockd.socket

install-documents: all
	for page in $(PAGES) $(wildcard tools/man/*.[1-8]); do \
	    install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man$${page##*.} $$page || exit; done
	for name in $(DOCUMENTED); do \
	    from=$(BUILD)/completion/$$name; share=$(DESTDIR)$(PREFIX)/share; \
	    install -D -m 644 $$from.bash $$share/bash-completion/completions/$$name && \
	    install -D -m 644 $$from.zsh $(DESTDIR)$(ZSH_FUNCTIONS)/_$$name && \
	    install -D -m 644 $$from.fish $$share/fish/vendor_completions.d/$$name.fish || exit; done

dist:
	tools/dist/archive $(BUILD)

deb:
	tools/install-deps build package
	tools/dist/package $$(tools/dist/archive $(BUILD)) $(BUILD)/deb
