/*
 * A walk over a stripe shows each of its keys, and each is compared with the model. Invariants
 * of every table are checked as well.
 */
#include "compare.h"

#include <inttypes.h>

#include "server/connection_id.h"

struct comparison {
    struct world *world;
    uint32_t stripe;
    uint32_t shown;
};

static bool compare_owner(const struct model *model, const struct model_key *key,
                          const struct lock_view *view)
{
    uint64_t now_ns = model->stripe_ns[key->stripe];

    for (uint32_t place = 0; place < key->holders; place++) {
        const struct model_claim *claim = &model->claims[key->holding[place]];
        uint64_t lease_ns = claim->deadline_ns > now_ns ? claim->deadline_ns - now_ns : 0;

        if (model_may_own(model, key, place) && claim->client == view->owner &&
            lease_ns == view->lease_ns)
            return true;
    }
    return key->holders == 0 && view->owner == 0 && view->lease_ns == 0;
}

static void compare_view(void *context, const struct lock_view *view)
{
    struct comparison *comparison = context;
    struct world *world = comparison->world;
    const struct model *model = &world->model;
    uint64_t now_ns = model->stripe_ns[comparison->stripe];
    int name = key_names_find(&world->names, view->key, view->key_length);
    uint32_t number = (uint32_t)name * 2 + (view->kind == LOCK_KIND_SEMAPHORE);
    const struct model_key *key = &model->keys[number];
    bool idle = model_idle(key);
    uint64_t idle_ns = idle ? now_ns - key->idle_since_ns : 0;

    comparison->shown++;
    if (name < 0 || !key->exists || key->stripe != comparison->stripe)
        world_fail(world, "stripe %u shows a key that must not exist: %d", comparison->stripe,
                   name < 0 ? -1 : (int)number);
    if (view->limit != key->limit || view->holders != key->holders || view->waiters != key->waiters)
        world_fail(world,
                   "key %u: expected limit %u, %u holders, %u waiters; "
                   "came limit %u, %u holders, %u waiters",
                   number, key->limit, key->holders, key->waiters, view->limit, view->holders,
                   view->waiters);
    if (view->idle_ns != idle_ns || !compare_owner(model, key, view))
        world_fail(
            world,
            "key %u: expected idle %" PRIu64 " ns and another owner or lease; came owner %" PRIu64
            ", lease %" PRIu64 " ns, idle %" PRIu64 " ns",
            number, idle_ns, connection_id_number(view->owner), view->lease_ns, view->idle_ns);
}

static void compare_stripe(struct world *world, uint32_t stripe)
{
    struct comparison comparison = {.world = world, .stripe = stripe};
    uint32_t index = stripe;
    uint64_t position = 0;
    uint32_t expected = 0;

    while (index == stripe)
        stripes_walk(world->driver.stripes, 0, (struct lock_walk){0}, &index, &position,
                     &(uint32_t){64}, compare_view, &comparison);
    for (uint32_t i = 0; i < world->model.stripe_keys[stripe]; i++)
        expected += world->model.keys[world->model.keys_of[stripe][i]].exists;
    if (comparison.shown != expected)
        world_fail(world, "stripe %u: expected %u keys, came %u", stripe, expected,
                   comparison.shown);
}

void compare_touched(struct world *world)
{
    for (uint64_t left = world->model.touched; left; left &= left - 1)
        compare_stripe(world, (uint32_t)__builtin_ctzll(left));
}

void compare_all(struct world *world)
{
    const char *problem = NULL;

    world_count(world, COVERAGE_WALKS);
    if (!stripes_check(world->driver.stripes, &problem))
        world_fail(world, "an invariant is broken: %s", problem);
    /* The check carries the clock of each stripe to the next. */
    for (uint32_t stripe = 1; stripe < world->stripe_count; stripe++) {
        if (world->model.stripe_ns[stripe] < world->model.stripe_ns[stripe - 1])
            world->model.stripe_ns[stripe] = world->model.stripe_ns[stripe - 1];
    }
    for (uint32_t stripe = 0; stripe < world->stripe_count; stripe++)
        compare_stripe(world, stripe);
}

void compare_wakes(struct world *world, uint64_t empty_before)
{
    for (uint32_t i = 0; i < world->policy.workers; i++) {
        if (empty_before >> i & 1 && world->model.mailboxes[i].count > 0 &&
            !(world->wakes >> i & 1))
            world_fail(world, "worker %u has its first effect, but no wake-up", i);
    }
    world->fence_store_woken |= world->wakes >> STRIPES_FENCE_WORKER & 1;
    if (world->model.fences_called) {
        if (!world->fence_store_woken)
            world_fail(world, "fences are low, but the table requested none");
        world_count(world, COVERAGE_FENCES_ASKED);
    }
    world->woken |= world->wakes;
    for (uint64_t left = world->model.touched; left; left &= left - 1) {
        uint32_t stripe = (uint32_t)__builtin_ctzll(left);
        uint32_t home = stripe_home(world, stripe);
        const struct sim_worker *sleeper = &world->workers[home];

        if (!sleeper->asleep || model_deadline(&world->model, stripe) >= sleeper->until_ns)
            continue;
        if (!(world->woken >> home & 1))
            world_fail(world, "worker %u sleeps beyond a deadline of stripe %u", home, stripe);
        world_count(world, COVERAGE_WOKEN);
    }
}
