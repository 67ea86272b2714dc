# dflockd
#
#   make         build the server, dflockctl, dflockd-bench, libdflockd and their documents
#   make run     install what is missing, build, and start the server (FLAGS="--port 7000")
#   make test    install what the tests need, build, and run all tests
#
# The parts in tools/make have the other targets:
#
#   programs.mk      perf
#   library.mk       library
#   documents.mk     documents
#   tests.mk         check unit sim fuzz mutants soak asan tsan valgrind
#   install.mk       install (PREFIX, DESTDIR) dist deb
#   compiler.mk      no targets: CC, OPTIMISE, SANITIZE, warnings

BUILD  ?= build
PYTHON ?= /usr/bin/python3
FLAGS  ?=

.PHONY: all run test clean format tidy
.DELETE_ON_ERROR:

all: $(BUILD)/dflockd $(BUILD)/dflockctl $(BUILD)/dflockd-bench library documents

run:
	tools/install-deps build
	$(MAKE) all
	exec $(BUILD)/dflockd $(FLAGS)

test:
	tools/install-deps build test fuzz
	$(MAKE) fuzzers $(FUZZ_BUILD)
	$(MAKE) check SUITES="unit sim fuzz wire clients ctl faults library manual"

clean:
	rm -rf build

format:
	tools/install-deps develop
	clang-format -i $(shell git ls-files '*.c' '*.h')

tidy:
	tools/install-deps build develop
	tools/tidy $(SOURCES) $(BENCH_SOURCES) $(filter src/client/%,$(CLIENT_SOURCES)) \
	    $(CTL_SOURCES) $(wildcard tools/examples/*.c)

# Every object depends on these files.
MAKEFILES_USED = Makefile $(wildcard tools/make/*.mk)

include tools/make/compiler.mk
include tools/make/programs.mk
include tools/make/library.mk
include tools/make/documents.mk
include tools/make/tests.mk
include tools/make/install.mk
