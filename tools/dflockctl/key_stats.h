/*
 * Statistics of keys, in lists that can be sorted.
 */
#ifndef DFLOCKCTL_KEY_STATS_H
#define DFLOCKCTL_KEY_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum key_kind {
    KEY_LOCK,
    KEY_SEMAPHORE
};

/* 64 bytes: a list may have a million. */
struct key_stats {
    const char *key; /* UTF-8; may contain NUL */
    uint64_t holders;
    uint64_t waiters;
    uint64_t owner; /* connection that holds the lock; 0: unknown */
    double lease_s; /* that remain of a lock's lease; negative: unknown */
    double idle_s;
    uint32_t limit; /* 1 for a lock; 0: unknown */
    uint16_t key_length;
    uint16_t server;
    uint8_t kind; /* an enum key_kind */
    bool idle;    /* without holders and waiters */
};

struct key_texts;

struct key_stats_list {
    struct key_stats *keys;
    size_t count;
    size_t room;
    struct key_texts *texts; /* of the keys that key_stats_add copied */
};

/* Adds a copy of the entry and its key. */
void key_stats_add(struct key_stats_list *list, const struct key_stats *entry);

/* Adds copies of the entries of `other`, which borrow its keys. */
void key_stats_add_all(struct key_stats_list *list, const struct key_stats_list *other);

/* Returns whether key_stats_sort knows the order: key, kind, holders, waiters, lease or server. */
bool key_stats_has_order(const char *order);

/*
 * Sorts the list: keys, kinds and servers in ascending order, numbers in descending order, or the
 * other way round if `reverse`. Equal entries are sorted by key.
 */
void key_stats_sort(struct key_stats_list *list, const char *order, bool reverse);

void key_stats_free(struct key_stats_list *list);

const char *key_stats_kind_name(uint8_t kind);

#endif
