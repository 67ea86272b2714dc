/*
 * The connections of one thread: lines come in, requests go out, by one ring. A link is one place
 * for a connection, which may be made again and again.
 */
#ifndef BENCH_LINKS_H
#define BENCH_LINKS_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/address.h"
#include "bench/codec.h"
#include "bench/link_tls.h"
#include "os/ring.h"

struct link {
    void *owner;
    int descriptor; /* -1: there is no connection */
    /* Of the connection: what completes for one before it is not about it. */
    uint32_t generation;
    const uint8_t *bytes; /* being sent, and how many */
    uint32_t length;
    struct link_tls *tls; /* with TLS: of all connections that are made here */
    uint8_t partial_length;
    char partial[CODEC_LINE_MAX]; /* the start of a line whose end has not come yet */
};

struct links {
    struct ring *ring;
    struct tls_context *tls_context; /* NULL: connections are plain */
    struct link *links;
    struct link_tls *link_tls; /* one for each link, with TLS */
    uint32_t count;
    uint32_t queued;      /* sends that the kernel has not seen */
    uint64_t now_ns;      /* when what is being handled was seen */
    uint64_t received_ns; /* when bytes came last */

    /* A line, without its newline, that lives as long as the call. */
    void (*on_line)(struct link *link, const char *line, uint32_t length);
    /* The server, or the network, has ended the connection; the link is free again. */
    void (*on_closed)(struct link *link);
};

/* -errno where the kernel refuses a ring, or memory is short. Handlers and TLS must be set. */
int links_open(struct links *links, uint32_t count);

/* Closes them all. */
void links_close(struct links *links);

/*
 * The link gets a connection to `address`: a blocking socket, which belongs to it from then on.
 * With TLS the handshake begins.
 */
void links_adopt(struct links *links, struct link *link, int descriptor,
                 const struct address *address);

/* Closes it from our side, without a word to its owner. */
void links_drop(struct links *links, struct link *link);

/* `bytes` must stay until they are replied or the link is down. One at a time. */
void links_send(struct links *links, struct link *link, const uint8_t *bytes, uint32_t length);

/* Sends what is queued, waits as ring_turn does, and handles what came. */
void links_turn(struct links *links, uint64_t until_ns);

#endif
