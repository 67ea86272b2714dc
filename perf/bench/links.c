#include "bench/links.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "os/clock.h"

enum {
    RING_SUBMISSIONS = 1024,
    RING_COMPLETIONS = 8192,
    RING_BUFFERS = 512,
    RING_BUFFER_BYTES = 4096,
    /* The latency of a request starts when it is queued, so it must not wait for many others. */
    SENDS_PER_SUBMISSION = 16,
    PLAIN_BYTES = 4096
};

/* The low bits of a tag. Its upper half is the generation. */
enum {
    TAG_RECEIVE = 1,
    TAG_SEND = 2,
    TAG_REQUEST_BITS = 2,
    LINKS_MAX = 1 << (32 - TAG_REQUEST_BITS)
};

static uint64_t links_tag(const struct links *links, const struct link *link, uint32_t request)
{
    return (uint64_t)link->generation << 32 | (uint64_t)(link - links->links) << TAG_REQUEST_BITS |
           request;
}

static bool links_allocate_tls(struct links *links)
{
    struct link_tls *link_tls = calloc(links->count + 1, sizeof(*link_tls));

    if (!link_tls)
        return false;
    links->link_tls = link_tls;
    for (uint32_t i = 0; i < links->count; i++)
        links->links[i].tls = &link_tls[i];
    return true;
}

int links_open(struct links *links, uint32_t count)
{
    struct ring_options options = {
        .submissions = RING_SUBMISSIONS,
        .completions = RING_COMPLETIONS,
        .buffers = RING_BUFFERS,
        .buffer_bytes = RING_BUFFER_BYTES,
    };
    int error;

    assert(count <= LINKS_MAX);
    links->links = calloc(count + 1, sizeof(*links->links));
    if (!links->links)
        return -ENOMEM;
    links->count = count;
    for (uint32_t i = 0; i < count; i++)
        links->links[i].descriptor = -1;
    error = links->tls_context && !links_allocate_tls(links) ? -ENOMEM
                                                             : ring_open(&links->ring, &options);
    if (error < 0) {
        free(links->link_tls);
        free(links->links);
    }
    return error;
}

void links_close(struct links *links)
{
    for (uint32_t i = 0; i < links->count; i++) {
        if (links->links[i].descriptor >= 0)
            close(links->links[i].descriptor);
        if (links->link_tls)
            link_tls_free(&links->link_tls[i]);
    }
    ring_close(links->ring);
    free(links->link_tls);
    free(links->links);
}

/* The latency of a request starts when it is queued. */
static void links_send_bytes(struct links *links, struct link *link, const uint8_t *bytes,
                             uint32_t length)
{
    link->bytes = bytes;
    link->length = length;
    ring_send_now(links->ring, link->descriptor, bytes, length, links_tag(links, link, TAG_SEND));
    if (++links->queued == SENDS_PER_SUBMISSION) {
        ring_turn(links->ring, 0);
        links->queued = 0;
    }
}

static void links_send_ciphertext(struct links *links, struct link *link)
{
    const struct buffer *ciphertext = &link->tls->ciphertext;

    if (buffer_length(ciphertext) > 0)
        links_send_bytes(links, link, buffer_first(ciphertext),
                         (uint32_t)buffer_length(ciphertext));
}

void links_adopt(struct links *links, struct link *link, int descriptor,
                 const struct server *server)
{
    assert(link->descriptor < 0);
    link->descriptor = descriptor;
    link->generation++;
    link->received = false;
    link->partial_length = 0;
    ring_receive(links->ring, descriptor, links_tag(links, link, TAG_RECEIVE));
    /* On failure the server receives nothing and closes the connection. */
    if (links->tls_context && link_tls_open(link->tls, links->tls_context, server))
        links_send_ciphertext(links, link);
}

void links_drop(struct links *links, struct link *link)
{
    if (link->descriptor < 0)
        return;
    ring_cancel_tag(links->ring, links_tag(links, link, TAG_RECEIVE));
    ring_cancel_tag(links->ring, links_tag(links, link, TAG_SEND));
    ring_close_descriptor(links->ring, link->descriptor);
    link->descriptor = -1;
    link->generation++;
}

static void links_report_closed(struct links *links, struct link *link, int32_t result)
{
    links_drop(links, link);
    links->on_closed(link, -result);
}

/* ---- sending ---- */

void links_send(struct links *links, struct link *link, const uint8_t *bytes, uint32_t length)
{
    if (!links->tls_context)
        links_send_bytes(links, link, bytes, length);
    else if (link->tls->session && link_tls_write(link->tls, bytes, length) &&
             tls_ready(link->tls->session))
        links_send_ciphertext(links, link);
}

