#include "steps/steps.h"

#include <sodium.h>
#include <string.h>

#include "base/time_units.h"
#include "wire/reply.h"
#include "wire/request.h"

enum {
    HELD_BESIDE = 1000, /* keys of other clients, if the size counts something else */
    FIRST_LEAVING = 500000,
    FIRST_WAITER = 1000000
};

#define WAIT_FOREVER_S 1000000000ull
#define TOKEN_TEXT     "00000000075bcd15f00dfacecafebabe"

/* Keeps the compiler from removing writes to `bytes`. */
static void use(const void *bytes)
{
    __asm__ volatile("" : : "r"(bytes) : "memory");
}

static bool granted(const struct lock_answer *answer)
{
    return answer->outcome == DFLOCKD_OK || answer->outcome == DFLOCKD_ACQUIRED;
}

/* ---- the table, with keys that other clients hold ---- */

static void run_own(struct scene *scene, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        struct target *target = &scene->targets[i];
        struct lock_answer released;

        target->token = scene_apply(scene, DFLOCKD_ACQUIRE, target, 10, SCENE_LEASE_S).token;
        released = scene_apply(scene, DFLOCKD_RELEASE, target, 0, 0);
        scene_expect(granted(&released), "own: not released");
    }
}

static void run_try(struct scene *scene, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        struct target *target = &scene->targets[i];
        struct lock_answer answer = scene_apply(scene, DFLOCKD_ACQUIRE, target, 0, SCENE_LEASE_S);

        scene_expect(answer.outcome == DFLOCKD_TIMEOUT, "try: not refused");
    }
}

static void run_renew(struct scene *scene, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        struct target *target = &scene->targets[i];
        struct lock_answer answer = scene_apply(scene, DFLOCKD_RENEW, target, 0, SCENE_RENEWED_S);

        scene_expect(granted(&answer), "renew: not renewed");
    }
}

static void run_release(struct scene *scene, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        struct target *target = &scene->targets[i];
        struct lock_answer answer = scene_apply(scene, DFLOCKD_RELEASE, target, 0, 0);

        scene_expect(granted(&answer), "release: not released");
    }
}

static void run_two_phase(struct scene *scene, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        struct target *target = &scene->targets[i];
        struct lock_answer answer;

        scene_apply(scene, DFLOCKD_ENQUEUE, target, 0, SCENE_LEASE_S);
        target->token = scene_apply(scene, DFLOCKD_WAIT, target, 10, 0).token;
        answer = scene_apply(scene, DFLOCKD_RELEASE, target, 0, 0);
        scene_expect(granted(&answer), "two-phase: not released");
    }
}

/* Each key has its own client; all leases are over at the end. */
static void prepare_expire(struct scene *scene, uint64_t count)
{
    scene_aim_at_own(scene, count);
    for (uint64_t i = 0; i < count; i++) {
        struct target *target = &scene->targets[i];

        scene_apply(scene, DFLOCKD_ACQUIRE, target, 0, 1);
    }
    scene->now_ns += 2 * NS_PER_S;
}

static void run_expire(struct scene *scene, uint64_t count)
{
    while (table_expire(&scene->table, scene->now_ns, &(uint32_t){256}))
        continue;
    (void)count;
}

/* ---- one key with waiters ---- */

static struct target *hot_key(struct scene *scene)
{
    scene_aim_at_own(scene, 1);
    return &scene->targets[0];
}

static void begin_hand_over(struct scene *scene, uint64_t waiters)
{
    struct target *target = hot_key(scene);

    for (uint64_t i = 0; i <= waiters; i++) {
        struct lock_answer answer = scene_apply_for(scene, DFLOCKD_ACQUIRE, FIRST_WAITER + i,
                                                    target, WAIT_FOREVER_S, SCENE_LEASE_S);

        if (granted(&answer)) {
            scene->granted_client = FIRST_WAITER + i;
            scene->granted_token = answer.token;
        }
    }
}

