#include "server/tls_stream.h"

#include <assert.h>
#include <string.h>

/* Implements tls_sender. A record may be longer than a chunk. */
static bool tls_stream_append(void *receiver, const uint8_t *bytes, size_t length)
{
    struct tls_stream *stream = receiver;

    while (length > 0) {
        uint32_t room = output_room(&stream->ciphertext);
        size_t part = room > 0 ? room : OUTPUT_RESERVE_MAX;
        uint8_t *to;

        if (part > length)
            part = length;
        to = output_reserve(&stream->ciphertext, stream->output_pool, part);
        if (!to)
            return false;
        memcpy(to, bytes, part);
        output_commit(&stream->ciphertext, to + part);
        bytes += part;
        length -= part;
    }
    return true;
}

bool tls_stream_open(struct tls_stream *stream, struct transport *transport,
                     struct tls_place *place, struct pool *output_pool)
{
    memset(stream, 0, sizeof(*stream));
    stream->transport = transport;
    stream->output_pool = output_pool;
    stream->tls = tls_serve(place, tls_stream_append, stream);
    return stream->tls != NULL;
}

void tls_stream_end_tls(struct tls_stream *stream)
{
    tls_free(stream->tls);
    stream->tls = NULL;
}

void tls_stream_close(struct tls_stream *stream)
{
    assert(!stream->tls);
    assert(!list_linked(&stream->handshaking_link) && !list_linked(&stream->pending_link));
    assert(!stream->handshake_input.bytes);
    output_clear(&stream->ciphertext, stream->output_pool);
}

void tls_stream_give(struct tls_stream *stream, const uint8_t *bytes, size_t length)
{
    if (!stream->saw_tls_record && length > 0 && bytes[0] == TLS_FIRST_BYTE)
        stream->saw_tls_record = true;
    tls_give(stream->tls, bytes, length);
}

enum tls_result tls_stream_read(struct tls_stream *stream, uint8_t *to, size_t size, size_t *length)
{
    if (!stream->saw_tls_record)
        return TLS_BROKEN;
    return tls_read(stream->tls, to, size, length);
}

bool tls_stream_encrypt(struct tls_stream *stream, struct output *plain)
{
    uint32_t length;
    const uint8_t *bytes;

    if (!tls_ready(stream->tls))
        return true;
    while (stream->ciphertext.length < TLS_STREAM_CIPHERTEXT_MAX &&
           (bytes = output_peek(plain, &length))) {
        if (!tls_write(stream->tls, bytes, length))
            return false;
        output_consume(plain, stream->output_pool, length);
    }
    return !stream->ciphertext.failed;
}

bool tls_stream_end(struct tls_stream *stream)
{
    size_t before = stream->ciphertext.length;

    tls_end(stream->tls);
    return stream->ciphertext.length > before;
}

const char *tls_stream_problem(const struct tls_stream *stream)
{
    return stream->saw_tls_record ? tls_problem(stream->tls) : "no TLS";
}
