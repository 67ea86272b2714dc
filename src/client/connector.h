/*
 * From an address to a connected socket: looks the name up, then tries one socket address after the
 * other. Nothing here waits. One descriptor at a time says when to go on: an eventfd during a
 * look-up, a timerfd during a delay, else the socket.
 */
#ifndef CLIENT_CONNECTOR_H
#define CLIENT_CONNECTOR_H

#include "os/address.h"
#include "dflockd/client.h"

enum {
    CONNECTOR_PROBLEM_MAX = 2 * ADDRESS_TEXT_MAX
};

struct connector;

/*
 * Starts to connect to `address`, which it copies, until `deadline_ns` of clock_monotonic_ns.
 * Returns NULL if memory is short. To be freed by connector_free. A connector is for one thread at
 * a time.
 */
struct connector *connector_new(const struct address *address, uint64_t deadline_ns);

/* Closes what is open, and abandons the look-up. Does nothing if it is NULL. */
void connector_free(struct connector *connector);

/*
 * Goes on as far as it can without waiting. Returns DONE once the socket is connected (see
 * connector_take_socket), AGAIN, or UNREACHABLE or NO_MEMORY, which stay (see connector_problem).
 */
enum dflockd_status connector_step(struct connector *connector);

/* The caller owns the connected socket after it. */
int connector_take_socket(struct connector *connector);

/*
 * For poll(2): the descriptor and its events until the next step. A descriptor that replaces
 * another one during a step has another number. -1 before the first step and after a failure.
 */
int connector_descriptor(const struct connector *connector);
short connector_events(const struct connector *connector);

/* When the next step is due although the descriptor is not ready, of clock_monotonic_ns. */
uint64_t connector_due_ns(const struct connector *connector);

/* Why the last step failed. Lives as long as the connector. */
const char *connector_problem(const struct connector *connector);

#endif
