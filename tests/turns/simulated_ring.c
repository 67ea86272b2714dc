#include "simulated_ring.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "os/sockets.h"
#include "server/transport.h"

enum {
    RELEASED = 0xDD, /* fills returned buffers */
    LINE_BEGIN = 8
};

enum operation {
    OPERATION_RECEIVE,
    OPERATION_SEND_NOW,
    OPERATION_SEND,
    OPERATION_WATCH,
    OPERATION_CANCEL_TAG,
    OPERATION_CLOSE,
    OPERATION_POKE
};

struct operation_request {
    enum operation operation;
    int descriptor; /* POKE: the number of a ring */
    uint64_t tag;
    const uint8_t *bytes;
    uint32_t length;
};

struct ring {
    uint32_t number;
    struct operation_request *requests;
    size_t request_count;
    size_t request_room;
    struct completion *completions;
    size_t first; /* of `completions` that ring_next has not returned */
    size_t end;
    size_t shown; /* end of those of this turn */
    size_t completion_room;
    int *ready; /* sockets that may have something to receive, in order */
    size_t ready_count;
    size_t ready_room;
    bool settled;
    uint16_t free[SIMULATED_BUFFERS];
    uint32_t free_count;
    uint8_t buffers[SIMULATED_BUFFERS][SIMULATED_BUFFER_BYTES];
};

struct socket {
    struct ring *ring;
    uint8_t *input; /* written by the peer */
    size_t input_start;
    size_t input_end;
    size_t input_room;
    size_t room; /* for output, before the peer reads */
    uint64_t receive_tag;
    uint64_t watch_tag;
    struct operation_request send; /* tag 0: none waits */
    struct simulated_replies replies;
    char line[LINE_BEGIN]; /* the begin of the incomplete line */
    uint32_t line_length;
    bool ready;
    bool peer_ended;
    bool reset;
    bool output_ended;
    bool closed; /* by the server */
};

/* os/sockets.h passes only descriptors, so there is one network. */
static struct network {
    struct seeded *random;
    struct ring *rings;
    uint32_t ring_count;
    struct socket *sockets;
    int socket_count;
    int socket_room;
    bool disturb;
    uint64_t system_calls;
    uint64_t receives;
} network;

static void *grow_array(void *array, size_t count, size_t *room, size_t size)
{
    if (count < *room)
        return array;
    *room = *room ? *room * 2 : 64;
    array = realloc(array, *room * size);
    assert(array);
    return array;
}

void simulated_start(struct seeded *random, uint32_t count)
{
    network = (struct network){.random = random, .ring_count = count};
    network.rings = calloc(count, sizeof(*network.rings));
    assert(network.rings);
    for (uint32_t i = 0; i < count; i++) {
        struct ring *ring = &network.rings[i];

        ring->number = i;
        ring->settled = true;
        while (ring->free_count < SIMULATED_BUFFERS) {
            ring->free[ring->free_count] = (uint16_t)ring->free_count;
            ring->free_count++;
        }
    }
}

void simulated_stop(void)
{
    for (int i = 0; i < network.socket_count; i++) {
        assert(network.sockets[i].closed);
        free(network.sockets[i].input);
    }
    for (uint32_t i = 0; i < network.ring_count; i++) {
        struct ring *ring = &network.rings[i];

        assert(ring->free_count == SIMULATED_BUFFERS);
        free(ring->requests);
        free(ring->completions);
        free(ring->ready);
    }
    free(network.sockets);
    free(network.rings);
}

struct ring *simulated_ring(uint32_t number)
{
    return &network.rings[number];
}

void simulated_disturb(bool disturb)
{
    network.disturb = disturb;
}

uint64_t simulated_system_calls(void)
{
    return network.system_calls;
}

uint64_t simulated_receives(void)
{
    return network.receives;
}

static struct socket *socket_at(int descriptor)
{
    struct socket *socket = &network.sockets[descriptor];

    assert(descriptor >= 0 && descriptor < network.socket_count && !socket->closed);
    return socket;
}

/* Returns true once in `times`, while rings are disturbed. */
static bool ring_disturbs(uint32_t times)
{
    return network.disturb && seeded_below(network.random, times) == 0;
}

/* ---- completions ---- */

static struct completion *post_completion(struct ring *ring, uint64_t tag, int32_t result)
{
    struct completion *completion;

    if (ring->first == ring->end)
        ring->first = ring->end = ring->shown = 0;
    ring->completions = grow_array(ring->completions, ring->end, &ring->completion_room,
                                   sizeof(*ring->completions));
    completion = &ring->completions[ring->end++];
    *completion = (struct completion){.tag = tag, .result = result};
    return completion;
}

