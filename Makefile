# dflockd
#
#   make         builds build/dflockd, dflockctl, dflockd-bench and libdflockd.so.0 and .a
#   make run     installs what is missing, builds and starts the server (FLAGS="--port 7000" for flags)
#   make test    installs what the tests need, builds and runs them all
#
# Also: install (PREFIX, DESTDIR), dist, deb, clean, format, tidy, asan, tsan, valgrind, and to break it:
#   make sim SEED=1 EVENTS=1000000     make fuzz SECONDS=60     make mutants     make soak MINUTES=10

BUILD   ?= build
PREFIX  ?= /usr/local
PYTHON  ?= /usr/bin/python3
CC       = gcc
FLAGS   ?=
SECONDS ?= 60
MINUTES ?= 10
EVENTS  ?= 10000000
SEED    ?=
SUITES  ?= unit sim wire clients ctl faults library manual

# A sanitized build has the sanitizer's allocator; every other one has jemalloc.
SANITIZE ?=
ifeq ($(SANITIZE),)
# Named as needed: with link-time optimisation the linker sees no call of malloc in time.
ALLOCATOR   = -Wl,--no-as-needed -ljemalloc
OPTIMISE   ?= -O2 -flto=auto
# Checks of what the C library copies; a sanitizer has its own.
CPPFLAGS   += -D_FORTIFY_SOURCE=2
else
OPTIMISE   ?= -O1 -fno-omit-frame-pointer -fsanitize=$(SANITIZE) -fno-sanitize-recover=all
endif

WARNINGS = -Wall -Wextra -Werror -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
           -Wcast-qual -Wpointer-arith -Wundef -Wvla -Wformat=2 -Wwrite-strings
# That a bug is of less use to others; tests/wire/test_privilege.py reads it off the program.
HARDENED = -fstack-protector-strong -fstack-clash-protection -fPIE
ifeq ($(shell uname -m),x86_64)
HARDENED += -fcf-protection
endif
CFLAGS  += -std=c17 -g $(OPTIMISE) $(WARNINGS) $(HARDENED) -pthread
CPPFLAGS += -D_GNU_SOURCE -Iinclude -Isrc
LDFLAGS += -pie -Wl,-z,relro,-z,now,-z,noexecstack
LDLIBS   = -luring -lsodium -lgnutls $(ALLOCATOR)

