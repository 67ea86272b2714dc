#include "server/peers.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>

#include "base/pool.h"
#include "base/segments.h"
#include "server/connection_id.h"

/* The connection in a slot. */
struct peers_entry {
    uint64_t number : 38; /* of its id; 0: none */
    uint64_t descriptor : 26;
};

enum {
    PEERS_CHUNK_BYTES = 4096, /* of texts */
    PEERS_TEXT_MAX = DFLOCKD_NAME_MAX + 1,
    PEERS_DESCRIPTOR_MASK = (1 << 26) - 1
};

static_assert((int)SOCKETS_PEER_TEXT_MAX <= (int)PEERS_TEXT_MAX, "a text has room for an address");

static_assert(sizeof(struct peers_entry) == sizeof(uint64_t),
              "each connection needs an entry: it must be small");

struct peers_worker {
    _Alignas(CACHE_LINE_BYTES) pthread_mutex_t mutex;
    struct segments entries;   /* by slot */
    struct segments names;     /* by slot: NULL, or 0-terminated; grows with the first names */
    struct segments addresses; /* likewise, of clients without a descriptor */
    struct pool text_pool;
};

struct peers {
    struct memory memory;
    uint32_t count;
    struct peers_worker *worker;
};

static struct peers_worker *peers_enter(struct peers *peers, uint64_t connection_id)
{
    struct peers_worker *worker = &peers->worker[connection_id_worker(connection_id)];

    pthread_mutex_lock(&worker->mutex);
    return worker;
}

static void peers_leave(struct peers_worker *worker)
{
    pthread_mutex_unlock(&worker->mutex);
}

/* Returns the entry of a connection that is open, or NULL. */
static struct peers_entry *peers_find(const struct peers_worker *worker, uint64_t connection_id)
{
    uint32_t slot = connection_id_slot(connection_id);
    struct peers_entry *entry;

    if (slot >= segments_capacity(&worker->entries))
        return NULL;
    entry = segments_at(&worker->entries, slot);
    return entry->number == connection_id_number(connection_id) ? entry : NULL;
}

/* Returns NULL if no client in the slot's segment has had a text in `texts`. */
static char **peers_text_of(const struct segments *texts, uint64_t connection_id)
{
    uint32_t slot = connection_id_slot(connection_id);

    return slot < segments_capacity(texts) ? segments_at(texts, slot) : NULL;
}

/* As segments_reserve; new elements are 0. */
static bool peers_reserve(struct segments *segments, size_t count)
{
    size_t before = segments_capacity(segments);

    if (!segments_reserve(segments, count))
        return false;
    for (size_t i = before; i < segments_capacity(segments); i++)
        memset(segments_at(segments, i), 0, sizeof(uint64_t));
    return true;
}

/* Replaces the text of a client. Returns false if memory is short; an old text stays. */
static bool peers_set_text(struct peers_worker *worker, struct segments *texts,
                           uint64_t connection_id, const void *text, size_t length)
{
    char **to;

    if (!peers_reserve(texts, (size_t)connection_id_slot(connection_id) + 1))
        return false;
    to = peers_text_of(texts, connection_id);
    if (!*to)
        *to = pool_take(&worker->text_pool);
    if (!*to)
        return false;
    memcpy(*to, text, length);
    (*to)[length] = '\0';
    return true;
}

static void peers_drop_text(struct peers_worker *worker, const struct segments *texts,
                            uint64_t connection_id)
{
    char **text = peers_text_of(texts, connection_id);

    if (!text || !*text)
        return;
    pool_give(&worker->text_pool, *text);
    *text = NULL;
}

static bool peers_set_entry(struct peers_worker *worker, uint64_t connection_id, int descriptor)
{
    uint32_t slot = connection_id_slot(connection_id);
    struct peers_entry *entry;

    if (!peers_reserve(&worker->entries, (size_t)slot + 1))
        return false;
    entry = segments_at(&worker->entries, slot);
    entry->number = connection_id_number(connection_id) & ((1ull << 38) - 1);
    entry->descriptor = (uint64_t)descriptor & PEERS_DESCRIPTOR_MASK;
    return true;
}

bool peers_add(struct peers *peers, uint64_t connection_id, int descriptor)
{
    struct peers_worker *worker = peers_enter(peers, connection_id);
    bool added = peers_set_entry(worker, connection_id, descriptor);

    peers_leave(worker);
    return added;
}