static void run_hand_over(struct scene *scene, uint64_t count)
{
    struct target *target = &scene->targets[0];

    for (uint64_t i = 0; i < count; i++) {
        uint64_t holder = scene->granted_client;
        uint64_t effects = scene->effects;

        target->token = scene->granted_token;
        scene_apply(scene, DFLOCKD_RELEASE, target, 0, 0);
        scene_apply_for(scene, DFLOCKD_ACQUIRE, holder, target, WAIT_FOREVER_S, SCENE_LEASE_S);
        scene_expect(scene->effects == effects + 1, "hand-over: no waiter got the key");
    }
}

static void end_hand_over(struct scene *scene, uint64_t waiters)
{
    for (uint64_t i = 0; i <= waiters; i++)
        table_disconnect(&scene->table, scene->now_ns, FIRST_WAITER + i, true,
                         &(uint32_t){UINT32_MAX});
}

/* ---- the end of a client ---- */

static void begin_disconnect(struct scene *scene, uint64_t claims)
{
    scene->claims_each = claims;
}

static void prepare_disconnect(struct scene *scene, uint64_t count)
{
    scene_aim_at_own(scene, count);
    for (uint64_t i = 0; i < count; i++)
        scene_apply_for(scene, DFLOCKD_ACQUIRE, FIRST_LEAVING + i / scene->claims_each,
                        &scene->targets[i], 0, SCENE_LEASE_S);
}

static void run_disconnect(struct scene *scene, uint64_t count)
{
    for (uint64_t i = 0; i < count; i += scene->claims_each) {
        uint64_t client = FIRST_LEAVING + i / scene->claims_each;

        while (!table_disconnect(&scene->table, scene->now_ns, client, false, &(uint32_t){256}))
            continue;
    }
}

/* ---- keys ---- */

static void run_hash(struct scene *scene, uint64_t count)
{
    static const uint8_t secret[crypto_shorthash_KEYBYTES] = "fedcba987654321";
    uint64_t hash = 0;

    for (uint64_t i = 0; i < count; i++) {
        crypto_shorthash((uint8_t *)&hash, scene->targets[i].bytes, SCENE_KEY_BYTES, secret);
        use(&hash);
    }
}

/* ---- requests and replies ---- */

static void read_requests(const char *text, uint64_t count)
{
    const uint8_t *bytes = (const uint8_t *)text;
    size_t length = strlen(text);
    struct request request;

    for (uint64_t i = 0; i < count; i++) {
        struct request_frame frame = request_read(bytes, length, &request);

        scene_expect(frame.framing == REQUEST_COMPLETE && request.valid, "a request is not valid");
        use(&request);
    }
}

#define KEY "bench:key:0123456789"

#define REQUESTS(X)                           \
    X(l, "l\n" KEY "\n10 33\n")               \
    X(r, "r\n" KEY "\n" TOKEN_TEXT "\n")      \
    X(n, "n\n" KEY "\n" TOKEN_TEXT " 33\n")   \
    X(e, "e\n" KEY "\n33\n")                  \
    X(w, "w\n" KEY "\n10\n")                  \
    X(sl, "sl\n" KEY "\n10 5 33\n")           \
    X(sr, "sr\n" KEY "\n" TOKEN_TEXT "\n")    \
    X(sn, "sn\n" KEY "\n" TOKEN_TEXT " 33\n") \
    X(se, "se\n" KEY "\n5 33\n")              \
    X(sw, "sw\n" KEY "\n10\n")                \
    X(ping, "ping\n_\n\n")                    \
    X(stats, "stats\n_\n\n")                  \
    X(auth, "auth\n_\nabcdefghijklmnopqrstuvwxyz\n")

#define X(name, text)                                                \
    static void run_read_##name(struct scene *scene, uint64_t count) \
    {                                                                \
        (void)scene;                                                 \
        read_requests(text, count);                                  \
    }
REQUESTS(X)
#undef X

