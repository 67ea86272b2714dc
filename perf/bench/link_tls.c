#include "bench/link_tls.h"

#include <stdlib.h>
#include <string.h>

enum {
    CAPACITY_MIN = 512
};

static bool link_tls_append(void *receiver, const uint8_t *bytes, size_t length)
{
    struct link_tls *link_tls = receiver;

    if (length > link_tls->capacity - link_tls->length) {
        uint32_t capacity = link_tls->capacity ? link_tls->capacity : CAPACITY_MIN;
        uint8_t *larger;

        while (capacity - link_tls->length < length)
            capacity *= 2;
        larger = realloc(link_tls->bytes, capacity);
        if (!larger)
            return false;
        link_tls->bytes = larger;
        link_tls->capacity = capacity;
    }
    memcpy(link_tls->bytes + link_tls->length, bytes, length);
    link_tls->length += (uint32_t)length;
    return true;
}

bool link_tls_open(struct link_tls *link_tls, struct tls_context *context,
                   const struct server *server)
{
    size_t length;
    uint8_t nothing[1];

    tls_free(link_tls->session);
    link_tls->length = 0;
    link_tls->waiting = NULL;
    link_tls->session =
        tls_call(context, address_tls_name(&server->address), link_tls_append, link_tls);
    return link_tls->session &&
           tls_read(link_tls->session, nothing, sizeof(nothing), &length) == TLS_WAITS;
}

void link_tls_free(struct link_tls *link_tls)
{
    tls_free(link_tls->session);
    free(link_tls->bytes);
    *link_tls = (struct link_tls){0};
}

bool link_tls_write(struct link_tls *link_tls, const uint8_t *bytes, uint32_t length)
{
    if (!tls_ready(link_tls->session)) {
        link_tls->waiting = bytes;
        link_tls->waiting_length = length;
        return true;
    }
    link_tls->length = 0;
    return tls_write(link_tls->session, bytes, length);
}

/* A reply proves that the server has received the ciphertext of the handshake before it. */
enum tls_result link_tls_read(struct link_tls *link_tls, uint8_t *to, size_t size, size_t *length)
{
    bool shaking = !tls_ready(link_tls->session);
    enum tls_result result;

    if (shaking)
        link_tls->length = 0;
    result = tls_read(link_tls->session, to, size, length);
    if (shaking && tls_ready(link_tls->session) && link_tls->waiting) {
        const uint8_t *waiting = link_tls->waiting;

        link_tls->waiting = NULL;
        if (!tls_write(link_tls->session, waiting, link_tls->waiting_length))
            return TLS_BROKEN;
    }
    return result;
}
