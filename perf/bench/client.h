/*
 * A worker of the load. It does `depth` rounds at a time, over its connections in turn.
 *
 * The rounds of a batch keep in step: the client sends the next requests of all rounds together,
 * after the replies to all previous ones. So one buffer per client is enough, and a round
 * allocates no memory.
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

enum {
    CLIENT_DELAYS = 8 /* of 10 ms, 20 ms and so on, up to a second */
};

/* State that the clients of one thread share. */
struct thread_state {
    const struct settings *settings;
    const struct codec *codec;
    struct checker *checker; /* or NULL */
    struct links links;
    struct tally tally;
    struct random random;
    struct list free;                   /* clients without rounds, longest free first */
    struct list delayed[CLIENT_DELAYS]; /* clients without a connection, by their delay */
    struct list holding;  /* clients between grant and release, earliest release first */
    uint32_t busy;        /* clients with rounds */
    uint32_t delay_count; /* clients in `delayed` */
    uint32_t dead;        /* clients that have given up connecting */
    uint32_t given_up;    /* those of them that had no server for --reconnect */
    bool unauthenticated; /* a server refused a request or the secret by error_auth */
    int connect_error;    /* errno of the last connect that failed; 0: none */
    /* The window of the measurement: of replies, or with --rate of the due starts of rounds. */
    uint64_t window_start_ns;
    uint64_t window_end_ns;
};

enum client_state {
    CLIENT_FREE,
    CLIENT_AUTHENTICATING,
    CLIENT_RECOVERING, /* releases the holds of a lost connection */
    CLIENT_WAITING,
    CLIENT_HOLDING,
    CLIENT_DELAYED, /* waits before it connects again */
    CLIENT_DEAD
};

struct round {
    enum load load;
    enum request_kind kind; /* of the pending or next request */
    bool awaiting_reply;    /* a reply is pending */
    bool over;
    struct hold hold;
    struct hold kept; /* the claim of --load renew */
};

struct client {
    struct thread_state *thread;
    struct list_link link; /* in thread->free, thread->holding or thread->delayed */
    enum client_state state;
    uint32_t number; /* among the clients of all threads */
    const struct server *server;
    struct link *links;    /* settings->connections of them */
    uint32_t turn;         /* index of the next link to use */
    struct link *used;     /* by this batch */
    bool replied_ever;     /* the server has replied to a request */
    uint32_t closed_early; /* connections that ended before the first reply to a request */
    uint32_t failures;     /* connections in a row without a reply */
    uint64_t lost_ns;      /* when the first of them was lost */
    uint32_t losses; /* of the thread before the used connection was opened, for the checker */
    struct hold *recovered; /* while CLIENT_RECOVERING */
    struct round *rounds;
    uint32_t replied;     /* rounds below this index have their reply or need none */
    uint64_t rounds_done; /* in the phase, including lost rounds */
    uint64_t began_ns;    /* start of the batch; with --rate its due start */
    uint64_t sent_ns;     /* when the pending requests were sent */
    uint64_t due_ns;      /* time of the release, or of the end of the delay */
    uint8_t *request;     /* room for one request of each round */
};

/* Returns the size of one round's request in client->request, in bytes. */
static inline uint32_t client_request_bytes(const struct settings *settings)
{
    return (uint32_t)(CODEC_REQUEST_MAX - SETTINGS_KEY_MAX + strlen(settings->key));
}

static inline bool client_is_busy(const struct client *client)
{
    return client->state != CLIENT_FREE && client->state != CLIENT_DELAYED &&
           client->state != CLIENT_DEAD;
}

/* Connects all links for the whole load. Returns false and sets `problem` on failure. */
bool client_connect(struct client *client, char problem[SETUP_PROBLEM_MAX]);

/* Starts a batch of rounds. `began_ns` is its due start. The client must be free. */
void client_start(struct client *client, uint64_t began_ns);

/* Sends the releases of a holding client. */
void client_release_holds(struct client *client);

/* Ends the delay of a client, which is then free. */
void client_end_delay(struct client *client);

/* Handlers for the links of the thread. */
void client_handle_line(struct link *link, const char *line, uint32_t length);
void client_handle_closed(struct link *link, int error);

#endif
