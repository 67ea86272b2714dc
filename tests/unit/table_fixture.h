/*
 * A lock table without chance: fences count from 1, salts follow from fences, tests set the time,
 * effects are recorded and memory is counted. A failed check fails the test.
 */
#ifndef TESTS_UNIT_TABLE_FIXTURE_H
#define TESTS_UNIT_TABLE_FIXTURE_H

#include "lock/records.h"
#include "lock_requests.h"
#include "memory_counted.h"

#define FIXTURE_SECOND UINT64_C(1000000000)

enum {
    FIXTURE_EFFECTS_MAX = 4096,
    FIXTURE_STATES_MAX = 1024,
    FIXTURE_GC_INTERVAL_S = 5,
    FIXTURE_GC_MAX_IDLE_S = 60
};

/* The policy of a test; all zeros are the server's defaults. */
struct rules {
    uint64_t states_max;
    uint64_t waiters_max;
    uint64_t claims_max;      /* 0: no limit */
    uint64_t grant_from_s;    /* 0: at once */
    uint32_t claims_batch;    /* 0: as lock_budget_init chooses */
    uint32_t claims_max_each; /* of a client of a transcript; 0: no limit */
    uint64_t gc_max_idle_s;
    uint64_t gc_interval_s;
    bool collect_at_once;
    bool keep_on_disconnect;
};

struct fixture_effect {
    uint64_t connection_id;
    struct lock_answer answer;
};

struct fixture {
    struct table table;
    struct lock_budget budget;
    struct memory_counted memory;
    uint64_t now_ns;
    uint64_t fence_last;
    uint64_t fence_max; /* the last fence that can be promised */
    uint64_t promised;  /* open promises */
    uint64_t hash_mask; /* 0 makes all keys collide */
    struct fixture_effect effects[FIXTURE_EFFECTS_MAX];
    uint32_t effect_count; /* since a test set it to 0 */
};

/* A generator that a seed replays (splitmix64). */
uint64_t fixture_random(uint64_t *state);

/* The salt of the token with this fence; never 0. */
uint64_t fixture_salt(uint64_t fence);

/* Returns false if memory is short: only `allocations` succeed. */
bool fixture_try_start(struct fixture *fixture, const struct rules *rules, uint64_t allocations);

void fixture_start(struct fixture *fixture, const struct rules *rules);

/* Frees the table. Checks that no block, state or promise is left, and that no effect came. */
void fixture_end(struct fixture *fixture);

/* Checks the invariants of the table. */
void fixture_check(const struct fixture *fixture);

/* Makes a key. Borrows `bytes`. */
struct lock_key fixture_key(const struct fixture *fixture, enum lock_kind kind, const char *bytes);

/*
 * The end of a lease of a connection that is not over. Returns UINT64_MAX if the connection waits,
 * 0 if it does neither.
 */
uint64_t fixture_holds_until(const struct table *table, uint64_t now_ns, uint64_t connection_id);

/* Processes all expired deadlines, `steps` per call of the table. */
void fixture_expire(struct fixture *fixture, uint32_t steps);

/* Disconnects a connection, `steps` per call of the table. */
void fixture_disconnect(struct fixture *fixture, uint64_t connection_id, bool pending,
                        uint32_t steps);

#endif
