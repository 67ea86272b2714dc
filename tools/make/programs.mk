# The server, dflockctl, dflockd-bench, and the programs that measure the server.

.PHONY: perf

SOURCES = $(foreach part,base lock wire os server http,$(sort $(wildcard src/$(part)/*.c)))
OBJECTS = $(SOURCES:%.c=$(BUILD)/%.o)
# The server without main, for tests.
LIBRARY = $(filter-out $(BUILD)/src/server/main.o,$(OBJECTS))

# It includes the files of the page.
$(BUILD)/src/http/page.o: $(wildcard src/http/page/*)

$(BUILD)/dflockd: $(OBJECTS)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# dflockctl

CTL_SOURCES = $(sort $(wildcard tools/dflockctl/*.c))
CTL_OBJECTS = $(CTL_SOURCES:%.c=$(BUILD)/%.o)

$(BUILD)/tools/dflockctl/%.o: CPPFLAGS += -Itools
$(BUILD)/dflockctl: $(CTL_OBJECTS) $(BUILD)/src/base/flags.o $(BUILD)/src/base/similar.o \
                    $(BUILD)/src/base/advice.o $(BUILD)/src/base/auth_token.o $(BUILD)/src/os/address.o \
                    $(BUILD)/src/os/clock.o $(BUILD)/src/os/standard_descriptors.o \
                    $(BUILD)/src/os/standard_output.o $(BUILD)/src/client/claim.o \
                    $(BUILD)/src/client/claim_text.o \
                    $(BUILD)/src/client/lease.o $(BUILD)/src/client/name.o $(BUILD)/src/base/utf8.o \
                    $(BUILD)/libdflockd.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lsodium -lgnutls

# dflockd-bench

BENCH_SOURCES = $(sort $(wildcard perf/bench/*.c))
BENCH_OBJECTS = $(BENCH_SOURCES:%.c=$(BUILD)/%.o)
BENCH_LIBRARY = $(filter-out $(BUILD)/perf/bench/main.o,$(BENCH_OBJECTS)) \
                $(filter $(BUILD)/src/base/% $(BUILD)/src/os/%,$(OBJECTS)) \
                $(BUILD)/src/client/buffer.o

$(BUILD)/perf/bench/%.o: CPPFLAGS += -Iperf
$(BUILD)/dflockd-bench: $(BUILD)/perf/bench/main.o $(BENCH_LIBRARY)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lm

# perf/ceiling replies without serving requests; perf/micro runs the table and the parser alone.

MICRO_SOURCES = perf/micro.c $(sort $(wildcard perf/steps/*.c))

perf: $(BUILD)/perf/ceiling $(BUILD)/perf/micro $(BUILD)/dflockd-bench

$(MICRO_SOURCES:%.c=$(BUILD)/%.o): CPPFLAGS += -Iperf
$(BUILD)/perf/micro: $(MICRO_SOURCES:%.c=$(BUILD)/%.o) $(LIBRARY)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/perf/%: perf/%.c $(LIBRARY) $(MAKEFILES_USED)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $< $(LIBRARY) $(LDLIBS)

-include $(OBJECTS:.o=.d) $(CTL_OBJECTS:.o=.d) $(BENCH_OBJECTS:.o=.d) \
         $(wildcard $(BUILD)/src/client/*.d) \
         $(MICRO_SOURCES:%.c=$(BUILD)/%.d)
