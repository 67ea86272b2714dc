# libdflockd, the client library, shared and static. Both export only the functions of
# dflockd/client.h. They are built without link-time optimisation, so that any compiler can link
# the static one.

.PHONY: library

CLIENT_SOURCES = $(sort $(wildcard src/client/*.c)) src/base/heap.c src/base/map.c \
                 src/base/segments.c src/base/utf8.c src/os/address.c src/os/clock.c \
                 src/os/system_memory.c src/os/tls.c
CLIENT_OBJECTS = $(CLIENT_SOURCES:%.c=$(BUILD)/library/%.o)
# nodelete: a thread that waits for a name server can run the library's code after dlclose(3).
CLIENT_LINK    = -Wl,-z,relro,-z,now,-z,noexecstack,-z,nodelete -Wl,--as-needed

library: $(BUILD)/libdflockd.so.0 $(BUILD)/libdflockd.a

$(BUILD)/library/%.o: %.c $(MAKEFILES_USED)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -fno-lto -fPIC -fvisibility=hidden -MMD -MP -c -o $@ $<

$(BUILD)/libdflockd.so.0: $(CLIENT_OBJECTS) src/client/exports.map
	$(CC) $(CFLAGS) -fno-lto -shared -Wl,-soname,$(@F) -Wl,--version-script=src/client/exports.map \
	    $(CLIENT_LINK) -o $@ $(CLIENT_OBJECTS) -lgnutls
	ln -sf $(@F) $(@D)/libdflockd.so

# One object, in which hidden symbols are made local.
$(BUILD)/libdflockd.a: $(CLIENT_OBJECTS)
	ld -r -o $(@D)/library/libdflockd.o $^
	objcopy --localize-hidden $(@D)/library/libdflockd.o
	rm -f $@
	ar rcs $@ $(@D)/library/libdflockd.o

-include $(CLIENT_OBJECTS:.o=.d)
