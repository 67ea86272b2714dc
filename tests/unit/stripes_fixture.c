#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os/mailbox.h"
#include "stripes_fixture.h"

static void *stripes_fixture_allocate(void *context, size_t size, size_t alignment)
{
    _Atomic int64_t *blocks = context;
    void *block = aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);

    if (block)
        atomic_fetch_add(blocks, 1);
    return block;
}

static void stripes_fixture_release(void *context, void *block, size_t size)
{
    _Atomic int64_t *blocks = context;

    (void)size;
    atomic_fetch_sub(blocks, 1);
    free(block);
}

static _Atomic int64_t blocks_out;

struct stripes *create_stripes_from(struct stripes_options options)
{
    struct stripes *stripes;

    options.memory = (struct memory){.allocate = stripes_fixture_allocate,
                                     .release = stripes_fixture_release,
                                     .context = &blocks_out};
    options.policy.gc_interval_ns = 5 * SECOND;
    options.policy.release_on_disconnect = true;
    options.fence_first = 1;
    atomic_store(&blocks_out, 0);
    stripes = stripes_create(&options);
    assert_non_null(stripes);
    for (uint32_t worker = 0; worker < options.workers; worker++)
        assert_true(mailbox_reserve(stripes_mailbox(stripes, worker), 1024));
    return stripes;
}

struct stripes *create_stripes_with_fences(uint32_t workers, uint64_t states_max,
                                           uint64_t gc_max_idle_s, uint64_t fence_ceiling)
{
    return create_stripes_from(
        (struct stripes_options){.workers = workers,
                                 .policy = {.gc_max_idle_ns = gc_max_idle_s * SECOND},
                                 .states_max = states_max,
                                 .fence_ceiling = fence_ceiling});
}

struct stripes *create_stripes(uint32_t workers, uint64_t states_max, uint64_t gc_max_idle_s)
{
    return create_stripes_with_fences(workers, states_max, gc_max_idle_s, 0);
}

void check_stripes(struct stripes *stripes)
{
    const char *problem = NULL;

    if (!stripes_check(stripes, &problem))
        fail_msg("the stripes are not valid: %s", problem);
}

void destroy_stripes(struct stripes *stripes)
{
    check_stripes(stripes);
    stripes_destroy(stripes);
    assert_int_equal(atomic_load(&blocks_out), 0);
}

struct lock_key key_named(const struct stripes *stripes, enum lock_kind kind, const char *name)
{
    return stripes_key(
        stripes, kind,
        (struct slice){.bytes = (const uint8_t *)name, .length = (uint32_t)strlen(name)});
}

struct lock_key key_at_home(const struct stripes *stripes, uint32_t home, char name[16])
{
    for (uint32_t i = 0;; i++) {
        struct lock_key key;

        snprintf(name, 16, "k%u", i);
        key = key_named(stripes, LOCK_KIND_LOCK, name);
        if (stripes_index(stripes, &key) % WORKERS == home)
            return key;
    }
}

struct lock_answer acquire_in_stripes(struct stripes *stripes, uint64_t now_ns, uint64_t client,
                                      const struct lock_key *key, uint64_t wait_s, uint64_t lease_s,
                                      uint64_t *wake)
{
    return apply_to_stripes(stripes, now_ns, acquire_request(client, key, 1, wait_s, lease_s),
                            wake);
}