bool peers_add_address(struct peers *peers, uint64_t connection_id, const char *address)
{
    struct peers_worker *worker = peers_enter(peers, connection_id);
    bool added =
        peers_set_text(worker, &worker->addresses, connection_id, address, strlen(address)) &&
        peers_set_entry(worker, connection_id, -1);

    peers_leave(worker);
    return added;
}

void peers_remove(struct peers *peers, uint64_t connection_id)
{
    struct peers_worker *worker = peers_enter(peers, connection_id);
    struct peers_entry *entry = peers_find(worker, connection_id);

    if (entry) {
        entry->number = 0;
        peers_drop_text(worker, &worker->names, connection_id);
        peers_drop_text(worker, &worker->addresses, connection_id);
    }
    peers_leave(worker);
}

bool peers_set_name(struct peers *peers, uint64_t connection_id, struct slice name)
{
    struct peers_worker *worker = peers_enter(peers, connection_id);
    bool named = peers_set_text(worker, &worker->names, connection_id, name.bytes, name.length);

    peers_leave(worker);
    return named;
}

/*
 * Copies the name and the address if that is kept, and sets `*descriptor`. Returns false if the
 * client is gone.
 */
static bool peers_look_up(struct peers *peers, uint64_t connection_id,
                          struct peer_description *peer, int *descriptor)
{
    struct peers_worker *worker = peers_enter(peers, connection_id);
    const struct peers_entry *entry = peers_find(worker, connection_id);
    char **name = entry ? peers_text_of(&worker->names, connection_id) : NULL;
    char **address = entry ? peers_text_of(&worker->addresses, connection_id) : NULL;

    peer->name[0] = '\0';
    if (name && *name)
        memcpy(peer->name, *name, strlen(*name) + 1);
    if (entry)
        *descriptor = (int)entry->descriptor;
    if (address && *address)
        memcpy(peer->address, *address, strlen(*address) + 1);
    peers_leave(worker);
    return entry != NULL;
}

/*
 * The system call comes between two look-ups, so that no other thread waits for it. The descriptor
 * stays the connection's until peers_remove: if the second look-up finds it, the address is right.
 */
void peers_describe(struct peers *peers, uint64_t connection_id, struct peer_description *peer)
{
    int descriptor;

    peer->address[0] = '\0';
    if (!peers_look_up(peers, connection_id, peer, &descriptor) || peer->address[0])
        return;
    sockets_describe_peer(descriptor, peer->address);
    if (!peers_look_up(peers, connection_id, peer, &descriptor))
        peer->address[0] = '\0';
}

struct peers *peers_create(const struct memory *memory, uint32_t workers)
{
    struct peers *peers = memory_allocate(memory, sizeof(*peers), _Alignof(struct peers));

    if (!peers)
        return NULL;
    *peers = (struct peers){.memory = *memory, .count = workers};
    peers->worker =
        memory_allocate(memory, workers * sizeof(*peers->worker), _Alignof(struct peers_worker));
    if (!peers->worker) {
        memory_release(memory, peers, sizeof(*peers));
        return NULL;
    }
    for (uint32_t i = 0; i < workers; i++) {
        struct peers_worker *worker = &peers->worker[i];

        pthread_mutex_init(&worker->mutex, NULL);
        segments_init(&worker->entries, &peers->memory, sizeof(struct peers_entry));
        segments_init(&worker->names, &peers->memory, sizeof(char *));
        segments_init(&worker->addresses, &peers->memory, sizeof(char *));
        pool_init_chunks(&worker->text_pool, &peers->memory, PEERS_TEXT_MAX, PEERS_CHUNK_BYTES);
    }
    return peers;
}

void peers_destroy(struct peers *peers)
{
    struct memory memory;

    if (!peers)
        return;
    memory = peers->memory;
    for (uint32_t i = 0; i < peers->count; i++) {
        struct peers_worker *worker = &peers->worker[i];

        pool_free(&worker->text_pool);
        segments_free(&worker->addresses);
        segments_free(&worker->names);
        segments_free(&worker->entries);
        pthread_mutex_destroy(&worker->mutex);
    }
    memory_release(&memory, peers->worker, peers->count * sizeof(*peers->worker));
    memory_release(&memory, peers, sizeof(*peers));
}
