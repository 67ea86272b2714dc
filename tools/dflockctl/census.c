#include "dflockctl/census.h"

#include <stdlib.h>
#include <string.h>

#include "dflockctl/status.h"

/* ---- reading ---- */

json_t *census_parse(const char *text, size_t length)
{
    return json_loadb(text, length, JSON_ALLOW_NUL, NULL);
}

static bool take_number(const json_t *object, const char *name, uint64_t *number)
{
    const json_t *value = json_object_get(object, name);

    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *number = (uint64_t)json_integer_value(value);
    return true;
}

static bool take_seconds(const json_t *object, const char *name, double *seconds)
{
    const json_t *value = json_object_get(object, name);

    *seconds = json_number_value(value);
    return json_is_number(value);
}

static struct census_entry *new_entry(struct census *census)
{
    if (census->count == census->room) {
        census->room = census->room ? census->room * 2 : 256;
        census->entries = reallocarray(census->entries, census->room, sizeof(*census->entries));
        if (!census->entries)
            die_of_memory();
    }
    memset(&census->entries[census->count], 0, sizeof(*census->entries));
    return &census->entries[census->count++];
}

static bool take_lock(struct census_entry *entry, const json_t *object)
{
    entry->limit = 1;
    if (!take_number(object, "owner_conn_id", &entry->owner) ||
        !take_seconds(object, "lease_expires_in_s", &entry->lease_s) ||
        !take_number(object, "waiters", &entry->waiters))
        return false;
    /* A holder whose connection is gone is told as 0, with the lease it has left. */
    entry->holders = entry->owner > 0 || entry->lease_s > 0;
    if (!entry->holders)
        entry->lease_s = -1;
    return true;
}

static bool take_semaphore(struct census_entry *entry, const json_t *object)
{
    entry->lease_s = -1;
    return take_number(object, "limit", &entry->limit) &&
           take_number(object, "holders", &entry->holders) &&
           take_number(object, "waiters", &entry->waiters);
}

static bool take_idle(struct census_entry *entry, const json_t *object)
{
    entry->idle = true;
    entry->lease_s = -1;
    entry->limit = entry->kind == CENSUS_LOCK;
    return take_seconds(object, "idle_s", &entry->idle_s);
}

/* One list of the statistics; `*count` grows by what it has. */
static bool take_list(struct census *census, size_t server, const json_t *stats, const char *name,
                      bool (*take)(struct census_entry *entry, const json_t *object),
                      uint64_t *count)
{
    const json_t *list = json_object_get(stats, name);

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *object = json_array_get(list, i);
        const json_t *key = json_object_get(object, "key");
        struct census_entry *entry = new_entry(census);

        entry->server = server;
        entry->kind = strstr(name, "semaphores") ? CENSUS_SEMAPHORE : CENSUS_LOCK;
        entry->key = json_string_value(key);
        entry->key_length = json_string_length(key);
        if (!entry->key || !take(entry, object))
            return false;
        ++*count;
    }
    return json_is_array(list);
}

bool census_add(struct census *census, size_t server, const json_t *stats, struct census_sums *sums)
{
    size_t first = census->count;

    memset(sums, 0, sizeof(*sums));
    if (!take_number(stats, "connections", &sums->connections) ||
        !take_list(census, server, stats, "locks", take_lock, &sums->locks) ||
        !take_list(census, server, stats, "semaphores", take_semaphore, &sums->semaphores) ||
        !take_list(census, server, stats, "idle_locks", take_idle, &sums->idle) ||
        !take_list(census, server, stats, "idle_semaphores", take_idle, &sums->idle)) {
        census->count = first;
        return false;
    }
    for (size_t i = first; i < census->count; i++) {
        sums->holders += census->entries[i].holders;
        sums->waiters += census->entries[i].waiters;
    }
    return true;
}

void census_free(struct census *census)
{
    free(census->entries);
    memset(census, 0, sizeof(*census));
}

const char *census_kind_name(enum census_kind kind)
{
    return kind == CENSUS_LOCK ? "lock" : "semaphore";
}

/* ---- order ---- */

typedef int order(const struct census_entry *one, const struct census_entry *other);

static int by_key(const struct census_entry *one, const struct census_entry *other)
{
    size_t length = one->key_length < other->key_length ? one->key_length : other->key_length;
    int result = memcmp(one->key, other->key, length);

    if (result == 0)
        result = (one->key_length > other->key_length) - (one->key_length < other->key_length);
    return result;
}

static int by_kind(const struct census_entry *one, const struct census_entry *other)
{
    return (int)one->kind - (int)other->kind;
}

static int by_holders(const struct census_entry *one, const struct census_entry *other)
{
    return (one->holders < other->holders) - (one->holders > other->holders);
}

static int by_waiters(const struct census_entry *one, const struct census_entry *other)
{
    return (one->waiters < other->waiters) - (one->waiters > other->waiters);
}

static int by_lease(const struct census_entry *one, const struct census_entry *other)
{
    return (one->lease_s < other->lease_s) - (one->lease_s > other->lease_s);
}

static int by_server(const struct census_entry *one, const struct census_entry *other)
{
    return (one->server > other->server) - (one->server < other->server);
}

static const struct {
    const char *name;
    order *compare;
} orders[] = {
    {"key", by_key},         {"kind", by_kind},   {"holders", by_holders},
    {"waiters", by_waiters}, {"lease", by_lease}, {"server", by_server},
};

static order *find_order(const char *name)
{
    for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
        if (strcmp(orders[i].name, name) == 0)
            return orders[i].compare;
    }
    return NULL;
}

bool census_order_is(const char *order_name)
{
    return find_order(order_name) != NULL;
}

struct sorting {
    order *compare;
    bool reverse;
};

static int compare(const void *one, const void *other, void *context)
{
    const struct sorting *sorting = context;
    int result = sorting->compare(one, other);

    if (sorting->reverse)
        result = -result;
    if (result == 0)
        result = by_key(one, other);
    if (result == 0)
        result = by_kind(one, other);
    return result ? result : by_server(one, other);
}

void census_sort(struct census *census, const char *order_name, bool reverse)
{
    struct sorting sorting = {.compare = find_order(order_name), .reverse = reverse};

    if (census->count > 0)
        qsort_r(census->entries, census->count, sizeof(*census->entries), compare, &sorting);
}