static void run_grant(struct scene *scene, uint64_t count)
{
    uint8_t answer[DFLOCKD_ANSWER_MAX];

    (void)scene;
    for (uint64_t i = 0; i < count; i++) {
        use(reply_grant(answer, DFLOCKD_OK, 1800000000000000000 + i, ~i, 10 + i % 50));
        use(answer);
    }
}

static void run_renewed(struct scene *scene, uint64_t count)
{
    uint8_t answer[DFLOCKD_ANSWER_MAX];

    (void)scene;
    for (uint64_t i = 0; i < count; i++) {
        use(reply_renewed(answer, 10 + i % 50));
        use(answer);
    }
}

static void run_outcome(struct scene *scene, uint64_t count)
{
    uint8_t answer[DFLOCKD_ANSWER_MAX];

    (void)scene;
    for (uint64_t i = 0; i < count; i++) {
        use(reply_outcome(answer, (enum dflockd_outcome)(i % DFLOCKD_OUTCOME_COUNT)));
        use(answer);
    }
}

/* ---- all of them ---- */

static const struct step steps[] = {
    {"own", SIZE_KEYS, "acquire and release of an own key", NULL, scene_aim_at_own, run_own, NULL,
     NULL},
    {"two-phase", SIZE_KEYS, "enqueue, wait and release of an own key", NULL, scene_aim_at_own,
     run_two_phase, NULL, NULL},
    {"try", SIZE_KEYS, "try on any held key", NULL, scene_aim_at_held, run_try, NULL, NULL},
    {"renew", SIZE_KEYS, "renewal of any held key", NULL, scene_aim_at_held, run_renew, NULL, NULL},
    {"release", SIZE_KEYS, "release of any held key", NULL, scene_aim_at_held, run_release,
     scene_hold_again, NULL},
    {"expire", SIZE_KEYS, "end of a lease", NULL, prepare_expire, run_expire, NULL, NULL},
    {"hand-over", SIZE_WAITERS, "release to the next, acquire again", begin_hand_over, NULL,
     run_hand_over, NULL, end_hand_over},
    {"disconnect", SIZE_CLAIMS, "end of a client, for each key it holds", begin_disconnect,
     prepare_disconnect, run_disconnect, NULL, NULL},
    {"hash", SIZE_NONE, "hash of a key", NULL, scene_aim_at_own, run_hash, NULL, NULL},
#define X(name, text) \
    {"read-" #name, SIZE_NONE, "reading of the request", NULL, NULL, run_read_##name, NULL, NULL},
    REQUESTS(X)
#undef X
        {"write-grant", SIZE_NONE, "writing of 'ok <token> <lease>'", NULL, NULL, run_grant, NULL,
         NULL},
    {"write-renewed", SIZE_NONE, "writing of 'ok <lease>'", NULL, NULL, run_renewed, NULL, NULL},
    {"write-outcome", SIZE_NONE, "writing of one word", NULL, NULL, run_outcome, NULL, NULL},
};

const struct step *steps_at(uint32_t index)
{
    return index < sizeof(steps) / sizeof(steps[0]) ? &steps[index] : NULL;
}

const char *steps_size_name(enum size_of size_of)
{
    static const char *const names[] = {"", "keys", "waiters", "claims"};

    return names[size_of];
}

uint64_t steps_held(const struct step *step, uint64_t size)
{
    return step->size_of == SIZE_KEYS ? size : HELD_BESIDE;
}

uint64_t steps_chunk(const struct step *step, uint64_t size)
{
    bool fits = size > SCENE_CHUNK ? step->size_of == SIZE_CLAIMS : step->size_of == SIZE_KEYS;

    return fits ? size : SCENE_CHUNK;
}

__attribute__((noinline)) void steps_run(const struct step *step, struct scene *scene,
                                         uint64_t count)
{
    step->run(scene, count);
    use(scene); /* also keeps the call above from becoming a jump, which profilers lose sight of */
}
