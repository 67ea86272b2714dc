/*
 * Frees memory for buffers while their reserve is in use (see server/buffer_rules.h). It closes
 * connections that own some, in the order of its laps:
 *
 *   lap              closes connections
 *   UNAUTHENTICATED  in a TLS handshake or before their secret
 *   LEASELESS        whose clients hold no lease; they may wait for one
 *   UNREAD           whose peers do not read, those first that wait longest
 *   LATE             whose request is incomplete for a second, if half of the reserve is used
 *
 * UNREAD and LATE may close holders. A holder with a complete request that reads its replies loses
 * nothing. LATE is against clients that acquire cheap leases to keep the memory of others.
 *
 * UNREAD follows the list of pending sends. In the other laps a hand passes all slots. It looks at
 * some of them in a turn (see server/turn.h), and stops when enough memory is free. After the last
 * lap it rests for a while, because then holders need the memory.
 *
 * The budget is shared, so when a worker finds the reserve in use it wakes the others: sleeping
 * ones may have what is missing, also in spare chunks of their pools.
 */
#ifndef SERVER_EVICTOR_H
#define SERVER_EVICTOR_H

#include "server/connection.h"
#include "server/slots.h"

enum evictor_lap {
    EVICTOR_UNAUTHENTICATED,
    EVICTOR_LEASELESS,
    EVICTOR_UNREAD,
    EVICTOR_LATE,
    EVICTOR_LAPS
};

struct evictor {
    uint64_t rest_until_ns;
    uint64_t wake_after_ns; /* the other workers are not woken before */
    uint32_t hand;          /* the next slot */
    uint32_t passed;        /* slots in this lap */
    uint8_t lap;            /* enum evictor_lap; EVICTOR_LAPS: it rests */
    bool active;            /* the reserve was in use in the last turn */
};

/*
 * Does a turn's part. `workers` are the workers to wake. Returns true if the next turn must not
 * wait.
 */
bool evictor_turn(struct evictor *evictor, struct connection_context *context,
                  const struct slots *slots, uint64_t workers);

/* Returns when the next lap begins, if connections may be late by then; UINT64_MAX: never. */
uint64_t evictor_deadline(const struct evictor *evictor, const struct budget *buffers);

#endif
