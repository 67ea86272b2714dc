/*
 * A client can choose its address (a host has 2^64 IPv6 addresses), so the hash is keyed with a
 * secret. A connection keeps the number of its record, which takes 4 bytes, instead of an address.
 */
#include "server/ip_limits.h"

#include <assert.h>
#include <pthread.h>
#include <sodium.h>
#include <string.h>

#include "base/list.h"
#include "base/map.h"
#include "base/segments.h"

enum {
    IP_LIMITS_RECORD_BYTES = 64
};

struct ip_count {
    struct map_link link;
    uint64_t connections;
    uint32_t number;
    uint32_t next_free; /* in the list of unused records; IP_LIMITS_NONE: the last */
    uint8_t address[SOCKETS_PEER_BYTES];
};

static_assert(sizeof(struct ip_count) <= IP_LIMITS_RECORD_BYTES, "a record has room for a count");

struct ip_limits {
    struct memory memory;
    pthread_mutex_t mutex;
    uint64_t connections_max;
    struct map map;
    struct segments records; /* number 0 is unused */
    uint32_t record_count;
    uint32_t free_records;
    uint8_t secret[crypto_shorthash_KEYBYTES];
};

struct ip_limits *ip_limits_create(const struct memory *memory, uint64_t connections_max)
{
    struct ip_limits *limits = memory_allocate(memory, sizeof(*limits), _Alignof(struct ip_limits));

    if (!limits)
        return NULL;
    memset(limits, 0, sizeof(*limits));
    limits->memory = *memory;
    limits->connections_max = connections_max;
    limits->record_count = 1;
    pthread_mutex_init(&limits->mutex, NULL);
    randombytes_buf(limits->secret, sizeof(limits->secret));
    segments_init(&limits->records, &limits->memory, IP_LIMITS_RECORD_BYTES);
    map_init(&limits->map, &limits->memory);
    if (map_reserve(&limits->map))
        return limits;
    ip_limits_destroy(limits);
    return NULL;
}

void ip_limits_destroy(struct ip_limits *limits)
{
    struct memory memory;

    if (!limits)
        return;
    memory = limits->memory;
    map_free(&limits->map);
    segments_free(&limits->records);
    pthread_mutex_destroy(&limits->mutex);
    memory_release(&memory, limits, sizeof(*limits));
}

static struct ip_count *ip_limits_at(const struct ip_limits *limits, uint32_t number)
{
    return segments_at(&limits->records, number);
}

static struct ip_count *ip_limits_find(const struct ip_limits *limits, uint64_t hash,
                                       const uint8_t *address)
{
    for (struct map_link *link = map_find(&limits->map, hash); link; link = map_find_next(link)) {
        struct ip_count *count = CONTAINER_OF(link, struct ip_count, link);

        if (memcmp(count->address, address, SOCKETS_PEER_BYTES) == 0)
            return count;
    }
    return NULL;
}

static struct ip_count *ip_limits_add(struct ip_limits *limits, uint64_t hash,
                                      const uint8_t *address)
{
    struct ip_count *count;

    if (limits->free_records != IP_LIMITS_NONE) {
        count = ip_limits_at(limits, limits->free_records);
        limits->free_records = count->next_free;
    } else if (limits->record_count <= IP_LIMITS_MAX &&
               segments_reserve(&limits->records, limits->record_count + 1)) {
        count = ip_limits_at(limits, limits->record_count);
        count->number = limits->record_count++;
    } else {
        return NULL;
    }
    memcpy(count->address, address, SOCKETS_PEER_BYTES);
    count->connections = 0;
    map_insert(&limits->map, &count->link, hash);
    return count;
}

uint32_t ip_limits_enter(struct ip_limits *limits, const uint8_t address[SOCKETS_PEER_BYTES])
{
    uint32_t number = IP_LIMITS_NONE;
    struct ip_count *count;
    uint64_t hash;

    crypto_shorthash((uint8_t *)&hash, address, SOCKETS_PEER_BYTES, limits->secret);
    pthread_mutex_lock(&limits->mutex);
    count = ip_limits_find(limits, hash, address);
    if (!count)
        count = ip_limits_add(limits, hash, address);
    if (count && count->connections < limits->connections_max) {
        count->connections++;
        number = count->number;
    }
    pthread_mutex_unlock(&limits->mutex);
    return number;
}

void ip_limits_leave(struct ip_limits *limits, uint32_t number)
{
    struct ip_count *count;

    pthread_mutex_lock(&limits->mutex);
    count = ip_limits_at(limits, number);
    assert(count->connections > 0);
    if (--count->connections == 0) {
        map_remove(&limits->map, &count->link);
        count->next_free = limits->free_records;
        limits->free_records = number;
    }
    pthread_mutex_unlock(&limits->mutex);
}
