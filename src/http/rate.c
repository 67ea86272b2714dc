/*
 * A bucket is one time: when it is full again. A request moves that time by the interval between
 * two requests, and is refused if the time would lie further ahead than a whole burst. So nothing
 * is to be done as time passes, and the least time in a heap is the next bucket to forget.
 *
 * A client can choose its address (a host has 2^64 IPv6 addresses), so the hash is keyed with a
 * secret.
 */
#include "http/rate.h"

#include <sodium.h>
#include <string.h>

#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "base/pool.h"
#include "base/time_units.h"

enum {
    RATE_FORGOTTEN_MAX = 2 /* by one call: the buckets shrink faster than they grow */
};

struct rate_bucket {
    struct map_link link;
    struct heap_node node; /* by the time at which it is full */
    uint8_t address[SOCKETS_PEER_BYTES];
};

struct rate {
    struct memory memory;
    uint64_t interval_ns; /* between requests at the rate */
    uint64_t burst_ns;    /* intervals of a burst */
    struct map map;
    struct heap heap;
    struct pool pool;
    uint8_t secret[crypto_shorthash_KEYBYTES];
};

static uint64_t rate_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

struct rate *rate_create(const struct memory *memory, uint64_t per_second, uint64_t burst)
{
    struct rate *rate = memory_allocate(memory, sizeof(*rate), _Alignof(struct rate));

    if (!rate)
        return NULL;
    memset(rate, 0, sizeof(*rate));
    rate->memory = *memory;
    /* Rounded up: at 3 per second an address gets 3 requests in 1.000000002 s. */
    rate->interval_ns = (NS_PER_S - 1) / rate_min(per_second, NS_PER_S) + 1;
    /* So that times fit into 64 bits. */
    rate->burst_ns = rate_min(burst ? burst : per_second, INT32_MAX) * rate->interval_ns;
    randombytes_buf(rate->secret, sizeof(rate->secret));
    map_init(&rate->map, &rate->memory);
    heap_init(&rate->heap, &rate->memory);
    pool_init(&rate->pool, &rate->memory, sizeof(struct rate_bucket));
    if (map_reserve(&rate->map))
        return rate;
    rate_destroy(rate);
    return NULL;
}

static void rate_forget(struct rate *rate, struct rate_bucket *bucket)
{
    map_remove(&rate->map, &bucket->link);
    heap_remove(&rate->heap, &bucket->node);
    pool_give(&rate->pool, bucket);
}

static struct rate_bucket *rate_first_full(const struct rate *rate)
{
    struct heap_node *node = heap_top(&rate->heap);

    return node ? CONTAINER_OF(node, struct rate_bucket, node) : NULL;
}

void rate_destroy(struct rate *rate)
{
    struct rate_bucket *bucket;
    struct memory memory;

    if (!rate)
        return;
    memory = rate->memory;
    while ((bucket = rate_first_full(rate)) != NULL)
        rate_forget(rate, bucket);
    pool_free(&rate->pool);
    heap_free(&rate->heap);
    map_free(&rate->map);
    memory_release(&memory, rate, sizeof(*rate));
}

static struct rate_bucket *rate_find(const struct rate *rate, uint64_t hash,
                                     const uint8_t address[SOCKETS_PEER_BYTES])
{
    for (struct map_link *link = map_find(&rate->map, hash); link; link = map_find_next(link)) {
        struct rate_bucket *bucket = CONTAINER_OF(link, struct rate_bucket, link);

        if (memcmp(bucket->address, address, SOCKETS_PEER_BYTES) == 0)
            return bucket;
    }
    return NULL;
}

/* Adds a bucket that is full at `full_ns`, if there is room. */
static void rate_add(struct rate *rate, uint64_t hash, const uint8_t address[SOCKETS_PEER_BYTES],
                     uint64_t full_ns)
{
    struct rate_bucket *bucket;

    if (rate->heap.count == RATE_ADDRESSES_MAX || !heap_reserve(&rate->heap, rate->heap.count + 1))
        return;
    bucket = pool_take(&rate->pool);
    if (!bucket)
        return;
    memset(bucket, 0, sizeof(*bucket));
    memcpy(bucket->address, address, SOCKETS_PEER_BYTES);
    map_insert(&rate->map, &bucket->link, hash);
    heap_insert(&rate->heap, &bucket->node, full_ns);
}

static void rate_forget_full(struct rate *rate, uint64_t now_ns)
{
    for (int i = 0; i < RATE_FORGOTTEN_MAX && heap_top_key(&rate->heap) <= now_ns; i++)
        rate_forget(rate, rate_first_full(rate));
    heap_trim(&rate->heap, rate->heap.count);
}

bool rate_take(struct rate *rate, uint64_t now_ns, const uint8_t address[SOCKETS_PEER_BYTES],
               uint64_t *retry_after_s)
{
    struct rate_bucket *bucket;
    uint64_t full_ns = now_ns;
    uint64_t hash;

    rate_forget_full(rate, now_ns);
    crypto_shorthash((uint8_t *)&hash, address, SOCKETS_PEER_BYTES, rate->secret);
    bucket = rate_find(rate, hash, address);
    if (bucket && heap_key(&rate->heap, &bucket->node) > now_ns)
        full_ns = heap_key(&rate->heap, &bucket->node);
    full_ns += rate->interval_ns;
    if (full_ns - now_ns > rate->burst_ns) {
        *retry_after_s = (full_ns - now_ns - rate->burst_ns + NS_PER_S - 1) / NS_PER_S;
        return false;
    }
    if (bucket)
        heap_update(&rate->heap, &bucket->node, full_ns);
    else
        rate_add(rate, hash, address, full_ns);
    return true;
}
