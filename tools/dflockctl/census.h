/*
 * What servers tell of their keys: their statistics, read and put in order.
 */
#ifndef DFLOCKCTL_CENSUS_H
#define DFLOCKCTL_CENSUS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dflockd/client.h"

enum census_kind {
    CENSUS_LOCK,
    CENSUS_SEMAPHORE
};

struct census_entry {
    const char *key; /* UTF-8, borrowed from the statistics; may hold NUL */
    size_t key_length;
    enum census_kind kind;
    size_t server;
    bool idle; /* nobody holds it or waits for it */
    uint64_t holders;
    uint64_t limit; /* 1 for a lock; 0: not known */
    uint64_t waiters;
    uint64_t owner; /* connection of the holder of a lock; 0: not known */
    double lease_s; /* left to the holder of a lock; below 0: not known */
    double idle_s;
};

/* Of one server; sums of what it tells. */
struct census_sums {
    uint64_t connections;
    uint64_t locks;      /* held or waited for */
    uint64_t semaphores; /* likewise */
    uint64_t holders;    /* of locks and semaphores */
    uint64_t waiters;
    uint64_t idle; /* keys */
};

struct census {
    struct census_entry *entries;
    size_t count;
    size_t room;
};

/* The statistics as JSON, to be given back to jansson; NULL where they are none. */
json_t *census_parse(const char *text, size_t length);

/*
 * Adds what `stats`, which must stay, tells of the keys of server number `server`, and sums it up.
 * False where it isn't what a server tells.
 */
bool census_add(struct census *census, size_t server, const json_t *stats,
                struct census_sums *sums);

/* Whether there is such an order: key, kind, holders, waiters, lease, server. */
bool census_order_is(const char *order_name);

/*
 * Puts the entries in order, keys from A to Z and figures from the largest, or the other way round;
 * what is alike goes by key.
 */
void census_sort(struct census *census, const char *order_name, bool reverse);

void census_free(struct census *census);

const char *census_kind_name(enum census_kind kind);

#endif