static void make_ready(int descriptor)
{
    struct socket *socket = socket_at(descriptor);
    struct ring *ring = socket->ring;

    if (socket->ready)
        return;
    ring->ready =
        grow_array(ring->ready, ring->ready_count, &ring->ready_room, sizeof(*ring->ready));
    ring->ready[ring->ready_count++] = descriptor;
    socket->ready = true;
}

static void end_receive(struct socket *socket, int32_t result)
{
    post_completion(socket->ring, socket->receive_tag, result);
    socket->receive_tag = 0;
}

/* Moves received bytes into a buffer. Returns false if the receive has ended. */
static bool receive_once(struct socket *socket)
{
    struct ring *ring = socket->ring;
    size_t length = socket->input_end - socket->input_start;
    struct completion *completion;
    uint16_t buffer;

    if (ring->free_count == 0) {
        end_receive(socket, -ENOBUFS);
        return false;
    }
    if (length > SIMULATED_BUFFER_BYTES)
        length = SIMULATED_BUFFER_BYTES;
    if (ring_disturbs(8))
        length = 1 + seeded_below(network.random, (uint32_t)length);
    buffer = ring->free[--ring->free_count];
    memcpy(ring->buffers[buffer], socket->input + socket->input_start, length);
    socket->input_start += length;
    network.receives++;
    completion = post_completion(ring, socket->receive_tag, (int32_t)length);
    completion->bytes = ring->buffers[buffer];
    completion->buffer = buffer;
    completion->more = !ring_disturbs(16);
    if (!completion->more)
        socket->receive_tag = 0;
    return completion->more;
}

static void collect_from(int descriptor)
{
    struct socket *socket = socket_at(descriptor);

    socket->ready = false;
    if (!socket->receive_tag)
        return;
    if (socket->reset) {
        end_receive(socket, -ECONNRESET);
        return;
    }
    while (socket->input_start < socket->input_end) {
        if (!receive_once(socket))
            return;
    }
    if (socket->peer_ended)
        end_receive(socket, 0);
}

static void complete_watch(struct socket *socket)
{
    uint32_t events = POLLRDHUP | (socket->reset ? POLLHUP | POLLERR : 0);

    if (!socket->watch_tag || !(socket->peer_ended || socket->reset))
        return;
    post_completion(socket->ring, socket->watch_tag, (int32_t)events);
    socket->watch_tag = 0;
}

/* ---- operations ---- */

/* The peer reads a part of a line, or its end. */
static void read_line(struct socket *socket, const uint8_t *bytes, size_t length, bool end)
{
    size_t most = LINE_BEGIN - socket->line_length;

    if (length < most)
        most = length;
    memcpy(socket->line + socket->line_length, bytes, most);
    socket->line_length += (uint32_t)most;
    if (!end)
        return;
    socket->replies.lines++;
    if (socket->line_length >= 2 && memcmp(socket->line, "ok", 2) == 0)
        socket->replies.ok++;
    if (socket->line_length == 7 && memcmp(socket->line, "timeout", 7) == 0)
        socket->replies.timeouts++;
    socket->line_length = 0;
}

static void read_replies(struct socket *socket, const uint8_t *bytes, size_t length)
{
    const uint8_t *end;

    while ((end = memchr(bytes, '\n', length))) {
        size_t line = (size_t)(end - bytes);

        read_line(socket, bytes, line, true);
        bytes += line + 1;
        length -= line + 1;
    }
    read_line(socket, bytes, length, false);
}

/* The socket takes a part of `bytes`. Returns its length, or an error. */
static int32_t take_output(struct socket *socket, const uint8_t *bytes, uint32_t length)
{
    size_t most = socket->room;

    assert(!socket->output_ended);
    if (socket->reset)
        return -ECONNRESET;
    if (ring_disturbs(16))
        most = seeded_below(network.random, length);
    if (most < length)
        length = (uint32_t)most;
    if (socket->room != SIMULATED_ROOM_UNLIMITED)
        socket->room -= length;
    read_replies(socket, bytes, length);
    return length ? (int32_t)length : -EAGAIN;
}

static void send_waiting(struct socket *socket)
{
    int32_t result;

    if (!socket->send.tag || (socket->room == 0 && !socket->reset))
        return;
    do {
        result = take_output(socket, socket->send.bytes, socket->send.length);
    } while (result == -EAGAIN); /* the socket has room */
    post_completion(socket->ring, socket->send.tag, result);
    socket->send.tag = 0;
}

