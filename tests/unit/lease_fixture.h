/*
 * Leases under a virtual clock for the tests of lease.h: events, leases in each state, and what
 * must hold in a state. The request for the grant is sent at lease_start_ns; times in seconds count
 * from then.
 */
#ifndef TESTS_UNIT_LEASE_FIXTURE_H
#define TESTS_UNIT_LEASE_FIXTURE_H

#include <stdint.h>

#include "base/time_units.h"
#include "client/lease.h"

enum {
    LEASE_S = 30,
    PROMPT_S = 3, /* a tenth of LEASE_S */
    WAIT_S = 60,
    CONNECT_TIMEOUT_S = 3,
    REPLY_TIMEOUT_S = 5,
    FENCE = 77
};

extern const uint64_t lease_start_ns;

/* Returns a moment on the clock. */
uint64_t lease_at(double seconds);

/* ---- events ---- */

void lease_refuse(struct lease *lease, enum dflockd_status status, double seconds);
void lease_grant(struct lease *lease, double seconds);
void lease_reply_renewal(struct lease *lease, uint64_t lease_s, double seconds);
void lease_reply_own(struct lease *lease, double seconds);
void lease_disconnect(struct lease *lease, double seconds);

/* Checks that this request is due, and sends it. */
void lease_send(struct lease *lease, enum lease_action action, double seconds);

/* Checks that the lease must connect; connects, and sends `own`. */
void lease_connect_again(struct lease *lease, double seconds);

/* ---- leases in each state ---- */

struct lease new_lease(enum lease_mode mode);
struct lease waiting_lease(void);
struct lease queued_lease(void);

/* The grant came after `seconds`, and a renewal is pending. */
struct lease confirming_lease(double seconds);

/* The grant came at once. */
struct lease held_lease_of(enum lease_mode mode);
struct lease held_lease(void);

/* The lease sent a renewal at 15 s. */
struct lease renewing_lease(void);

/* The connection was lost at 1 s. */
struct lease unverified_lease(void);

/* Then the lease sent `own` at 2 s. */
struct lease owning_lease(void);

/* Then the reply was ok, and the lease sent a renewal at 3 s. */
struct lease verifying_lease(void);

/* The server refused a renewal. */
struct lease lost_lease(void);

/* ---- what must hold in a state ---- */

void assert_none(const struct lease *lease, enum dflockd_status why);
void assert_lost(const struct lease *lease, enum dflockd_status why);

/* The lease is held from `now` until `until`, and not a nanosecond longer. */
void assert_held(const struct lease *lease, double now, double until);
void assert_held_by_others(const struct lease *lease);
void assert_unverified(const struct lease *lease);
void assert_confirming(const struct lease *lease);

#endif
