/*
 * Statistics of keys: parsed from the JSON of `stats` replies, and sorted.
 */
#ifndef DFLOCKCTL_KEY_STATS_H
#define DFLOCKCTL_KEY_STATS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum key_kind {
    KEY_LOCK,
    KEY_SEMAPHORE
};

struct key_stats {
    const char *key; /* UTF-8, borrowed from the JSON; may contain NUL */
    size_t key_length;
    enum key_kind kind;
    size_t server;
    bool idle; /* without holders and waiters */
    uint64_t holders;
    uint64_t limit; /* 1 for a lock; 0: unknown */
    uint64_t waiters;
    uint64_t owner; /* connection that holds the lock; 0: unknown */
    double lease_s; /* that remain of a lock's lease; negative: unknown */
    double idle_s;
};

struct key_stats_list {
    struct key_stats *keys;
    size_t count;
    size_t room;
};

/* Totals of one server. */
struct key_stats_totals {
    uint64_t connections;
    uint64_t locks;      /* that have a holder or waiters */
    uint64_t semaphores; /* likewise */
    uint64_t holders;    /* of locks and semaphores */
    uint64_t waiters;
    uint64_t idle; /* keys */
};

/* Parses a `stats` reply. Returns NULL if it is not JSON. The caller drops it by json_decref. */
json_t *key_stats_parse(const char *text, size_t length);

/*
 * Adds the keys of server number `server` to `list`, and sets `*totals`. The list borrows texts
 * from `stats`. Returns false and adds nothing if a dflockd does not write such statistics.
 */
bool key_stats_add(struct key_stats_list *list, size_t server, const json_t *stats,
                   struct key_stats_totals *totals);

/* Returns whether key_stats_sort knows the order: key, kind, holders, waiters, lease or server. */
bool key_stats_has_order(const char *order);

/*
 * Sorts the list: keys, kinds and servers in ascending order, numbers in descending order, or the
 * other way round if `reverse`. Equal entries are sorted by key.
 */
void key_stats_sort(struct key_stats_list *list, const char *order, bool reverse);

void key_stats_free(struct key_stats_list *list);

const char *key_stats_kind_name(enum key_kind kind);

#endif
