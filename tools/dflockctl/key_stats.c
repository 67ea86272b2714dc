#include "dflockctl/key_stats.h"

#include <stdlib.h>
#include <string.h>

#include "dflockctl/status.h"

/* ---- parsing ---- */

json_t *key_stats_parse(const char *text, size_t length)
{
    return json_loadb(text, length, JSON_ALLOW_NUL, NULL);
}

static bool key_stats_read_number(const json_t *object, const char *name, uint64_t *number)
{
    const json_t *value = json_object_get(object, name);

    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *number = (uint64_t)json_integer_value(value);
    return true;
}

static bool key_stats_read_seconds(const json_t *object, const char *name, double *seconds)
{
    const json_t *value = json_object_get(object, name);

    *seconds = json_number_value(value);
    return json_is_number(value);
}

static struct key_stats *key_stats_new(struct key_stats_list *list)
{
    if (list->count == list->room) {
        list->room = list->room ? list->room * 2 : 256;
        list->keys = reallocarray(list->keys, list->room, sizeof(*list->keys));
        if (!list->keys)
            die_of_memory();
    }
    memset(&list->keys[list->count], 0, sizeof(*list->keys));
    return &list->keys[list->count++];
}

static bool key_stats_read_lock(struct key_stats *entry, const json_t *object)
{
    entry->limit = 1;
    if (!key_stats_read_number(object, "owner_conn_id", &entry->owner) ||
        !key_stats_read_seconds(object, "lease_expires_in_s", &entry->lease_s) ||
        !key_stats_read_number(object, "waiters", &entry->waiters))
        return false;
    /* Owner 0 with a lease left: the lock is held, and the connection of its holder is closed. */
    entry->holders = entry->owner > 0 || entry->lease_s > 0;
    if (!entry->holders)
        entry->lease_s = -1;
    return true;
}

static bool key_stats_read_semaphore(struct key_stats *entry, const json_t *object)
{
    entry->lease_s = -1;
    return key_stats_read_number(object, "limit", &entry->limit) &&
           key_stats_read_number(object, "holders", &entry->holders) &&
           key_stats_read_number(object, "waiters", &entry->waiters);
}

static bool key_stats_read_idle(struct key_stats *entry, const json_t *object)
{
    entry->idle = true;
    entry->lease_s = -1;
    entry->limit = entry->kind == KEY_LOCK;
    return key_stats_read_seconds(object, "idle_s", &entry->idle_s);
}

/* Adds the list `name` of the statistics, and its length to `*count`. */
static bool key_stats_read_list(struct key_stats_list *list, size_t server, const json_t *stats,
                                const char *name,
                                bool (*read_entry)(struct key_stats *entry, const json_t *object),
                                uint64_t *count)
{
    const json_t *objects = json_object_get(stats, name);

    for (size_t i = 0; i < json_array_size(objects); i++) {
        const json_t *object = json_array_get(objects, i);
        const json_t *key = json_object_get(object, "key");
        struct key_stats *entry = key_stats_new(list);

        entry->server = server;
        entry->kind = strstr(name, "semaphores") ? KEY_SEMAPHORE : KEY_LOCK;
        entry->key = json_string_value(key);
        entry->key_length = json_string_length(key);
        if (!entry->key || !read_entry(entry, object))
            return false;
        ++*count;
    }
    return json_is_array(objects);
}

bool key_stats_add(struct key_stats_list *list, size_t server, const json_t *stats,
                   struct key_stats_totals *totals)
{
    size_t first = list->count;

    memset(totals, 0, sizeof(*totals));
    if (!key_stats_read_number(stats, "connections", &totals->connections) ||
        !key_stats_read_list(list, server, stats, "locks", key_stats_read_lock, &totals->locks) ||
        !key_stats_read_list(list, server, stats, "semaphores", key_stats_read_semaphore,
                             &totals->semaphores) ||
        !key_stats_read_list(list, server, stats, "idle_locks", key_stats_read_idle,
                             &totals->idle) ||
        !key_stats_read_list(list, server, stats, "idle_semaphores", key_stats_read_idle,
                             &totals->idle)) {
        list->count = first;
        return false;
    }
    for (size_t i = first; i < list->count; i++) {
        totals->holders += list->keys[i].holders;
        totals->waiters += list->keys[i].waiters;
    }
    return true;
}

void key_stats_free(struct key_stats_list *list)
{
    free(list->keys);
    memset(list, 0, sizeof(*list));
}

const char *key_stats_kind_name(enum key_kind kind)
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
