#include "server/channel.h"

#include <assert.h>
#include <string.h>

/* Ciphertext on its way out: a record may be longer than a chunk. */
static bool take(void *receiver, const uint8_t *bytes, size_t length)
{
    struct channel *channel = receiver;

    while (length > 0) {
        uint32_t room = output_room(&channel->wire);
        size_t part = room > 0 ? room : OUTPUT_RESERVE_MAX;
        uint8_t *to;

        if (part > length)
            part = length;
        to = output_reserve(&channel->wire, channel->output_pool, part);
        if (!to)
            return false;
        memcpy(to, bytes, part);
        output_commit(&channel->wire, to + part);
        bytes += part;
        length -= part;
    }
    return true;
}

bool channel_open(struct channel *channel, struct tls_place *place, struct pool *output_pool)
{
    memset(channel, 0, sizeof(*channel));
    channel->output_pool = output_pool;
    channel->tls = tls_serve(place, take, channel);
    return channel->tls != NULL;
}

void channel_close(struct channel *channel)
{
    assert(!list_linked(&channel->handshaking_link) && !list_linked(&channel->heard_link));
    tls_free(channel->tls);
    output_clear(&channel->wire, channel->output_pool);
}

void channel_give(struct channel *channel, const uint8_t *bytes, size_t length)
{
    if (!channel->met && length > 0 && bytes[0] == TLS_FIRST_BYTE)
        channel->met = true;
    tls_give(channel->tls, bytes, length);
}

enum tls_result channel_read(struct channel *channel, uint8_t *to, size_t size, size_t *length)
{
    if (!channel->met)
        return TLS_BROKEN;
    return tls_read(channel->tls, to, size, length);
}

bool channel_seal(struct channel *channel, struct output *plain)
{
    uint32_t length;
    const uint8_t *bytes;

    if (!tls_ready(channel->tls))
        return true;
    while (channel->wire.length < CHANNEL_WIRE_MAX && (bytes = output_peek(plain, &length))) {
        if (!tls_write(channel->tls, bytes, length))
            return false;
        output_consume(plain, channel->output_pool, length);
    }
    return !channel->wire.failed;
}

bool channel_end(struct channel *channel)
{
    size_t before = channel->wire.length;

    tls_end(channel->tls);
    return channel->wire.length > before;
}

const char *channel_problem(const struct channel *channel)
{
    return channel->met ? tls_problem(channel->tls) : "no TLS";
}
