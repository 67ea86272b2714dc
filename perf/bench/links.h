/*
 * The connections of one thread on one ring: sends requests, delivers reply lines. A link is a
 * slot for a connection and can connect repeatedly.
 */
#ifndef BENCH_LINKS_H
#define BENCH_LINKS_H

#include <stdint.h>

#include "bench/codec.h"
#include "bench/link_tls.h"
#include "bench/server.h"
#include "os/ring.h"

struct link {
    void *owner;
    int descriptor; /* -1: not connected */
    /* Of the connection. Completions of an earlier generation are ignored. */
    uint32_t generation;
    bool received;        /* some bytes came over the connection */
    const uint8_t *bytes; /* pending bytes and their number */
    uint32_t length;
    struct link_tls *tls; /* with TLS: used by each connection of this link in turn */
    uint8_t partial_length;
    char partial[CODEC_LINE_MAX]; /* start of an incomplete line */
};

struct links {
    struct ring *ring;
    struct tls_context *tls_context; /* NULL: no TLS */
    struct link *links;
    struct link_tls *link_tls; /* with TLS: one for each link */
    uint32_t count;
    uint32_t queued;      /* sends not yet submitted to the kernel */
    uint64_t now_ns;      /* time of the completion being handled */
    uint64_t received_ns; /* time of the last received bytes */

    /* Receives a line without its newline. The line is valid during the call. */
    void (*on_line)(struct link *link, const char *line, uint32_t length);
    /*
     * The server or network has ended the connection. The link is free again. `error` is an errno,
     * or 0 at the end of the server's bytes.
     */
    void (*on_closed)(struct link *link, int error);
};

/*
 * Handlers and tls_context must be set. Returns -errno if the kernel refuses a ring or memory is
 * short.
 */
int links_open(struct links *links, uint32_t count);

/* Closes all links. */
void links_close(struct links *links);

/*
 * Gives the link a connection to `server`. The link owns `descriptor`, a blocking socket. With
 * TLS, starts the handshake.
 */
void links_adopt(struct links *links, struct link *link, int descriptor,
                 const struct server *server);

/* Closes the connection without calling on_closed. */
void links_drop(struct links *links, struct link *link);

/*
 * Sends one request at a time. `bytes` must stay valid until the reply or the end of the
 * connection.
 */
void links_send(struct links *links, struct link *link, const uint8_t *bytes, uint32_t length);

/* Submits queued sends, waits like ring_turn, and handles completions. */
void links_turn(struct links *links, uint64_t until_ns);

#endif
