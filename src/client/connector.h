/*
 * Makes a connected socket from an address: looks up the name, then tries one socket address after
 * the other. Nothing here waits. The caller watches one descriptor: an eventfd during a look-up, a
 * timerfd during a delay, else the socket.
 */
#ifndef CLIENT_CONNECTOR_H
#define CLIENT_CONNECTOR_H

#include "dflockd/client.h"
#include "os/address.h"

enum {
    CONNECTOR_PROBLEM_MAX = 2 * ADDRESS_TEXT_MAX
};

struct connector;

/*
 * Makes a connector for `address`, which it copies. Its deadline is `deadline_ns` of
 * clock_monotonic_ns. Returns NULL if out of memory. The caller must free it with connector_free.
 * One thread at a time may use it.
 */
struct connector *connector_new(const struct address *address, uint64_t deadline_ns);

/* Closes the descriptor, and abandons the look-up. Does nothing if it is NULL. */
void connector_free(struct connector *connector);

/*
 * Connects as far as possible without waiting. Returns DONE once the socket is connected (see
 * connector_take_socket), AGAIN, or UNREACHABLE or NO_MEMORY (see connector_problem), also in later
 * calls.
 */
enum dflockd_status connector_step(struct connector *connector);

/* Returns the connected socket, which the caller then owns. */
int connector_take_socket(struct connector *connector);

/*
 * Return the descriptor and its events for poll(2) until the next step. A descriptor that replaces
 * another one during a step has another number. -1 before the first step and after a failure.
 */
int connector_descriptor(const struct connector *connector);
short connector_events(const struct connector *connector);

/* Returns when to call connector_step although nothing is ready, of clock_monotonic_ns. */
uint64_t connector_due_ns(const struct connector *connector);

/* Returns why the last step failed. The text lives as long as the connector. */
const char *connector_problem(const struct connector *connector);

#endif