static void cancel_request(struct socket *socket, uint64_t tag)
{
    if (socket->receive_tag && socket->receive_tag == tag)
        end_receive(socket, -ECANCELED);
    if (socket->watch_tag && socket->watch_tag == tag) {
        post_completion(socket->ring, socket->watch_tag, -ECANCELED);
        socket->watch_tag = 0;
    }
    if (socket->send.tag && socket->send.tag == tag) {
        post_completion(socket->ring, socket->send.tag, -ECANCELED);
        socket->send.tag = 0;
    }
}

static void close_socket(struct socket *socket)
{
    assert(!socket->receive_tag && !socket->watch_tag && !socket->send.tag);
    socket->closed = true;
    if (socket->ready) {
        struct ring *ring = socket->ring;
        int descriptor = (int)(socket - network.sockets);
        size_t at = 0;

        while (ring->ready[at] != descriptor)
            at++;
        memmove(&ring->ready[at], &ring->ready[at + 1],
                (--ring->ready_count - at) * sizeof(*ring->ready));
    }
}

static void execute_request(struct ring *ring, const struct operation_request *request)
{
    struct socket *socket;
    int32_t result;

    if (request->operation == OPERATION_POKE) {
        post_completion(simulated_ring((uint32_t)request->descriptor), request->tag, 0);
        return;
    }
    socket = socket_at(request->descriptor);
    assert(socket->ring == ring);
    switch (request->operation) {
    case OPERATION_RECEIVE:
        assert(!socket->receive_tag);
        socket->receive_tag = request->tag;
        make_ready(request->descriptor);
        break;
    case OPERATION_SEND_NOW:
        network.system_calls++;
        result = take_output(socket, request->bytes, request->length);
        if (result != (int32_t)request->length)
            post_completion(ring, request->tag, result);
        break;
    case OPERATION_SEND:
        assert(!socket->send.tag);
        socket->send = *request;
        send_waiting(socket);
        break;
    case OPERATION_WATCH:
        assert(!socket->watch_tag);
        socket->watch_tag = request->tag;
        complete_watch(socket);
        break;
    case OPERATION_CANCEL_TAG:
        cancel_request(socket, request->tag);
        break;
    default:
        assert(request->operation == OPERATION_CLOSE);
        network.system_calls++;
        close_socket(socket);
    }
}

static void queue_request(struct ring *ring, struct operation_request request)
{
    ring->requests = grow_array(ring->requests, ring->request_count, &ring->request_room,
                                sizeof(*ring->requests));
    ring->requests[ring->request_count++] = request;
}

/* ---- os/ring.h ---- */

void ring_receive(struct ring *ring, int descriptor, uint64_t tag)
{
    queue_request(ring, (struct operation_request){
                            .operation = OPERATION_RECEIVE, .descriptor = descriptor, .tag = tag});
}

void ring_send_now(struct ring *ring, int descriptor, const uint8_t *bytes, uint32_t length,
                   uint64_t tag)
{
    queue_request(ring,
                  (struct operation_request){OPERATION_SEND_NOW, descriptor, tag, bytes, length});
}

void ring_send(struct ring *ring, int descriptor, const uint8_t *bytes, uint32_t length,
               uint64_t tag)
{
    queue_request(ring, (struct operation_request){OPERATION_SEND, descriptor, tag, bytes, length});
}

void ring_watch(struct ring *ring, int descriptor, uint32_t events, uint64_t tag)
{
    assert(events == POLLRDHUP);
    queue_request(ring, (struct operation_request){
                            .operation = OPERATION_WATCH, .descriptor = descriptor, .tag = tag});
}

/* Only connections_lose needs this, after the kernel dropped completions. */
void ring_cancel_counted(struct ring *ring, int descriptor, uint64_t tag)
{
    (void)ring, (void)descriptor, (void)tag;
    abort();
}

/* The tag contains the address of a transport. */
void ring_cancel_tag(struct ring *ring, uint64_t tag)
{
    const struct transport *transport =
        (const void *)(uintptr_t)(tag & ~(uint64_t)TRANSPORT_REQUEST_MASK);

    queue_request(ring, (struct operation_request){.operation = OPERATION_CANCEL_TAG,
                                                   .descriptor = transport->descriptor,
                                                   .tag = tag});
}

void ring_close_descriptor(struct ring *ring, int descriptor)
{
    queue_request(
        ring, (struct operation_request){.operation = OPERATION_CLOSE, .descriptor = descriptor});
}

void ring_poke(struct ring *ring, int target, uint64_t tag, uint64_t failure_tag)
{
    (void)failure_tag;
    queue_request(ring, (struct operation_request){
                            .operation = OPERATION_POKE, .descriptor = target, .tag = tag});
}

void ring_submit(struct ring *ring)
{
    for (size_t i = 0; i < ring->request_count; i++)
        execute_request(ring, &ring->requests[i]);
    ring->request_count = 0;
}

