#include "dflockctl/key_stats.h"

#include <stdlib.h>
#include <string.h>

#include "dflockctl/status.h"

enum {
    KEY_TEXTS_BYTES = 64 * 1024 /* of one block of keys */
};

/* A block of the keys of a list. */
struct key_texts {
    struct key_texts *next;
    size_t used;
    char bytes[KEY_TEXTS_BYTES];
};

/* ---- lists ---- */

static void key_stats_reserve(struct key_stats_list *list, size_t count)
{
    while (list->room - list->count < count) {
        list->room = list->room ? list->room * 2 : 256;
        list->keys = reallocarray(list->keys, list->room, sizeof(*list->keys));
        if (!list->keys)
            die_of_memory();
    }
}

/* Copies the key to the list's blocks. It is shorter than one. */
static const char *key_stats_copy_key(struct key_stats_list *list, const char *key, size_t length)
{
    char *copy;

    if (!list->texts || KEY_TEXTS_BYTES - list->texts->used < length) {
        struct key_texts *texts = malloc(sizeof(*texts));

        if (!texts)
            die_of_memory();
        texts->next = list->texts;
        texts->used = 0;
        list->texts = texts;
    }
    copy = list->texts->bytes + list->texts->used;
    memcpy(copy, key, length);
    list->texts->used += length;
    return copy;
}

void key_stats_add(struct key_stats_list *list, const struct key_stats *entry)
{
    struct key_stats *added;

    key_stats_reserve(list, 1);
    added = &list->keys[list->count++];
    *added = *entry;
    added->key = key_stats_copy_key(list, entry->key, entry->key_length);
}

void key_stats_add_all(struct key_stats_list *list, const struct key_stats_list *other)
{
    if (other->count == 0)
        return;
    key_stats_reserve(list, other->count);
    memcpy(list->keys + list->count, other->keys, other->count * sizeof(*other->keys));
    list->count += other->count;
}

void key_stats_free(struct key_stats_list *list)
{
    struct key_texts *next;

    for (struct key_texts *texts = list->texts; texts; texts = next) {
        next = texts->next;
        free(texts);
    }
    free(list->keys);
    memset(list, 0, sizeof(*list));
}

const char *key_stats_kind_name(uint8_t kind)
{
    return kind == KEY_LOCK ? "lock" : "semaphore";
}

/* ---- sorting ---- */

typedef int key_stats_order(const struct key_stats *one, const struct key_stats *other);

static int key_stats_by_key(const struct key_stats *one, const struct key_stats *other)
{
    size_t length = one->key_length < other->key_length ? one->key_length : other->key_length;
    int result = memcmp(one->key, other->key, length);

    if (result == 0)
        result = (one->key_length > other->key_length) - (one->key_length < other->key_length);
    return result;
}

static int key_stats_by_kind(const struct key_stats *one, const struct key_stats *other)
{
    return (int)one->kind - (int)other->kind;
}

static int key_stats_by_holders(const struct key_stats *one, const struct key_stats *other)
{
    return (one->holders < other->holders) - (one->holders > other->holders);
}

static int key_stats_by_waiters(const struct key_stats *one, const struct key_stats *other)
{
    return (one->waiters < other->waiters) - (one->waiters > other->waiters);
}

static int key_stats_by_lease(const struct key_stats *one, const struct key_stats *other)
{
    return (one->lease_s < other->lease_s) - (one->lease_s > other->lease_s);
}

static int key_stats_by_server(const struct key_stats *one, const struct key_stats *other)
{
    return (one->server > other->server) - (one->server < other->server);
}

static const struct {
    const char *name;
    key_stats_order *compare;
} key_stats_orders[] = {
    {"key", key_stats_by_key},         {"kind", key_stats_by_kind},
    {"holders", key_stats_by_holders}, {"waiters", key_stats_by_waiters},
    {"lease", key_stats_by_lease},     {"server", key_stats_by_server},
};

static key_stats_order *key_stats_find_order(const char *name)
{
    for (size_t i = 0; i < sizeof(key_stats_orders) / sizeof(key_stats_orders[0]); i++) {
        if (strcmp(key_stats_orders[i].name, name) == 0)
            return key_stats_orders[i].compare;
    }
    return NULL;
}

bool key_stats_has_order(const char *order)
{
    return key_stats_find_order(order) != NULL;
}

struct key_stats_sorting {
    key_stats_order *compare;
    bool reverse;
};

static int key_stats_compare(const void *one, const void *other, void *context)
{
    const struct key_stats_sorting *sorting = context;
    int result = sorting->compare(one, other);

    if (sorting->reverse)
        result = -result;
    if (result == 0)
        result = key_stats_by_key(one, other);
    if (result == 0)
        result = key_stats_by_kind(one, other);
    return result ? result : key_stats_by_server(one, other);
}

void key_stats_sort(struct key_stats_list *list, const char *order, bool reverse)
{
    struct key_stats_sorting sorting = {.compare = key_stats_find_order(order), .reverse = reverse};

    if (list->count > 0)
        qsort_r(list->keys, list->count, sizeof(*list->keys), key_stats_compare, &sorting);
}