PARTS    = base lock wire os server
SOURCES  = $(foreach part,$(PARTS),$(sort $(wildcard src/$(part)/*.c)))
OBJECTS  = $(SOURCES:%.c=$(BUILD)/%.o)
# All but main, for tests.
LIBRARY  = $(filter-out $(BUILD)/src/server/main.o,$(OBJECTS))

# The load generator; its judge is the witness's.
BENCH_SOURCES   = $(sort $(wildcard perf/bench/*.c)) tests/witness/judge.c
BENCH_OBJECTS   = $(BENCH_SOURCES:%.c=$(BUILD)/%.o)
BENCH_LIBRARY   = $(filter-out $(BUILD)/perf/bench/main.o,$(BENCH_OBJECTS)) \
                  $(filter $(BUILD)/src/base/% $(BUILD)/src/os/%,$(OBJECTS))

# The command-line tool, on the client library.
CTL_SOURCES     = $(sort $(wildcard tools/dflockctl/*.c))
CTL_OBJECTS     = $(CTL_SOURCES:%.c=$(BUILD)/%.o)

MICRO_SOURCES   = perf/micro.c $(sort $(wildcard perf/steps/*.c))
SIM_SOURCES     = $(sort $(wildcard tests/sim/*.c))
WITNESS_SOURCES = $(filter-out tests/witness/bystander.c,$(sort $(wildcard tests/witness/*.c)))
FUZZERS         = $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
UNIT_SOURCES = $(sort $(wildcard tests/unit/test_*.c))
UNIT_TESTS   = $(UNIT_SOURCES:%.c=$(BUILD)/%)
# The client's code that calls nothing with side effects; unit tests link it.
PURE_CLIENT  = $(BUILD)/src/client/lease.o
.SECONDARY: $(PURE_CLIENT)
# The client library. Its own code is seen by nobody else: not in the shared one, and not in the
# static one, whose objects are one that only exports what the header declares. Without link-time
# optimisation, so that any compiler can link it.
CLIENT_SOURCES  = $(sort $(wildcard src/client/*.c)) src/base/heap.c src/base/map.c src/base/segments.c \
                  src/os/clock.c src/os/tls.c
CLIENT_OBJECTS  = $(CLIENT_SOURCES:%.c=$(BUILD)/library/%.o)
CLIENT_PROGRAMS = $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/client_library/*.c)))
# dlclose(3) must not unload it: the thread of an abandoned look-up may still run its code.
CLIENT_LINK     = -Wl,-z,relro,-z,now,-z,noexecstack,-z,nodelete -Wl,--as-needed
FORMATTED    = $(shell git ls-files '*.c' '*.h')

.PHONY: all library library-tests run test check perf unit trials sim fuzz fuzzers mutants soak install clean asan tsan \
        valgrind format tidy

all: $(BUILD)/dflockd $(BUILD)/dflockctl $(BUILD)/dflockd-bench library

$(BUILD)/dflockd: $(OBJECTS)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/perf/bench/%.o: CPPFLAGS += -Iperf -Itests
$(BUILD)/dflockd-bench: $(BUILD)/perf/bench/main.o $(BENCH_LIBRARY)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lm

$(BUILD)/tools/dflockctl/%.o: CPPFLAGS += -Itools
$(BUILD)/dflockctl: $(CTL_OBJECTS) $(BUILD)/src/base/flags.o $(BUILD)/src/base/auth_token.o \
                    $(BUILD)/src/os/clock.o $(BUILD)/src/os/standard_descriptors.o \
                    $(BUILD)/src/os/standard_output.o $(BUILD)/src/client/claim.o \
                    $(BUILD)/src/client/lease.o $(BUILD)/libdflockd.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lsodium -lgnutls -ljansson

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/tests/unit/%: tests/unit/%.c $(LIBRARY) $(PURE_CLIENT) Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Itests/unit $(CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $< $(LIBRARY) $(PURE_CLIENT) \
	    $(LDLIBS) -lcmocka

$(BUILD)/tests/unit/test_bench_%: tests/unit/test_bench_%.c $(BENCH_LIBRARY) Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Itests/unit -Iperf $(CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $< $(BENCH_LIBRARY) \
	    $(LDLIBS) -lcmocka -lm

# A server that does nothing, to measure against; the table and the parser alone; the load.
perf: $(BUILD)/perf/ceiling $(BUILD)/perf/micro $(BUILD)/dflockd-bench

$(MICRO_SOURCES:%.c=$(BUILD)/%.o): CPPFLAGS += -Iperf
$(BUILD)/perf/micro: $(MICRO_SOURCES:%.c=$(BUILD)/%.o) $(LIBRARY)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/perf/%: perf/%.c $(LIBRARY) Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $< $(LIBRARY) $(LDLIBS)

library: $(BUILD)/libdflockd.so.0 $(BUILD)/libdflockd.a

$(BUILD)/library/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -fno-lto -fPIC -fvisibility=hidden -MMD -MP -c -o $@ $<

$(BUILD)/libdflockd.so.0: $(CLIENT_OBJECTS) src/client/exports.map
	$(CC) $(CFLAGS) -fno-lto -shared -Wl,-soname,$(@F) -Wl,--version-script=src/client/exports.map \
	    $(CLIENT_LINK) -o $@ $(CLIENT_OBJECTS) -lgnutls
	ln -sf $(@F) $(@D)/libdflockd.so

$(BUILD)/libdflockd.a: $(CLIENT_OBJECTS)
	ld -r -o $(@D)/library/libdflockd.o $^
	objcopy --localize-hidden $(@D)/library/libdflockd.o
	rm -f $@
	ar rcs $@ $(@D)/library/libdflockd.o

library-tests: $(CLIENT_PROGRAMS)

# As a user's program: only the header, and the shared library beside it.
$(BUILD)/tests/client_library/%: tests/client_library/%.c $(BUILD)/libdflockd.so.0 Makefile
	@mkdir -p $(@D)
	$(CC) -D_GNU_SOURCE -Iinclude $(CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $< -L$(BUILD) -ldflockd \
	    -Wl,-rpath,$(abspath $(BUILD)) -lcmocka

# But for this one, which has the library's calls of the allocator come to itself.
comma     = ,
ALLOCATOR_CALLS = malloc calloc strdup posix_memalign free
$(BUILD)/tests/client_library/test_memory: tests/client_library/test_memory.c $(CLIENT_OBJECTS) Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Itests/unit $(CFLAGS) -fno-lto -MMD -MP $(LDFLAGS) \
	    $(ALLOCATOR_CALLS:%=-Wl$(comma)--wrap=%) -o $@ $< $(CLIENT_OBJECTS) -lgnutls -lcmocka

# Manual pages, completions and the file of defaults, made of what each program says of itself.
PAGES       = $(patsubst tools/man/%.in,$(BUILD)/man/%,$(wildcard tools/man/*.in))
DOCUMENTED  = $(basename $(notdir $(PAGES)))
SHELLS      = bash zsh fish
COMPLETIONS = $(foreach shell,$(SHELLS),$(DOCUMENTED:%=$(BUILD)/completion/%.$(shell)))
AWK_FLAGS   = awk -f tools/man/flags.awk

.DELETE_ON_ERROR:
.PHONY: documents install-documents
all: documents
documents: $(PAGES) $(COMPLETIONS) $(BUILD)/dflockd.default

$(BUILD)/help/%: $(BUILD)/% tools/man/help
	@mkdir -p $(@D)
	tools/man/help $< >$@

$(PAGES): $(BUILD)/man/%: tools/man/%.in tools/man/flags.awk tools/man/page.awk \
          $(DOCUMENTED:%=$(BUILD)/help/%)
	@mkdir -p $(@D)
	$(AWK_FLAGS) -f tools/man/page.awk reading=help $(BUILD)/help/$(basename $*) reading=page $< >$@

$(BUILD)/completion/%.bash $(BUILD)/completion/%.zsh $(BUILD)/completion/%.fish: \
        $(BUILD)/help/% tools/man/flags.awk $(wildcard tools/completion/*.awk)
	@mkdir -p $(@D)
	for shell in $(SHELLS); do $(AWK_FLAGS) -f tools/completion/choices.awk \
	    -f tools/completion/$$shell.awk reading=help $< >$(@D)/$*.$$shell || exit; done

$(BUILD)/%.default: $(BUILD)/help/% tools/man/flags.awk tools/dist/default.awk
	$(AWK_FLAGS) -f tools/dist/default.awk reading=help $< >$@

# Where Debian's zsh looks, for packages; zsh itself looks in site-functions.
ZSH_FUNCTIONS ?= $(PREFIX)/share/zsh/site-functions
install: install-documents
install-documents: all
	for page in $(PAGES) $(wildcard tools/man/*.[1-8]); do \
	    install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man$${page##*.} $$page || exit; done
	for name in $(DOCUMENTED); do \
	    from=$(BUILD)/completion/$$name; share=$(DESTDIR)$(PREFIX)/share; \
	    install -D -m 644 $$from.bash $$share/bash-completion/completions/$$name && \
	    install -D -m 644 $$from.zsh $(DESTDIR)$(ZSH_FUNCTIONS)/_$$name && \
	    install -D -m 644 $$from.fish $$share/fish/vendor_completions.d/$$name.fish || exit; done

run:
	tools/install-deps build
	$(MAKE) all
	exec $(BUILD)/dflockd $(FLAGS)

# What the tests need is installed once, before anything is built.
FUZZ_BUILD = BUILD=build/fuzz CC=clang SANITIZE=fuzzer-no-link,address,undefined
test:
	tools/install-deps build test fuzz
	$(MAKE) fuzzers $(FUZZ_BUILD)
	$(MAKE) check SUITES="unit sim fuzz wire clients ctl faults library manual"

unit: $(UNIT_TESTS)

# Programs that try to break the server: see tests/README.md.
trials: $(BUILD)/tests/sim/sim $(BUILD)/tests/witness/witness $(BUILD)/tests/witness/bystander \
        $(BUILD)/tests/faults/dflockd-short-ranges

$(BUILD)/tests/sim/%.o: CPPFLAGS += -Itests/unit
$(BUILD)/tests/sim/sim: $(SIM_SOURCES:%.c=$(BUILD)/%.o) $(LIBRARY)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/tests/witness/witness: $(WITNESS_SOURCES:%.c=$(BUILD)/%.o)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^

$(BUILD)/tests/witness/bystander: $(BUILD)/tests/witness/bystander.o
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^

# The server, but for fences that it reserves by the few hundred: it has to all the time.
SHORT_RANGES = $(BUILD)/tests/faults/fence_store.o
$(SHORT_RANGES): src/server/fence_store.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -DFENCE_RANGE=256 $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/tests/faults/dflockd-short-ranges: $(filter-out %/fence_store.o,$(OBJECTS)) $(SHORT_RANGES)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

sim: $(BUILD)/tests/sim/sim
	$< events=$(EVENTS) $(if $(SEED),seed=$(SEED))

# Only with CC=clang and fuzzer-no-link among the sanitizers: see fuzz.
fuzzers: $(FUZZERS)

$(BUILD)/tests/fuzz/%: tests/fuzz/%.c $(LIBRARY) Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Itests/unit $(CFLAGS) -fsanitize=fuzzer -MMD -MP $(LDFLAGS) -o $@ $< $(LIBRARY) $(LDLIBS)

# SECONDS=corpus replays the kept corpus once.
fuzz:
	tools/install-deps build fuzz
	$(MAKE) fuzzers $(FUZZ_BUILD)
	tests/fuzz/run $(SECONDS) build/fuzz

mutants:
	tools/install-deps build test
	tests/mutants/run

soak: all trials
	tests/witness/soak $(MINUTES) $(BUILD)

check: all unit trials library-tests
	$(PYTHON) tests/run.py --build $(BUILD) $(SUITES)

asan:
	tools/install-deps build test
	$(MAKE) check BUILD=build/asan SANITIZE=address,undefined EVENTS=2000000 \
	    SUITES="unit sim wire clients ctl faults library"

tsan:
	tools/install-deps build test
	$(MAKE) check BUILD=build/tsan SANITIZE=thread SUITES="unit library"

valgrind:
	tools/install-deps build test develop
	$(MAKE) check BUILD=build/valgrind OPTIMISE=-O1 ALLOCATOR= SUITES="valgrind"

LIBDIR ?= $(PREFIX)/lib
UNITS  ?= $(PREFIX)/lib/systemd/system
install: all
	install -D -m 755 $(BUILD)/dflockd $(DESTDIR)$(PREFIX)/bin/dflockd
	install -D -m 755 $(BUILD)/dflockctl $(DESTDIR)$(PREFIX)/bin/dflockctl
	install -D -m 755 $(BUILD)/dflockd-bench $(DESTDIR)$(PREFIX)/bin/dflockd-bench
	install -d $(DESTDIR)$(PREFIX)/include/dflockd $(DESTDIR)$(LIBDIR)/pkgconfig
	install -m 644 include/dflockd/*.h $(DESTDIR)$(PREFIX)/include/dflockd
	install -m 644 $(BUILD)/libdflockd.a $(BUILD)/libdflockd.so.0 $(DESTDIR)$(LIBDIR)
	ln -sf libdflockd.so.0 $(DESTDIR)$(LIBDIR)/libdflockd.so
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' \
	    -e "s|@VERSION@|$$(sed -n 's/.*DFLOCKD_VERSION "\(.*\)"/\1/p' include/dflockd/protocol.h)|" \
	    tools/dist/libdflockd.pc.in >$(DESTDIR)$(LIBDIR)/pkgconfig/libdflockd.pc
	install -D -m 644 LICENSE $(DESTDIR)$(PREFIX)/share/doc/dflockd/LICENSE
	install -D -m 644 tools/dist/seccomp.json $(DESTDIR)$(PREFIX)/share/doc/dflockd/seccomp.json
	install -D -m 644 tools/dist/fail2ban/dflockd.conf \
	    $(DESTDIR)$(PREFIX)/share/doc/dflockd/fail2ban/dflockd.conf
	install -d $(DESTDIR)$(UNITS)
	sed 's|/usr/local/bin/|$(PREFIX)/bin/|' tools/dist/dflockd.service >$(DESTDIR)$(UNITS)/dflockd.service
	install -m 644 tools/dist/dflockd.socket $(DESTDIR)$(UNITS)/dflockd.socket

# A source archive; and Debian packages of it, in build/deb.
.PHONY: dist deb
dist:
	tools/dist/archive $(BUILD)

deb:
	tools/install-deps build package
	tools/dist/package $$(tools/dist/archive $(BUILD)) $(BUILD)/deb

clean:
	rm -rf build

format:
	tools/install-deps develop
	clang-format -i $(FORMATTED)

tidy:
	tools/install-deps build develop
	tools/tidy $(SOURCES) $(BENCH_SOURCES) $(filter src/client/%,$(CLIENT_SOURCES)) \
	    $(CTL_SOURCES) $(wildcard tools/examples/*.c)

-include $(OBJECTS:.o=.d) $(PURE_CLIENT:.o=.d) $(BENCH_OBJECTS:.o=.d) $(CTL_OBJECTS:.o=.d) $(UNIT_TESTS:=.d) $(FUZZERS:=.d) \
         $(SHORT_RANGES:.o=.d) $(CLIENT_OBJECTS:.o=.d) $(CLIENT_PROGRAMS:=.d) \
         $(patsubst %.c,$(BUILD)/%.d,$(MICRO_SOURCES) $(SIM_SOURCES) $(wildcard tests/witness/*.c))
