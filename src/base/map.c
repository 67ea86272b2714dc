/*
 * Linear hashing. With bucket_count = mask + 1 + s buckets, the first s of the mask + 1 old ones
 * are split. Their elements are found by one more bit of the hash.
 *
 * A walk visits hashes in the order of their reversed bits. A bucket holds all hashes with its
 * low bits, which are a contiguous range in that order. Splitting and merging only make ranges
 * finer or coarser, so a position stays valid.
 */
#include "base/map.h"

#include <assert.h>

enum {
    BUCKETS_MIN = 16
};

static struct map_link **map_bucket_at(const struct map *map, uint64_t index)
{
    return segments_at(&map->buckets, index);
}

static uint64_t map_bucket_index(const struct map *map, uint64_t hash)
{
    uint64_t index = hash & (map->mask * 2 + 1);

    return index < map->bucket_count ? index : hash & map->mask;
}

void map_init(struct map *map, const struct memory *memory)
{
    segments_init(&map->buckets, memory, sizeof(struct map_link *));
    map->bucket_count = BUCKETS_MIN;
    map->mask = BUCKETS_MIN - 1;
    map->count = 0;
}

bool map_reserve(struct map *map)
{
    if (!segments_reserve(&map->buckets, BUCKETS_MIN))
        return false;
    for (uint64_t i = 0; i < BUCKETS_MIN; i++)
        *map_bucket_at(map, i) = NULL;
    return true;
}

void map_free(struct map *map)
{
    segments_free(&map->buckets);
}

static struct map_link *map_chain_find(struct map_link *link, uint64_t hash)
{
    while (link && link->hash != hash)
        link = link->next;
    return link;
}

struct map_link *map_find(const struct map *map, uint64_t hash)
{
    return map_chain_find(*map_bucket_at(map, map_bucket_index(map, hash)), hash);
}

struct map_link *map_find_next(const struct map_link *link)
{
    return map_chain_find(link->next, link->hash);
}

static void map_bucket_split(struct map *map)
{
    uint64_t low = map->bucket_count - (map->mask + 1);
    struct map_link **stay = map_bucket_at(map, low);
    struct map_link **move;

    if (!segments_reserve(&map->buckets, map->bucket_count + 1))
        return;
    move = map_bucket_at(map, map->bucket_count);
    for (struct map_link *link = *stay; link; link = link->next) {
        if (link->hash & (map->mask + 1)) {
            *move = link;
            move = &link->next;
        } else {
            *stay = link;
            stay = &link->next;
        }
    }
    *stay = NULL;
    *move = NULL;
    map->bucket_count++;
    if (map->bucket_count == (map->mask + 1) * 2)
        map->mask = map->mask * 2 + 1;
}

static void map_bucket_merge(struct map *map)
{
    struct map_link **tail;

    if (map->bucket_count == map->mask + 1)
        map->mask /= 2;
    map->bucket_count--;
    tail = map_bucket_at(map, map->bucket_count - (map->mask + 1));
    while (*tail)
        tail = &(*tail)->next;
    *tail = *map_bucket_at(map, map->bucket_count);
    segments_trim(&map->buckets, map->bucket_count);
}

void map_insert(struct map *map, struct map_link *link, uint64_t hash)
{
    struct map_link **bucket;

    if (map->count >= map->bucket_count)
        map_bucket_split(map);
    bucket = map_bucket_at(map, map_bucket_index(map, hash));
    link->hash = hash;
    link->next = *bucket;
    *bucket = link;
    map->count++;
}

void map_remove(struct map *map, struct map_link *link)
{
    struct map_link **place = map_bucket_at(map, map_bucket_index(map, link->hash));

    while (*place != link) {
        assert(*place);
        place = &(*place)->next;
    }
    *place = link->next;
    map->count--;
    /* Remove two at a time: then all added buckets are gone when all elements are gone. */
    for (int i = 0; i < 2; i++) {
        if (map->count < map->bucket_count / 2 && map->bucket_count > BUCKETS_MIN)
            map_bucket_merge(map);
    }
}

static uint64_t map_bits_reverse(uint64_t value)
{
    value = (value >> 1 & 0x5555555555555555) | (value & 0x5555555555555555) << 1;
    value = (value >> 2 & 0x3333333333333333) | (value & 0x3333333333333333) << 2;
    value = (value >> 4 & 0x0f0f0f0f0f0f0f0f) | (value & 0x0f0f0f0f0f0f0f0f) << 4;
    return __builtin_bswap64(value);
}

uint64_t map_walk(const struct map *map, uint64_t position,
                  void (*visit)(void *context, struct map_link *link), void *context)
{
    uint64_t hash = map_bits_reverse(position);
    uint64_t index = map_bucket_index(map, hash);
    bool split = index > map->mask || index + map->mask + 1 < map->bucket_count;
    int bits = __builtin_popcountll(map->mask) + (split ? 1 : 0);

    for (struct map_link *link = *map_bucket_at(map, index); link; link = link->next) {
        if (map_bits_reverse(link->hash) >= position)
            visit(context, link);
    }
    return ((position >> (64 - bits)) + 1) << (64 - bits);
}
