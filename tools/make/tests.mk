# Tests; tests/README.md describes the suites.

.PHONY: check unit trials library-tests sim fuzzers fuzz mutants soak asan tsan valgrind

SUITES  ?= unit sim wire clients ctl faults library manual
EVENTS  ?= 10000000
SEED    ?=
SECONDS ?= 60
MINUTES ?= 10

check: all unit trials library-tests
	$(PYTHON) tests/run.py --build $(BUILD) $(SUITES)

# Unit tests

UNIT_TESTS  = $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/unit/test_*.c)))
# The objects of the client library without side effects.
PURE_CLIENT = $(BUILD)/src/client/lease.o
.SECONDARY: $(PURE_CLIENT)

# Code that the unit tests share, and code without cmocka that the simulation and fuzzers share too.
UNIT_SUPPORT = $(patsubst %.c,$(BUILD)/%.o,$(filter-out tests/unit/test_%,$(wildcard tests/unit/*.c)))
TEST_SUPPORT = $(patsubst %,$(BUILD)/tests/unit/%.o,lock_requests session_driver tls_files)
SIM_MODEL    = $(BUILD)/tests/sim/model.o $(BUILD)/tests/sim/model_time.o
$(UNIT_SUPPORT): CPPFLAGS += -Itests/unit

unit: $(UNIT_TESTS)

$(BUILD)/tests/unit/%: tests/unit/%.c $(UNIT_SUPPORT) $(SIM_MODEL) $(LIBRARY) $(PURE_CLIENT) $(MAKEFILES_USED)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Itests/unit $(CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $< $(UNIT_SUPPORT) $(SIM_MODEL) \
	    $(LIBRARY) $(PURE_CLIENT) $(LDLIBS) -lcmocka

# This test defines the functions of os/ring.h.
$(BUILD)/tests/unit/test_memory_priority: LIBRARY := $(filter-out \
    $(patsubst %,$(BUILD)/src/%.o,os/ring server/worker server/acceptor server/shutdown \
    server/wakeups),$(LIBRARY))

$(BUILD)/tests/unit/test_bench_%: tests/unit/test_bench_%.c $(BENCH_LIBRARY) $(MAKEFILES_USED)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Itests/unit -Iperf $(CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $< $(BENCH_LIBRARY) \
	    $(LDLIBS) -lcmocka -lm

# test_turns runs the server's connections over rings in memory. It counts the work of some sources,
# which are compiled again for that.

TURNS_COUNTED  = connections session show stripes
TURNS_OBJECTS  = $(TURNS_COUNTED:%=$(BUILD)/tests/turns/counted/%.o) \
                 $(patsubst %.c,$(BUILD)/%.o,$(sort $(wildcard tests/turns/*.c)))
TURNS_LEFT_OUT = $(patsubst %,$(BUILD)/src/%.o,os/ring os/sockets os/activation os/drain_notice \
                 os/unix_socket \
                 server/acceptor server/listeners server/log_events server/metrics server/shutdown \
                 server/worker \
                 $(TURNS_COUNTED:%=server/%))
TURNS_INCLUDED = -Itests/turns -Itests/unit

$(BUILD)/tests/turns/%.o: CPPFLAGS += $(TURNS_INCLUDED)
$(BUILD)/tests/turns/counted/%.o: src/server/%.c tests/turns/count_steps.h $(MAKEFILES_USED)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -include tests/turns/count_steps.h $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/tests/unit/test_turns: tests/unit/test_turns.c $(TURNS_OBJECTS) $(UNIT_SUPPORT) $(LIBRARY) $(MAKEFILES_USED)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(TURNS_INCLUDED) $(CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $< $(TURNS_OBJECTS) \
	    $(patsubst %,$(BUILD)/tests/unit/%.o,memory_counted lock_requests stripes_fixture) \
	    $(filter-out $(TURNS_LEFT_OUT),$(LIBRARY)) $(LDLIBS) -lcmocka

# The client library, tested as a user's program sees it: the public header and the shared library.

CLIENT_PROGRAMS = $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/client_library/*.c)))

library-tests: $(CLIENT_PROGRAMS)

$(BUILD)/tests/client_library/%: tests/client_library/%.c $(BUILD)/libdflockd.so.0 $(MAKEFILES_USED)
	@mkdir -p $(@D)
	$(CC) -D_GNU_SOURCE -Iinclude $(CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $< -L$(BUILD) -ldflockd \
	    -Wl,-rpath,$(abspath $(BUILD)) -lcmocka

# test_memory replaces the library's allocator, so that it links the objects.
comma     = ,
ALLOCATOR_CALLS = malloc calloc strdup posix_memalign free
$(BUILD)/tests/client_library/test_memory: tests/client_library/test_memory.c $(CLIENT_OBJECTS) \
                                           tests/unit/tls_files.c $(MAKEFILES_USED)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Itests/unit $(CFLAGS) -fno-lto -MMD -MP $(LDFLAGS) \
	    $(ALLOCATOR_CALLS:%=-Wl$(comma)--wrap=%) -o $@ $< tests/unit/tls_files.c \
	    $(CLIENT_OBJECTS) -lgnutls -lcmocka

# The simulation, the witness, the attacks, and a server that reserves only 256 fences at a time

SIM_SOURCES     = $(sort $(wildcard tests/sim/*.c))
WITNESS_SOURCES = $(filter-out tests/witness/bystander.c,$(sort $(wildcard tests/witness/*.c)))
ATTACK_SOURCES  = $(sort $(wildcard tests/attacks/*.c))

trials: $(BUILD)/tests/sim/sim $(BUILD)/tests/witness/witness $(BUILD)/tests/attacks/attack \
        $(BUILD)/tests/faults/dflockd-short-ranges

$(BUILD)/tests/sim/%.o: CPPFLAGS += -Itests/unit
$(BUILD)/tests/sim/sim: $(SIM_SOURCES:%.c=$(BUILD)/%.o) $(TEST_SUPPORT) $(LIBRARY)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

sim: $(BUILD)/tests/sim/sim
	$< events=$(EVENTS) $(if $(SEED),seed=$(SEED))

$(BUILD)/tests/witness/%.o: CPPFLAGS += -Iperf
$(BUILD)/tests/witness/witness: $(WITNESS_SOURCES:%.c=$(BUILD)/%.o) $(BUILD)/perf/bench/judge.o
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^

$(BUILD)/tests/witness/bystander: $(BUILD)/tests/witness/bystander.o
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lgnutls

# It runs the bystander.
$(BUILD)/tests/attacks/%.o: CPPFLAGS += -Itests
$(BUILD)/tests/attacks/attack: $(ATTACK_SOURCES:%.c=$(BUILD)/%.o) | $(BUILD)/tests/witness/bystander
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lgnutls

soak: all trials
	tests/witness/soak $(MINUTES) $(BUILD)

SHORT_RANGES = $(BUILD)/tests/faults/fence_store.o
$(SHORT_RANGES): src/server/fence_store.c $(MAKEFILES_USED)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -DFENCE_RANGE=256 $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/tests/faults/dflockd-short-ranges: $(filter-out %/fence_store.o,$(OBJECTS)) \
                                            $(SHORT_RANGES)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# Fuzzers. They need clang, and a build of their own. SECONDS=corpus runs the kept corpus once.

FUZZERS    = $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
# The server does not use jansson; the fuzzer compares results with it.
$(BUILD)/tests/fuzz/fuzz_http: LDLIBS += -ljansson
FUZZ_BUILD = BUILD=build/fuzz CC=clang SANITIZE=fuzzer-no-link,address,undefined

fuzz:
	tools/install-deps build fuzz
	$(MAKE) fuzzers $(FUZZ_BUILD)
	tests/fuzz/run $(SECONDS) build/fuzz

fuzzers: $(FUZZERS)

$(BUILD)/tests/fuzz/%: tests/fuzz/%.c $(TEST_SUPPORT) $(LIBRARY) $(MAKEFILES_USED)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Itests/unit $(CFLAGS) -fsanitize=fuzzer -MMD -MP $(LDFLAGS) -o $@ $< \
	    $(TEST_SUPPORT) $(LIBRARY) $(LDLIBS)

# The tests of the tests

mutants:
	tools/install-deps build test
	tests/mutants/run

# Sanitizers and valgrind

asan:
	tools/install-deps build test
	$(MAKE) check BUILD=build/asan SANITIZE=address,undefined EVENTS=2000000 \
	    SUITES="unit sim wire ctl faults library"

tsan:
	tools/install-deps build test
	$(MAKE) check BUILD=build/tsan SANITIZE=thread SUITES="threads library"

valgrind:
	tools/install-deps build test develop
	$(MAKE) check BUILD=build/valgrind OPTIMISE=-O1 ALLOCATOR= SUITES="valgrind"

-include $(PURE_CLIENT:.o=.d) $(UNIT_SUPPORT:.o=.d) $(TURNS_OBJECTS:.o=.d) $(UNIT_TESTS:=.d) $(CLIENT_PROGRAMS:=.d) \
         $(SHORT_RANGES:.o=.d) $(FUZZERS:=.d) $(patsubst %.c,$(BUILD)/%.d,$(SIM_SOURCES) \
         $(ATTACK_SOURCES) $(wildcard tests/witness/*.c))
