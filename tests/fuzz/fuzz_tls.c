/*
 * The server's TLS receives the bytes of a real client after the fuzzer changed them. The first
 * byte of the input selects the client's progress. Each further step passes on a piece of its
 * bytes: unchanged, changed, or with bytes of the input.
 *
 * Checks: no crash and no leak; the server consumes all bytes, reads nothing before the handshake
 * is complete, and reads the client's bytes in order. TLS uses random numbers, so one input can
 * have different results. GnuTLS is not instrumented, so coverage is of little use.
 */
#include "fuzz.h"

#include "os/tls.h"
#include "tls_files.h"

enum {
    PIPE_MAX = 1 << 18,
    PLAIN_MAX = 1 << 16,
    STEPS_MAX = 64,
    DAY_S = 86400
};

struct pipe {
    uint8_t bytes[PIPE_MAX];
    size_t length;
};

static struct tls_place place;
static struct tls_context *clients;
static struct pipe to_server;
static struct pipe to_client;
static struct tls *server;
static struct tls *client;
static uint64_t written; /* byte number n is pattern_byte(n) */
static uint64_t bytes_read;
static bool server_over;
static bool client_over;

static uint8_t pattern_byte(uint64_t number)
{
    return (uint8_t)(number * 31 >> 2);
}

static bool receive_bytes(void *receiver, const uint8_t *bytes, size_t length)
{
    struct pipe *pipe = receiver;

    if (length > PIPE_MAX - pipe->length)
        return false;
    memcpy(pipe->bytes + pipe->length, bytes, length);
    pipe->length += length;
    return true;
}

static void remove_files(void);
static struct tls_made made;

static void load_contexts(void)
{
    static bool done;
    char problem[TLS_PROBLEM_MAX];
    struct tls_files files = {.certificate = made.certificate, .key = made.key};

    if (done)
        return;
    done = true;
    tls_made_make(&made, -DAY_S, DAY_S);
    atexit(remove_files);
    tls_place_init(&place, tls_context_load(&files, problem));
    clients = tls_context_for_clients(NULL, true, problem);
    must(place.context && clients, "there are contexts");
}

static void remove_files(void)
{
    tls_context_drop(clients);
    tls_place_free(&place);
    tls_made_remove(&made);
}

/* The server receives exactly `length` bytes. */
static void server_hears(const uint8_t *bytes, size_t length)
{
    uint8_t *copy = exact_copy(bytes, length);
    enum tls_result result;

    tls_give(server, copy, length);
    do {
        static uint8_t plain[PLAIN_MAX];
        size_t count = 0;

        result = tls_read(server, plain, sizeof(plain), &count);
        if (result != TLS_BYTES)
            break;
        must(tls_ready(server), "no data is read before the handshake is done");
        must(count > 0 && count <= sizeof(plain), "some bytes are read");
        for (size_t i = 0; i < count; i++)
            must(plain[i] == pattern_byte(bytes_read++), "the bytes read are the bytes written");
        must(bytes_read <= written, "the reader has at most the bytes written");
    } while (true);
    if (result == TLS_BROKEN)
        must(tls_problem(server) != NULL, "a broken connection has a reason");
    server_over |= result != TLS_WAITS;
    tls_give(server, NULL, 0);
    free(copy);
}

static void client_hears(void)
{
    static uint8_t bytes[PIPE_MAX];
    uint8_t plain[256];
    size_t length = to_client.length;
    size_t count;
    enum tls_result result;

    memcpy(bytes, to_client.bytes, length);
    to_client.length = 0;
    tls_give(client, bytes, length);
    do {
        result = tls_read(client, plain, sizeof(plain), &count);
    } while (result == TLS_BYTES);
    client_over |= result != TLS_WAITS;
}

static void client_says(size_t length)
{
    uint8_t bytes[PLAIN_MAX];

    if (!tls_ready(client) || client_over || length == 0 || PIPE_MAX / 4 < to_server.length)
        return;
    for (size_t i = 0; i < length; i++)
        bytes[i] = pattern_byte(written + i);
    if (tls_write(client, bytes, length))
        written += length;
}

/* Passes on the first `length` bytes of the client's output. */
static void pass_bytes(size_t length)
{
    static uint8_t bytes[PIPE_MAX];

    if (length > to_server.length)
        length = to_server.length;
    memcpy(bytes, to_server.bytes, length);
    to_server.length -= length;
    memmove(to_server.bytes, to_server.bytes + length, to_server.length);
    server_hears(bytes, length);
    client_hears();
}

static void run_step(struct input *input)
{
    uint8_t operation = input_byte(input);
    size_t size = input_byte(input);
    struct input own;

    switch (operation % 8) {
    case 0:
        pass_bytes(size);
        break;
    case 1:
        pass_bytes(PIPE_MAX);
        break;
    case 2:
        client_says(size);
        break;
    case 3:
        client_says(size * 200);
        break;
    case 4: /* a changed byte */
        if (to_server.length > 0)
            to_server.bytes[size % to_server.length] ^= (uint8_t)(input_byte(input) | 1);
        break;
    case 5: /* bytes of the input */
        own = input_take(input, size);
        server_hears(own.bytes, own.length);
        client_hears();
        break;
    case 6: /* some are lost */
        if (size > to_server.length)
            size = to_server.length;
        to_server.length -= size;
        memmove(to_server.bytes, to_server.bytes + size, to_server.length);
        break;
    default:
        if (tls_ready(server) && !server_over && size > 0)
            tls_write(server, (const uint8_t *)"answer", 6);
        else
            tls_end(client);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct input input = {.bytes = bytes, .length = length};
    uint8_t start = input_byte(&input);

    load_contexts();
    to_server.length = 0;
    to_client.length = 0;
    written = 0;
    bytes_read = 0;
    server_over = false;
    client_over = false;
    server = tls_serve(&place, receive_bytes, &to_client);
    client = tls_call(clients, NULL, receive_bytes, &to_server);
    must(server && client, "there is memory");
    client_hears();
    for (uint32_t i = 0; i < start % 4u; i++)
        pass_bytes(PIPE_MAX);
    if (start % 4 == 3)
        must(tls_ready(server) && tls_ready(client), "an honest handshake is done");
    for (uint32_t i = 0; i < STEPS_MAX && input.length > 0; i++)
        run_step(&input);
    tls_end(server);
    tls_free(server);
    tls_free(client);
    return 0;
}
