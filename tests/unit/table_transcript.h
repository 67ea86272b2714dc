/*
 * Plays transcripts on a lock table. A line is an event with its answer; a line for each effect
 * follows. A letter names a token.
 *
 *   1 l k 10 30 = ok a 30    client 1 acquires lock k: waits up to 10 s, a lease of 30 s
 *   1 rl k 10 30 = pending   the same, shared            1 re k 30 = queued
 *   2 sl k 0 3 30 = timeout  the same for a semaphore of limit 3
 *   1 e k 30 = queued        1 se k 3 30 = acquired a 30        1 w k 10 = pending
 *   2 r k a = ok             2 n k a 30 = ok 30                 token a! has another salt
 *   3 o k a = ok             3 so k a = ok               client 3 has the claim of token a now
 *   -> 2 ok b 30             the next effect
 *   at 12.5                  sets the time to 12.5 s and processes expired deadlines
 *   late 12.5                sets the time only
 *   stop                     the table grants nothing from now on
 *   1 cancel = yes           1 gone [pending]                   1 holds = 30 | queue | nothing
 *   1 watch = yes            1 unwatch                          -> 1 idle
 *   1 leases = yes           client 1 holds a lease
 *   room = 2                 claims that the table may have
 *   deadline = 30 | none     used = 2                           order a b: their fences rise
 *   count = grants 2, locks 1   the counters that are not 0, see play_count
 *   see lock k = 1 1 0 2 30 0   limit, holders, waiters, owner, lease left, idle time
 *   see lock k = none        the key does not exist
 *
 * Each transcript is played with good and with colliding hashes, and with many steps per call and
 * with one. The invariants are checked after each line.
 */
#ifndef TESTS_UNIT_TABLE_TRANSCRIPT_H
#define TESTS_UNIT_TABLE_TRANSCRIPT_H

#include "table_fixture.h"

#define LINES(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Plays `lines`, which end with NULL, in each of these ways. */
void play(struct rules rules, const char *const *lines);

#endif
