/*
 * Stripes for unit tests, with memory that many threads share. A failed check fails the test.
 */
#ifndef TESTS_UNIT_STRIPES_FIXTURE_H
#define TESTS_UNIT_STRIPES_FIXTURE_H

#include "lock_requests.h"
#include "server/stripes.h"

#define SECOND UINT64_C(1000000000)

enum {
    WORKERS = 4,
    LONG_S = 100000, /* longer than any test */
    STEPS = 1000
};

/* Sets the memory and the rest of the policy. */
struct stripes *create_stripes_from(struct stripes_options options);

struct stripes *create_stripes(uint32_t workers, uint64_t states_max, uint64_t gc_max_idle_s);

/* Fences start at 1 and are below `fence_ceiling`; 0: no limit. */
struct stripes *create_stripes_with_fences(uint32_t workers, uint64_t states_max,
                                           uint64_t gc_max_idle_s, uint64_t fence_ceiling);

/* Checks the invariants. */
void check_stripes(struct stripes *stripes);

/* Checks the invariants, and that all memory was released. */
void destroy_stripes(struct stripes *stripes);

struct lock_key key_named(const struct stripes *stripes, enum lock_kind kind, const char *name);

/* Returns a key whose stripe has the home worker `home` of WORKERS; `name` holds its bytes. */
struct lock_key key_at_home(const struct stripes *stripes, uint32_t home, char name[16]);

struct lock_answer acquire_in_stripes(struct stripes *stripes, uint64_t now_ns, uint64_t client,
                                      const struct lock_key *key, uint64_t wait_s, uint64_t lease_s,
                                      uint64_t *wake);

#endif
