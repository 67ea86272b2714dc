/*
 * Addresses can be chosen (a host has 2^64 of IPv6), so their hash is keyed with a secret. Records
 * are named by number and not by address, so that a connection keeps 4 bytes.
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
    RECORD_BYTES = 64
};

struct peer {
    struct map_link link;
    uint64_t connections;
    uint32_t number;
    uint32_t next_free; /* of those without connections; IP_LIMITS_NONE: the last */
    uint8_t address[SOCKETS_PEER_BYTES];
};

static_assert(sizeof(struct peer) <= RECORD_BYTES, "a record has room for a peer");

struct ip_limits {
    struct memory memory;
    pthread_mutex_t mutex;
    uint64_t connections_max;
    struct map map;
    struct segments records; /* number 0 is none's */
    uint32_t record_count;
    uint32_t free_records;
    uint8_t secret[crypto_shorthash_KEYBYTES];
};

struct ip_limits *ip_limits_create(const struct memory *memory, uint64_t connections_max)
{
    struct ip_limits *peers = memory_allocate(memory, sizeof(*peers), _Alignof(struct ip_limits));

    if (!peers)
        return NULL;
    memset(peers, 0, sizeof(*peers));
    peers->memory = *memory;
    peers->connections_max = connections_max;
    peers->record_count = 1;
    pthread_mutex_init(&peers->mutex, NULL);
    randombytes_buf(peers->secret, sizeof(peers->secret));
    segments_init(&peers->records, &peers->memory, RECORD_BYTES);
    map_init(&peers->map, &peers->memory);
    if (map_reserve(&peers->map))
        return peers;
    ip_limits_destroy(peers);
    return NULL;
}

void ip_limits_destroy(struct ip_limits *peers)
{
    struct memory memory;

    if (!peers)
        return;
    memory = peers->memory;
    map_free(&peers->map);
    segments_free(&peers->records);
    pthread_mutex_destroy(&peers->mutex);
    memory_release(&memory, peers, sizeof(*peers));
}

static struct peer *peer_at(const struct ip_limits *peers, uint32_t number)
{
    return segments_at(&peers->records, number);
}

static struct peer *find(const struct ip_limits *peers, uint64_t hash, const uint8_t *address)
{
    for (struct map_link *link = map_find(&peers->map, hash); link; link = map_find_next(link)) {
        struct peer *peer = CONTAINER_OF(link, struct peer, link);

        if (memcmp(peer->address, address, SOCKETS_PEER_BYTES) == 0)
            return peer;
    }
    return NULL;
}

static struct peer *add(struct ip_limits *peers, uint64_t hash, const uint8_t *address)
{
    struct peer *peer;

    if (peers->free_records != IP_LIMITS_NONE) {
        peer = peer_at(peers, peers->free_records);
        peers->free_records = peer->next_free;
    } else if (peers->record_count <= IP_LIMITS_MAX &&
               segments_reserve(&peers->records, peers->record_count + 1)) {
        peer = peer_at(peers, peers->record_count);
        peer->number = peers->record_count++;
    } else {
        return NULL;
    }
    memcpy(peer->address, address, SOCKETS_PEER_BYTES);
    peer->connections = 0;
    map_insert(&peers->map, &peer->link, hash);
    return peer;
}

uint32_t ip_limits_enter(struct ip_limits *peers, const uint8_t address[SOCKETS_PEER_BYTES])
{
    uint32_t number = IP_LIMITS_NONE;
    struct peer *peer;
    uint64_t hash;

    crypto_shorthash((uint8_t *)&hash, address, SOCKETS_PEER_BYTES, peers->secret);
    pthread_mutex_lock(&peers->mutex);
    peer = find(peers, hash, address);
    if (!peer)
        peer = add(peers, hash, address);
    if (peer && peer->connections < peers->connections_max) {
        peer->connections++;
        number = peer->number;
    }
    pthread_mutex_unlock(&peers->mutex);
    return number;
}

void ip_limits_leave(struct ip_limits *peers, uint32_t peer)
{
    struct peer *record;

    pthread_mutex_lock(&peers->mutex);
    record = peer_at(peers, peer);
    assert(record->connections > 0);
    if (--record->connections == 0) {
        map_remove(&peers->map, &record->link);
        record->next_free = peers->free_records;
        peers->free_records = peer;
    }
    pthread_mutex_unlock(&peers->mutex);
}