bool ring_turn(struct ring *ring, uint64_t until_ns)
{
    size_t ready_count;

    (void)until_ns;
    ring_submit(ring);
    ready_count = ring->ready_count;
    for (size_t i = 0; i < ready_count; i++)
        collect_from(ring->ready[i]);
    ring->ready_count = 0;
    ring->shown = ring->end;
    if (ring_disturbs(4))
        ring->shown =
            ring->first + seeded_below(network.random, (uint32_t)(ring->end - ring->first) + 1);
    return true;
}

bool ring_settled(const struct ring *ring)
{
    return ring->shown == ring->end;
}

bool ring_next(struct ring *ring, struct completion *completion)
{
    if (ring->first == ring->shown)
        return false;
    *completion = ring->completions[ring->first++];
    return true;
}

uint64_t ring_ahead(const struct ring *ring, uint32_t count)
{
    size_t at = ring->first + count;

    return at < ring->shown ? ring->completions[at].tag : 0;
}

void ring_return_buffer(struct ring *ring, uint16_t buffer)
{
    assert(ring->free_count < SIMULATED_BUFFERS);
    memset(ring->buffers[buffer], RELEASED, SIMULATED_BUFFER_BYTES);
    ring->free[ring->free_count++] = buffer;
}

bool simulated_has_completions(struct ring *ring)
{
    if (ring->first < ring->end)
        return true;
    for (size_t i = 0; i < ring->ready_count; i++) {
        const struct socket *socket = socket_at(ring->ready[i]);

        if (socket->receive_tag &&
            (socket->input_start < socket->input_end || socket->peer_ended || socket->reset))
            return true;
    }
    return false;
}

/* ---- os/sockets.h ---- */

uint32_t sockets_unread(int descriptor)
{
    const struct socket *socket = socket_at(descriptor);

    network.system_calls++;
    return (uint32_t)(socket->input_end - socket->input_start);
}

bool sockets_ready(int descriptor, short events)
{
    const struct socket *socket = socket_at(descriptor);

    assert(events == POLLOUT);
    network.system_calls++;
    return socket->room > 0 || socket->reset;
}

void sockets_end_output(int descriptor)
{
    network.system_calls++;
    socket_at(descriptor)->output_ended = true;
}

void sockets_end(int descriptor)
{
    (void)descriptor;
    abort(); /* only connections_lose needs this */
}

bool sockets_peer(int descriptor, uint8_t address[SOCKETS_PEER_BYTES])
{
    (void)descriptor;
    memset(address, 0, SOCKETS_PEER_BYTES);
    return true;
}

void sockets_describe_peer(int descriptor, char text[SOCKETS_PEER_TEXT_MAX])
{
    (void)descriptor;
    strcpy(text, "simulated");
}

/* ---- peers ---- */

int simulated_connect(struct ring *ring)
{
    size_t room = (size_t)network.socket_room;

    network.sockets =
        grow_array(network.sockets, (size_t)network.socket_count, &room, sizeof(*network.sockets));
    network.socket_room = (int)room;
    network.sockets[network.socket_count] =
        (struct socket){.ring = ring, .room = SIMULATED_ROOM_UNLIMITED};
    return network.socket_count++;
}

void simulated_write(int descriptor, const void *bytes, size_t length)
{
    struct socket *socket = socket_at(descriptor);
    size_t kept = socket->input_end - socket->input_start;

    if (length == 0)
        return;
    if (kept + length > socket->input_room || socket->input_end + length > socket->input_room) {
        size_t room = 2 * (kept + length);
        uint8_t *input = malloc(room);

        assert(input);
        if (kept > 0)
            memcpy(input, socket->input + socket->input_start, kept);
        free(socket->input);
        socket->input = input;
        socket->input_room = room;
        socket->input_start = 0;
        socket->input_end = kept;
    }
    memcpy(socket->input + socket->input_end, bytes, length);
    socket->input_end += length;
    make_ready(descriptor);
}

void simulated_end(int descriptor)
{
    struct socket *socket = socket_at(descriptor);

    socket->peer_ended = true;
    complete_watch(socket);
    make_ready(descriptor);
}

void simulated_reset(int descriptor)
{
    struct socket *socket = socket_at(descriptor);

    socket->reset = true;
    complete_watch(socket);
    send_waiting(socket);
    make_ready(descriptor);
}

void simulated_set_room(int descriptor, size_t room)
{
    struct socket *socket = socket_at(descriptor);

    socket->room = room;
    send_waiting(socket);
}

const struct simulated_replies *simulated_replies(int descriptor)
{
    return &network.sockets[descriptor].replies;
}

bool simulated_ended(int descriptor)
{
    return network.sockets[descriptor].closed || network.sockets[descriptor].output_ended;
}
