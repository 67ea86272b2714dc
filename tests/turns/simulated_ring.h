/*
 * Rings and sockets in memory, behind os/ring.h and os/sockets.h: no kernel, no clock. A descriptor
 * is the index of a socket. One thread acts for all workers and peers.
 *
 * As with the kernel, a turn of the ring executes its requests in order, then collects what sockets
 * have received into registered buffers. Returned buffers are overwritten.
 */
#ifndef TESTS_TURNS_SIMULATED_RING_H
#define TESTS_TURNS_SIMULATED_RING_H

#include "os/ring.h"
#include "seeded.h"

enum {
    SIMULATED_RINGS_MAX = 4,
    SIMULATED_BUFFERS = 512, /* as in server/worker.c */
    SIMULATED_BUFFER_BYTES = 2048
};

#define SIMULATED_ROOM_UNLIMITED SIZE_MAX

/* What a peer has received. */
struct simulated_replies {
    uint64_t lines;
    uint64_t ok;       /* lines that begin with "ok" */
    uint64_t timeouts; /* lines "timeout" */
};

/* Starts with `count` rings, and no sockets. */
void simulated_start(struct seeded *random, uint32_t count);

/* All sockets must be closed by the server, and all buffers returned. */
void simulated_stop(void);

struct ring *simulated_ring(uint32_t number);

/*
 * In later turns, receives end at random, sends take parts at random, and completions stay back in
 * the ring.
 */
void simulated_disturb(bool disturb);

/* Returns whether a turn would bring completions. */
bool simulated_has_completions(struct ring *ring);

/* System calls that servers have requested or made so far: sends, closes, queries. */
uint64_t simulated_system_calls(void);

/* Completions with received bytes so far. */
uint64_t simulated_receives(void);

/* ---- peers ---- */

/* Returns a socket of a new peer, which reads all that it gets at once. */
int simulated_connect(struct ring *ring);

void simulated_write(int descriptor, const void *bytes, size_t length);
void simulated_end(int descriptor);
void simulated_reset(int descriptor);

/* The peer stops reading: the socket takes `room` bytes more. */
void simulated_set_room(int descriptor, size_t room);

const struct simulated_replies *simulated_replies(int descriptor);

/* Returns whether the peer sees the end of input. */
bool simulated_ended(int descriptor);

#endif