/* The ring completes a send only if it was partial. The rest waits for room in the socket. */
static void links_handle_sent(struct links *links, struct link *link, int32_t result)
{
    if (result < 0 && result != -EAGAIN && result != -EINTR) {
        links_report_closed(links, link, result);
        return;
    }
    if (result > 0) {
        link->bytes += result;
        link->length -= (uint32_t)result;
    }
    if (link->length > 0)
        ring_send(links->ring, link->descriptor, link->bytes, link->length,
                  links_tag(links, link, TAG_SEND));
}

/* ---- receiving ---- */

static void links_keep_partial(struct link *link, const char *bytes, size_t length)
{
    size_t room = sizeof(link->partial) - link->partial_length;

    if (length > room)
        length = room;
    memcpy(link->partial + link->partial_length, bytes, length);
    link->partial_length = (uint8_t)(link->partial_length + length);
}

static void links_deliver_line(struct links *links, struct link *link, const char *line,
                               size_t length)
{
    uint32_t shown = length < CODEC_LINE_MAX ? (uint32_t)length : CODEC_LINE_MAX;

    if (link->partial_length > 0) {
        char whole[CODEC_LINE_MAX];

        links_keep_partial(link, line, length);
        shown = link->partial_length;
        memcpy(whole, link->partial, shown);
        link->partial_length = 0;
        links->on_line(link, whole, shown);
    } else {
        links->on_line(link, line, shown);
    }
}

/* Stops when the connection changes: the owner may close it in on_line. */
static void links_deliver_bytes(struct links *links, struct link *link, const char *bytes,
                                size_t length)
{
    uint32_t generation = link->generation;

    while (length > 0 && link->generation == generation) {
        const char *end = memchr(bytes, '\n', length);
        size_t line = end ? (size_t)(end - bytes) : length;

        if (!end) {
            links_keep_partial(link, bytes, length);
            return;
        }
        links_deliver_line(links, link, bytes, line);
        bytes += line + 1;
        length -= line + 1;
    }
}

/* Like links_deliver_bytes, for ciphertext. */
static void links_deliver_ciphertext(struct links *links, struct link *link, const uint8_t *bytes,
                                     size_t length)
{
    uint32_t generation = link->generation;
    enum tls_result result;

    tls_give(link->tls->session, bytes, length);
    do {
        uint8_t plain[PLAIN_BYTES];
        size_t count = 0;
        bool shaking = !tls_ready(link->tls->session);

        result = link_tls_read(link->tls, plain, sizeof(plain), &count);
        if (shaking) {
            links_send_ciphertext(links, link);
            /* Submit now: the next request may overwrite this ciphertext within this turn. */
            ring_turn(links->ring, 0);
        }
        if (result == TLS_BYTES)
            links_deliver_bytes(links, link, (const char *)plain, count);
    } while (result == TLS_BYTES && link->generation == generation);
    if (link->generation == generation && result != TLS_WAITS)
        links_report_closed(links, link, 0);
}

static void links_handle_received(struct links *links, struct link *link,
                                  const struct completion *completion)
{
    uint32_t generation = link->generation;

    link->received = link->received || completion->result > 0;
    if (links->tls_context && completion->bytes && completion->result > 0 && link->tls->session)
        links_deliver_ciphertext(links, link, completion->bytes, (size_t)completion->result);
    else if (completion->bytes && completion->result > 0)
        links_deliver_bytes(links, link, (const char *)completion->bytes,
                            (size_t)completion->result);
    if (link->generation != generation)
        return;
    if (completion->result == 0 || (completion->result < 0 && completion->result != -ENOBUFS))
        links_report_closed(links, link, completion->result);
    else if (!completion->more)
        ring_receive(links->ring, link->descriptor, links_tag(links, link, TAG_RECEIVE));
}

static void links_handle_completion(struct links *links, const struct completion *completion)
{
    uint32_t place = (uint32_t)completion->tag >> TAG_REQUEST_BITS;
    struct link *link = &links->links[place];

    if (completion->tag != 0 && link->generation == completion->tag >> 32) {
        if ((completion->tag & TAG_SEND) != 0)
            links_handle_sent(links, link, completion->result);
        else
            links_handle_received(links, link, completion);
    }
    if (completion->bytes)
        ring_return_buffer(links->ring, completion->buffer);
}

void links_turn(struct links *links, uint64_t until_ns)
{
    struct completion completion;

    links->queued = 0;
    ring_turn(links->ring, until_ns);
    links->now_ns = clock_monotonic_ns();
    while (ring_next(links->ring, &completion)) {
        links->now_ns = clock_monotonic_ns();
        if (completion.bytes)
            links->received_ns = links->now_ns;
        links_handle_completion(links, &completion);
    }
}
