# Compiler and linker options. OPTIMISE, SANITIZE and CC can be given on the command line.

CC = gcc

# A sanitized build uses the sanitizer's allocator and its checks; every other build uses jemalloc.
SANITIZE ?=
ifeq ($(SANITIZE),)
# With link-time optimisation the linker sees calls of malloc too late to keep the library.
ALLOCATOR   = -Wl,--no-as-needed -ljemalloc
OPTIMISE   ?= -O2 -flto=auto
CPPFLAGS   += -D_FORTIFY_SOURCE=2
else
OPTIMISE   ?= -O1 -fno-omit-frame-pointer -fsanitize=$(SANITIZE) -fno-sanitize-recover=all
endif

WARNINGS = -Wall -Wextra -Werror -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
           -Wcast-qual -Wpointer-arith -Wundef -Wvla -Wformat=2 -Wwrite-strings
# tests/wire/test_privilege.py checks these in the program.
HARDENED = -fstack-protector-strong -fstack-clash-protection -fPIE
ifeq ($(shell uname -m),x86_64)
HARDENED += -fcf-protection
endif

CFLAGS   += -std=c17 -g $(OPTIMISE) $(WARNINGS) $(HARDENED) -pthread
CPPFLAGS += -D_GNU_SOURCE -Iinclude -Isrc
LDFLAGS  += -pie -Wl,-z,relro,-z,now,-z,noexecstack
# dflockd-bench and some tests do not use all of them.
LDLIBS    = -Wl,--as-needed -luring -lsodium -lgnutls -lmicrohttpd $(ALLOCATOR)

$(BUILD)/%.o: %.c $(MAKEFILES_USED)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<
