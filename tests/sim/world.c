/*
 * Creates a world, and checks at its end that nothing is left.
 */
#include "world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/time_units.h"
#include "compare.h"
#include "lock_requests.h"
#include "randomness.h"
#include "server/connection_id.h"
#include "session_model.h"

enum {
    PROBES_MAX = 1024,
    END_JUMPS = 8
};

#define HOUR_NS (3600 * NS_PER_S)

void world_fail(struct world *world, const char *format, ...)
{
    va_list arguments;
    int length = snprintf(world->failure, FAILURE_MAX, "%s: ", world->activity);

    va_start(arguments, format);
    vsnprintf(world->failure + length, (size_t)(FAILURE_MAX - length), format, arguments);
    va_end(arguments);
    siglongjmp(*world->escape, 1);
}

void world_set_clock(struct world *world, uint64_t ns, uint32_t milliseconds)
{
    uint64_t whole = ns / NS_PER_MS + (milliseconds ? milliseconds : 1);

    world->ticks = (world->ticks + 1) % 1000000;
    world->clock_ns = whole * NS_PER_MS + world->ticks;
}

void world_enter(struct world *world, const struct driver_worker *worker, uint32_t stripe)
{
    if (worker->context.now_ns < world->model.stripe_ns[stripe])
        world_count(world, COVERAGE_LATE_CLOCK);
    model_enter(&world->model, stripe, worker->context.now_ns);
}

/* ---- creation ---- */

static void nothing_shown(void *context, const struct lock_view *view)
{
    (void)view;
    world_fail(context, "a key that was not created");
}

static uint32_t count_stripes(struct world *world)
{
    uint32_t index = 0;
    uint64_t position = 0;

    while (stripes_walk(world->driver.stripes, 0, (struct lock_walk){0}, &index, &position,
                        &(uint32_t){64}, nothing_shown, world))
        ;
    return index;
}

static void start_driver(struct world *world)
{
    const struct policy *policy = &world->policy;
    struct driver_options options = {
        .stripes =
            {
                .workers = policy->workers,
                .memory = world->memory.memory,
                .policy =
                    {
                        .waiters_max = policy->waiters_max,
                        .gc_max_idle_ns = policy->gc_idle_s * NS_PER_S,
                        .gc_interval_ns = policy->gc_interval_s * NS_PER_S,
                        .release_on_disconnect = policy->auto_release,
                        .grant_from_ns = policy_grant_from_ns(policy),
                    },
                .states_max = policy->states_max,
                .claims_max = policy->claims_max,
                .claims_batch = policy->claims_batch,
                .fence_first = policy->fence_first,
                .fence_ceiling = policy->fences ? policy->fence_first + policy->fences : 0,
            },
        .workers = policy->workers,
        /* Slots are reused at once here, so more effects can be pending than in a server. */
        .effects_max = MODEL_EFFECTS,
        .default_lease_s = policy->default_lease_s,
        .claims_max = policy->claims_max_each,
        .now_ns = world->clock_ns,
        .auth_token = policy->auth ? SIM_REQUEST_SECRET : NULL,
        .admin_token = policy->administrators ? SIM_REQUEST_ADMIN_SECRET : NULL,
    };

    for (uint32_t i = 0; i < policy->workers; i++) {
        scarce_memory_init(&world->workers[i].output_memory);
        options.output_memory[i] = &world->workers[i].output_memory.memory;
    }
    driver_start(&world->driver, &options);
    world->driver.steps = policy->steps;
    world->stripe_count = count_stripes(world);
}

static void create_model(struct world *world)
{
    uint32_t stripes[KEYS_MAX];

    for (uint32_t key = 0; key < world->policy.names * 2; key++) {
        const struct key_name *name = &world->names.names[key / 2];
        struct slice bytes = {.bytes = name->bytes, .length = name->length};
        enum lock_kind kind = key_is_semaphore(key) ? LOCK_KIND_SEMAPHORE : LOCK_KIND_LOCK;
        struct lock_key hashed = stripes_key(world->driver.stripes, kind, bytes);

        stripes[key] = stripes_index(world->driver.stripes, &hashed);
    }
    model_init(&world->model, &world->policy, world->stripe_count, stripes);
}

struct world *world_create(const struct policy *policy, sigjmp_buf *escape)
{
    struct world *world = calloc(1, sizeof(*world));

    if (!world)
        abort();
    world->policy = *policy;
    world->escape = escape;
    world->activity = "creation";
    world->clock_ns = policy->start_ns / NS_PER_MS * NS_PER_MS;
    randomness_seed(policy->seed);
    key_names_init(&world->names, policy->names);
    scarce_memory_init(&world->memory);
    start_driver(world);
    create_model(world);
    for (uint32_t i = 0; i < policy->clients; i++) {
        struct sim_peer *peer = &world->peers[i];

        peer->number = i;
        peer->driven.worker = i % policy->workers;
        peer->driven.input = peer->wire;
        peer->driven.input_max = WIRE_MAX;
    }
    return world;
}

/* ---- the end ---- */

