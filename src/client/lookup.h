/*
 * The look-up of a host's name in a thread of its own. getaddrinfo(3) can neither be cancelled nor
 * bounded in time, so the caller must be able to abandon it: the thread then ends by itself later.
 *
 * The caller and the thread share the structure; the last of the two frees it. The thread writes to
 * the caller's descriptor only as long as the caller has not abandoned the look-up.
 */
#ifndef CLIENT_LOOKUP_H
#define CLIENT_LOOKUP_H

#include "os/address.h"
#include "dflockd/client.h"

enum {
    /*
     * Threads of one process that look names up, including those that were abandoned. A client that
     * reconnects again and again to a silent name server abandons many, and must not pile up
     * threads.
     */
    LOOKUP_THREADS_MAX = 64
};

struct lookup;

/*
 * Starts to look up `address`, which it copies. The thread makes the eventfd `descriptor` readable
 * when it has the result. The descriptor stays the caller's, who must keep it open until
 * lookup_free.
 *
 * Returns DONE and sets `*lookup`, to be freed by lookup_free. Otherwise sets it to NULL and
 * returns AGAIN if LOOKUP_THREADS_MAX threads are running, NO_MEMORY if the thread cannot be
 * created.
 */
enum dflockd_status lookup_start(struct lookup **lookup, const struct address *address,
                                 int descriptor);

/*
 * Returns DONE and fills `choices` if the look-up has found addresses, AGAIN if it is not finished.
 * Otherwise sets `*reason` to static text, and returns UNREACHABLE or NO_MEMORY.
 */
enum dflockd_status lookup_take(struct lookup *lookup, struct address_choices *choices,
                                const char **reason);

/* Ends the use of a look-up, and abandons it if it is not finished. Does nothing if it is NULL. */
void lookup_free(struct lookup *lookup);

#endif
