/*
 * Requests for the lock table, one function for each command, and calls that take one by value.
 */
#ifndef TESTS_UNIT_LOCK_REQUESTS_H
#define TESTS_UNIT_LOCK_REQUESTS_H

#include "lock/table.h"
#include "server/stripes.h"

struct lock_request acquire_request(uint64_t connection_id, const struct lock_key *key,
                                    uint32_t limit, uint64_t wait_s, uint64_t lease_s);
struct lock_request enqueue_request(uint64_t connection_id, const struct lock_key *key,
                                    uint32_t limit, uint64_t lease_s);
struct lock_request wait_request(uint64_t connection_id, const struct lock_key *key,
                                 uint64_t wait_s);
struct lock_request release_request(const struct lock_key *key, struct lock_token token);
struct lock_request renew_request(const struct lock_key *key, struct lock_token token,
                                  uint64_t lease_s);
struct lock_request own_request(uint64_t connection_id, const struct lock_key *key,
                                struct lock_token token);

struct lock_answer apply_to_table(struct table *table, uint64_t now_ns,
                                  struct lock_request request);
struct lock_answer apply_to_stripes(struct stripes *stripes, uint64_t now_ns,
                                    struct lock_request request, uint64_t *wake);

#endif
