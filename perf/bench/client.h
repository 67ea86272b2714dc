/*
 * A worker of the load: it does rounds, `depth` of them at a time, over its connections in turns.
 *
 * The rounds of a batch go in step. The next requests of all of them are sent as one, when the
 * last ones are all replied; so one buffer a client is enough, and nothing is allocated.
 */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/list.h"
#include "bench/checker.h"
#include "bench/codec.h"
#include "bench/links.h"
#include "bench/random.h"
#include "bench/settings.h"
#include "bench/setup.h"
#include "bench/tally.h"

/* What the clients of one thread share. */
struct thread_state {
    const struct settings *settings;
    const struct codec *codec;
    struct checker *checker; /* or NULL */
    struct links links;
    struct tally tally;
    struct random random;
    struct list free;    /* clients without rounds, the longest so first */
    struct list holding; /* clients between grant and release, the next due first */
    uint32_t busy;       /* clients with rounds */
    uint32_t dead;       /* clients that get no connection any more */
    int connect_error;   /* errno of the last connection that could not even be tried; 0: none */
    /* What is counted: what was replied in here, or with --rate what should have begun here. */
    uint64_t window_start_ns;
    uint64_t window_end_ns;
};

enum client_state {
    CLIENT_FREE,
    CLIENT_AUTHENTICATING,
    CLIENT_WAITING,
    CLIENT_HOLDING,
    CLIENT_DEAD
};

struct round {
    enum load load;
    enum request_kind kind; /* of the request under way, or of the next one */
    bool awaiting_reply;    /* it waits for an reply */
    bool over;
    struct hold hold;
    struct hold kept; /* what --load renew renews */
};

struct client {
    struct thread_state *thread;
    struct list_link link; /* in the thread's free or holding ones */
    enum client_state state;
    uint32_t number; /* among the clients of all threads */
    const struct address *address;
    struct link *links; /* settings->connections of them */
    uint32_t turn;      /* which of them is next */
    struct link *used;  /* by this batch */
    bool lost_before;   /* its last connection ended without an reply */
    struct round *rounds;
    uint32_t replied;     /* rounds up to here have their reply, or want none */
    uint64_t rounds_done; /* in the phase, those that were lost as well */
    uint64_t began_ns;    /* the batch, or when it should have begun */
    uint64_t sent_ns;     /* the requests under way */
    uint64_t due_ns;      /* to release */
    uint8_t *request;     /* room for one of each round */
};

/* Bytes of client->request for one round. */
static inline uint32_t client_request_bytes(const struct settings *settings)
{
    return (uint32_t)(CODEC_REQUEST_MAX - SETTINGS_KEY_MAX + strlen(settings->key));
}

/* Connects all its links, where they stay; false where `problem` says why not. */
bool client_connect(struct client *client, char problem[SETUP_PROBLEM_MAX]);

/* Begins a batch of rounds, which should have begun at `began_ns`. The client must be free. */
void client_start(struct client *client, uint64_t began_ns);

/* Releases what a holding client holds. */
void client_release_holds(struct client *client);

/* Handlers of the thread's links. */
void client_handle_line(struct link *link, const char *line, uint32_t length);
void client_handle_closed(struct link *link);

#endif
