/*
 * Keeps a single worker and the HTTP thread apart. With one worker, stripes have no mutex: each of
 * its requests would pay for one. The gate costs two mutexes per turn instead. With several
 * workers there is no gate, and each stripe has its mutex.
 *
 * The worker is inside during its turns, but not while it sleeps. The HTTP thread is inside for
 * some steps at a time. A thread that waits at the gate is the next one inside, however soon the
 * other one returns: it holds `queue` meanwhile.
 *
 * Lock order: queue, turn, then as in server/stripes.h.
 */
#ifndef SERVER_GATE_H
#define SERVER_GATE_H

#include <pthread.h>

struct gate {
    pthread_mutex_t queue;
    pthread_mutex_t turn;
};

static inline void gate_init(struct gate *gate)
{
    pthread_mutex_init(&gate->queue, NULL);
    pthread_mutex_init(&gate->turn, NULL);
}

/* `gate` NULL: there is none. */
static inline void gate_enter(struct gate *gate)
{
    if (!gate)
        return;
    pthread_mutex_lock(&gate->queue);
    pthread_mutex_lock(&gate->turn);
    pthread_mutex_unlock(&gate->queue);
}

static inline void gate_leave(struct gate *gate)
{
    if (gate)
        pthread_mutex_unlock(&gate->turn);
}

#endif
