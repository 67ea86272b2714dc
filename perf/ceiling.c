/*
 * The ceiling: a server that replies `ok <32 hex> 33` to every three newlines and does nothing
 * else. Its ring is set up like dflockd's, with multishot accept and receive. Its cost is the
 * minimum for a lock server on this transport; perf/compare measures dflockd against it.
 *
 *   ceiling PORT [THREADS]
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os/ring.h"
#include "os/sockets.h"

enum {
    TAG_ACCEPT = 1,
    REPLY_BYTES = 39,
    REPLIES_MAX = 2048,
    DESCRIPTORS_MAX = 65536,
    THREADS_MAX = 64
};

static uint8_t replies[REPLIES_MAX * REPLY_BYTES];
static uint8_t newlines[DESCRIPTORS_MAX]; /* of the incomplete request on each descriptor */

/* Returns the tag of an operation: the descriptor and the kind of request. */
static uint64_t ceiling_tag(int descriptor, uint64_t request)
{
    return (uint64_t)descriptor << 8 | request;
}

static void ceiling_reply(struct ring *ring, int descriptor, const uint8_t *bytes, uint32_t length)
{
    uint32_t lines = newlines[descriptor];

    for (uint32_t i = 0; i < length; i++)
        lines += bytes[i] == '\n';
    newlines[descriptor] = (uint8_t)(lines % 3);
    if (lines >= 3)
        ring_send_now(ring, descriptor, replies, lines / 3 * REPLY_BYTES,
                      ceiling_tag(descriptor, 3));
}

static void ceiling_complete(struct ring *ring, int listener, const struct completion *completion)
{
    int descriptor = (int)(completion->tag >> 8);

    if (completion->tag == TAG_ACCEPT) {
        if (completion->result >= 0 && completion->result < DESCRIPTORS_MAX) {
            newlines[completion->result] = 0;
            ring_receive(ring, completion->result, ceiling_tag(completion->result, 2));
        }
        if (!completion->more)
            ring_accept(ring, listener, TAG_ACCEPT);
        return;
    }
    if ((completion->tag & 255) != 2)
        return;
    if (completion->bytes) {
        ceiling_reply(ring, descriptor, completion->bytes, (uint32_t)completion->result);
        ring_return_buffer(ring, completion->buffer);
    }
    if (completion->result == 0)
        ring_close_descriptor(ring, descriptor);
    else if (!completion->more)
        ring_receive(ring, descriptor, ceiling_tag(descriptor, 2));
}

/* Runs a thread with its own ring and listener, like a worker of dflockd. Does not return. */
static void *ceiling_serve(void *context)
{
    const int *listener = context;
    struct ring_options options = {
        .submissions = 2048, .completions = 8192, .buffers = 512, .buffer_bytes = 2048};
    struct ring *ring;
    int error = ring_open(&ring, &options);

    if (error < 0) {
        fprintf(stderr, "ceiling: %s\n", ring_explain(error));
        exit(1);
    }
    ring_accept(ring, *listener, TAG_ACCEPT);
    for (;;) {
        struct completion completion;

        ring_turn(ring, UINT64_MAX);
        while (ring_next(ring, &completion))
            ceiling_complete(ring, *listener, &completion);
    }
}

int main(int count, char **arguments)
{
    static int listeners[THREADS_MAX];
    unsigned long threads = count == 3 ? strtoul(arguments[2], NULL, 10) : 1;
    char text[SOCKETS_TEXT_MAX];

    if (count < 2 || count > 3 || threads < 1 || threads > THREADS_MAX) {
        fprintf(stderr, "usage: ceiling PORT [THREADS]\n");
        return 2;
    }
    for (int i = 0; i < REPLIES_MAX; i++)
        memcpy(replies + (size_t)i * REPLY_BYTES, "ok 0123456789abcdef0123456789abcdef 33\n",
               REPLY_BYTES);
    if (sockets_listen("127.0.0.1", (uint16_t)strtoul(arguments[1], NULL, 10), listeners,
                       (uint32_t)threads, text) < 0) {
        fprintf(stderr, "ceiling: %s\n", text);
        return 1;
    }
    for (unsigned long i = 1; i < threads; i++) {
        pthread_t thread;

        if (pthread_create(&thread, NULL, ceiling_serve, &listeners[i]) != 0) {
            fprintf(stderr, "ceiling: cannot create a thread\n");
            return 1;
        }
    }
    ceiling_serve(&listeners[0]);
}
