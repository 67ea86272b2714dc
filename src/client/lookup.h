/*
 * The look-up of a host's name in its own thread. getaddrinfo(3) can neither be cancelled nor have
 * a timeout. So the caller can abandon a look-up; its thread ends later.
 *
 * Caller and thread share the structure; the last one frees it. The thread writes to the caller's
 * descriptor only until the caller abandons the look-up.
 */
#ifndef CLIENT_LOOKUP_H
#define CLIENT_LOOKUP_H

#include "dflockd/client.h"
#include "os/address.h"

enum {
    /*
     * Threads of one process that look up names, with abandoned ones. A client that reconnects
     * while the name server is silent abandons many.
     */
    LOOKUP_THREADS_MAX = 64
};

struct lookup;

/*
 * Starts to look up `address`, which it copies. The thread makes the eventfd `descriptor` readable
 * when it has the result. The caller owns the descriptor, and must keep it open until lookup_free.
 *
 * Returns DONE and sets `*lookup`, which the caller must free with lookup_free. Otherwise sets it
 * to NULL and returns AGAIN (LOOKUP_THREADS_MAX threads are running) or NO_MEMORY (no thread can be
 * created).
 */
enum dflockd_status lookup_start(struct lookup **lookup, const struct address *address,
                                 int descriptor);

/*
 * Returns DONE and fills `choices` if the look-up has found addresses, AGAIN if it is not finished.
 * Otherwise sets `*reason` to static text, and returns UNREACHABLE or NO_MEMORY.
 */
enum dflockd_status lookup_take(struct lookup *lookup, struct address_choices *choices,
                                const char **reason);

/* Frees a look-up, or abandons it if it is not finished. Does nothing if it is NULL. */
void lookup_free(struct lookup *lookup);

#endif