static void finish_peers(struct world *world)
{
    for (uint32_t i = 0; i < world->policy.workers; i++)
        scarce_memory_fail(&world->workers[i].output_memory, 0, 0);
    scarce_memory_fail(&world->memory, 0, 0);
    for (uint16_t i = 0; i < world->policy.clients; i++) {
        struct event vanish = {.kind = EVENT_VANISH, .who = i, .number = EVENT_ALL};
        struct event step = {.kind = EVENT_STEP, .who = i, .number = EVENT_ALL};

        world_apply(world, &vanish);
        world_apply(world, &step);
    }
}

static void finish_time(struct world *world)
{
    struct event jump = {.kind = EVENT_ADVANCE, .number = 3 * 3600 * 1000};

    for (int i = 0; i < END_JUMPS; i++) {
        world_apply(world, &jump);
        for (uint16_t worker = 0; worker < world->policy.workers; worker++) {
            struct event effects = {.kind = EVENT_EFFECTS, .who = worker, .number = EVENT_ALL};
            struct event turn = {.kind = EVENT_WORKER, .who = worker, .number = EVENT_ALL};

            world_apply(world, &effects);
            world_apply(world, &turn);
        }
    }
}

/* Returns how many keys, with a claim each, all limits permit. */
static uint32_t states_available(const struct policy *policy)
{
    uint32_t claims_max = policy->claims_max;

    return claims_max && claims_max < policy->states_max ? claims_max : policy->states_max;
}

/* All states of the limit must be available again, and no more. */
static void finish_budget(struct world *world)
{
    const struct policy *policy = &world->policy;
    uint32_t available = states_available(policy);
    uint64_t wake = 0;
    uint64_t client = connection_id_make(world->driver.connections_made + 1, 0, 0);

    /* With several stripes and larger batches, some room is in other stripes. */
    if (world->model.paused || policy->states_max > PROBES_MAX ||
        (policy->claims_max && policy->claims_batch > 1 && world->stripe_count > 1))
        return;
    if (policy->fences)
        fences_raise(stripes_fences(world->driver.stripes),
                     policy->fence_first + world->model.fences + PROBES_MAX);
    for (uint32_t i = 0; i <= available; i++) {
        char name[16];
        uint32_t length = (uint32_t)snprintf(name, sizeof(name), "probe-%u", i);
        struct slice bytes = {.bytes = (const uint8_t *)name, .length = length};
        struct lock_key key = stripes_key(world->driver.stripes, LOCK_KIND_LOCK, bytes);
        struct lock_answer answer = apply_to_stripes(world->driver.stripes, world->clock_ns,
                                                     acquire_request(client, &key, 1, 0, 1), &wake);

        if ((answer.outcome == DFLOCKD_OK) != (i < available))
            world_fail(world, "state %u of %u: outcome %d", i + 1, available, answer.outcome);
    }
    world_count(world, COVERAGE_BUDGET);
}

static void finish_memory(struct world *world)
{
    uint64_t blocks;

    driver_end(&world->driver);
    blocks = world->memory.blocks + world->memory.bytes;
    for (uint32_t i = 0; i < world->policy.workers; i++) {
        const struct sim_worker *worker = &world->workers[i];

        blocks += worker->output_memory.blocks + worker->output_memory.bytes;
    }
    if (blocks > 0)
        world_fail(world, "memory was not freed");
}

void world_finish(struct world *world)
{
    struct coverage *coverage = &world->coverage;

    finish_peers(world);
    finish_time(world);
    compare_all(world);
    world->activity = "at the end";
    if (world->walks > 0)
        world_fail(world, "%u walks did not end", world->walks);
    if (world->model.states > 0)
        world_fail(world, "the model holds %u states", (unsigned)world->model.states);
    finish_budget(world);
    finish_memory(world);
    coverage->counts[COVERAGE_COLLECTIONS] += world->model.collections;
    coverage->counts[COVERAGE_TIES] += world->model.ties;
    coverage->counts[COVERAGE_HANDED_OVER] += world->model.handed_over;
    coverage->counts[COVERAGE_RESUMED] += world->model.resumed;
    for (uint32_t i = 0; i < world->stripe_count; i++)
        coverage->counts[COVERAGE_DUE] += world->model.dues[i];
    coverage->counts[COVERAGE_LEASES_ENDED] += world->model.leases_ended;
    coverage->counts[COVERAGE_RELEASED_UNREAD] += world->model.released_unread;
    coverage->counts[COVERAGE_OWNED] += world->model.owned;
    coverage->counts[COVERAGE_FORGOTTEN] += world->model.forgotten;
    coverage->counts[COVERAGE_WITHOUT_FENCE] += world->model.without_fence;
    coverage->counts[COVERAGE_CLAIMS] += world->model.claims_refused;
    coverage->counts[COVERAGE_CLAIMS_EACH] += world->model.claims_refused_each;
}

void world_destroy(struct world *world)
{
    for (uint32_t i = 0; i < world->policy.clients; i++)
        free(world->peers[i].session_model.stats.bytes);
    free(world);
}
