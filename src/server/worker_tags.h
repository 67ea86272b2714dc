/*
 * Tags of a worker's own requests in its ring; 0 stands for no interest in the completion. Tags of
 * connections begin at CONNECTIONS_TAG_MIN.
 *
 * If the kernel drops completions, the worker cancels its requests and begins a new era. Requests
 * that last, or change a state, carry the era in the bits from TAG_ERA_SHIFT on, so that a late
 * completion of an earlier era is recognised.
 */
#ifndef SERVER_WORKER_TAGS_H
#define SERVER_WORKER_TAGS_H

#include <assert.h>

#include "os/ring.h"
#include "server/connection_id.h"
#include "server/connections.h"
#include "server/listeners.h"

enum worker_tag {
    TAG_SIGNAL = 1,
    TAG_WAKE,
    TAG_FENCES,
    TAG_HANDED_OVER,       /* a connection that another worker accepted */
    TAG_HANDED_OVER_LOCAL, /* the same, from a Unix socket */
    TAG_POKE_FAILED,       /* of worker 0; those of the other workers follow */
    TAG_ACCEPT = TAG_POKE_FAILED + ENTRANTS_MAX, /* on listener 0; those of the others follow */
    TAG_ERA_SHIFT = 8,
    TAG_MASK = (1 << TAG_ERA_SHIFT) - 1,
    TAG_ERAS = CONNECTIONS_TAG_MIN >> TAG_ERA_SHIFT
};

static_assert(TAG_ACCEPT + LISTENERS_MAX <= TAG_MASK, "each listener has a tag");
static_assert((int)CONNECTIONS_TAG_MIN <= (int)RING_HAND_TAGS, "the tags can be handed over");

#endif
