/*
 * The server that does nothing: one ring as ours is set up, multishot accept and receive, and for
 * every three newlines the answer `ok <32 hex> 33`. It is the least that a lock server on this
 * transport can cost, and what ours is measured against.
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
    ANSWER_BYTES = 39,
    ANSWERS_MAX = 2048,
    DESCRIPTORS_MAX = 65536,
    THREADS_MAX = 64
};

static uint8_t answers[ANSWERS_MAX * ANSWER_BYTES];
static uint8_t newlines[DESCRIPTORS_MAX]; /* of an incomplete request, by descriptor */

/* Tags hold the descriptor and what was asked for. */
static uint64_t tag(int descriptor, uint64_t request)
{
    return (uint64_t)descriptor << 8 | request;
}

static void answer(struct ring *ring, int descriptor, const uint8_t *bytes, uint32_t length)
{
    uint32_t lines = newlines[descriptor];

    for (uint32_t i = 0; i < length; i++)
        lines += bytes[i] == '\n';
    newlines[descriptor] = (uint8_t)(lines % 3);
    if (lines >= 3)
        ring_send_now(ring, descriptor, answers, lines / 3 * ANSWER_BYTES, tag(descriptor, 3));
}

static void complete(struct ring *ring, int listener, const struct completion *completion)
{
    int descriptor = (int)(completion->tag >> 8);

    if (completion->tag == TAG_ACCEPT) {
        if (completion->result >= 0 && completion->result < DESCRIPTORS_MAX) {
            newlines[completion->result] = 0;
            ring_receive(ring, completion->result, tag(completion->result, 2));
        }
        if (!completion->more)
            ring_accept(ring, listener, TAG_ACCEPT);
        return;
    }
    if ((completion->tag & 255) != 2)
        return;
    if (completion->bytes) {
        answer(ring, descriptor, completion->bytes, (uint32_t)completion->result);
        ring_return_buffer(ring, completion->buffer);
    }
    if (completion->result == 0)
        ring_close_descriptor(ring, descriptor);
    else if (!completion->more)
        ring_receive(ring, descriptor, tag(descriptor, 2));
}

/* A thread with a ring and a listener of its own, as a worker of ours has. */
static void *serve(void *context)
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
            complete(ring, *listener, &completion);
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
    for (int i = 0; i < ANSWERS_MAX; i++)
        memcpy(answers + (size_t)i * ANSWER_BYTES, "ok 0123456789abcdef0123456789abcdef 33\n",
               ANSWER_BYTES);
    if (sockets_listen("127.0.0.1", (uint16_t)strtoul(arguments[1], NULL, 10), listeners,
                       (uint32_t)threads, text) < 0) {
        fprintf(stderr, "ceiling: %s\n", text);
        return 1;
    }
    for (unsigned long i = 1; i < threads; i++) {
        pthread_t thread;

        if (pthread_create(&thread, NULL, serve, &listeners[i]) != 0) {
            fprintf(stderr, "ceiling: no thread\n");
            return 1;
        }
    }
    serve(&listeners[0]);
}
