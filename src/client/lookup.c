#include "client/lookup.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct lookup {
    struct address address; /* constant */
    pthread_mutex_t mutex;  /* guards the members below */
    int descriptor;         /* -1: abandoned */
    bool is_finished;
    int error;        /* of getaddrinfo(3), once it is finished */
    int error_number; /* errno, if `error` is EAI_SYSTEM */
    struct address_choices choices;
};

/* ---- the number of threads ---- */

/*
 * The upper half is the process that the lower half counts for. A child of fork(2) has none of its
 * parent's threads, so the count of another process is 0.
 */
static _Atomic uint64_t lookup_threads;

enum {
    PROCESS_SHIFT = 32
};

static uint64_t lookup_process(void)
{
    return (uint64_t)(uint32_t)getpid() << PROCESS_SHIFT;
}

/* Returns false if LOOKUP_THREADS_MAX threads are running. */
static bool lookup_count_thread(void)
{
    uint64_t process = lookup_process();
    uint64_t old = atomic_load(&lookup_threads);
    uint64_t count;

    do {
        count = old >> PROCESS_SHIFT == process >> PROCESS_SHIFT ? (uint32_t)old : 0;
        if (count >= LOOKUP_THREADS_MAX)
            return false;
    } while (!atomic_compare_exchange_weak(&lookup_threads, &old, process | (count + 1)));
    return true;
}

/* Only in the process that counted the thread. */
static void lookup_uncount_thread(void)
{
    atomic_fetch_sub(&lookup_threads, 1);
}

/* ---- the thread ---- */

static void lookup_destroy(struct lookup *lookup)
{
    pthread_mutex_destroy(&lookup->mutex);
    free(lookup);
}

static void lookup_announce(int descriptor)
{
    const uint64_t once = 1;

    while (write(descriptor, &once, sizeof(once)) < 0 && errno == EINTR)
        continue;
}

static void *lookup_run(void *argument)
{
    struct lookup *lookup = argument;
    struct address_choices choices;
    int error = address_resolve(&lookup->address, false, &choices);
    int error_number = errno;
    bool is_abandoned;

    pthread_mutex_lock(&lookup->mutex);
    is_abandoned = lookup->descriptor < 0;
    if (!is_abandoned) {
        lookup->choices = choices;
        lookup->error = error;
        lookup->error_number = error_number;
        lookup->is_finished = true;
        /* The mutex is locked, so that the caller cannot close the descriptor before. */
        lookup_announce(lookup->descriptor);
    }
    pthread_mutex_unlock(&lookup->mutex);
    if (is_abandoned)
        lookup_destroy(lookup);
    lookup_uncount_thread();
    return NULL;
}

/*
 * The stack has the default size, because the modules of nsswitch.conf(5) run on it. The thread
 * blocks all signals: the program's own threads handle them.
 */
static bool lookup_start_thread(struct lookup *lookup)
{
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all;
    sigset_t before;
    int error;

    if (pthread_attr_init(&attributes) != 0)
        return false;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&thread, &attributes, lookup_run, lookup);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return error == 0;
}

/* ---- the caller ---- */

enum dflockd_status lookup_start(struct lookup **lookup, const struct address *address,
                                 int descriptor)
{
    struct lookup *made;

    *lookup = NULL;
    if (!lookup_count_thread())
        return DFLOCKD_STATUS_AGAIN;
    made = calloc(1, sizeof(*made));
    if (made) {
        made->address = *address;
        made->descriptor = descriptor;
        pthread_mutex_init(&made->mutex, NULL);
        if (lookup_start_thread(made)) {
            *lookup = made;
            return DFLOCKD_STATUS_DONE;
        }
        lookup_destroy(made);
    }
    lookup_uncount_thread();
    return DFLOCKD_STATUS_NO_MEMORY;
}

enum dflockd_status lookup_take(struct lookup *lookup, struct address_choices *choices,
                                const char **reason)
{
    bool is_finished;

    /* The thread writes nothing after it has set `is_finished`. */
    pthread_mutex_lock(&lookup->mutex);
    is_finished = lookup->is_finished;
    pthread_mutex_unlock(&lookup->mutex);
    if (!is_finished)
        return DFLOCKD_STATUS_AGAIN;
    if (lookup->error == 0) {
        *choices = lookup->choices;
        return DFLOCKD_STATUS_DONE;
    }
    *reason =
        lookup->error == EAI_SYSTEM ? strerror(lookup->error_number) : gai_strerror(lookup->error);
    return lookup->error == EAI_MEMORY ? DFLOCKD_STATUS_NO_MEMORY : DFLOCKD_STATUS_UNREACHABLE;
}

void lookup_free(struct lookup *lookup)
{
    bool is_finished;

    if (!lookup)
        return;
    pthread_mutex_lock(&lookup->mutex);
    is_finished = lookup->is_finished;
    lookup->descriptor = -1;
    pthread_mutex_unlock(&lookup->mutex);
    if (is_finished)
        lookup_destroy(lookup);
}
