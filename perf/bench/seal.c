#include "bench/seal.h"

#include <stdlib.h>
#include <string.h>

enum {
    CAPACITY_MIN = 512
};

static bool take(void *receiver, const uint8_t *bytes, size_t length)
{
    struct seal *seal = receiver;

    if (length > seal->capacity - seal->length) {
        uint32_t capacity = seal->capacity ? seal->capacity : CAPACITY_MIN;
        uint8_t *larger;

        while (capacity - seal->length < length)
            capacity *= 2;
        larger = realloc(seal->bytes, capacity);
        if (!larger)
            return false;
        seal->bytes = larger;
        seal->capacity = capacity;
    }
    memcpy(seal->bytes + seal->length, bytes, length);
    seal->length += (uint32_t)length;
    return true;
}

bool seal_open(struct seal *seal, struct tls_context *context, const struct address *address)
{
    size_t length;
    uint8_t nothing[1];

    tls_free(seal->tls);
    seal->length = 0;
    seal->waiting = NULL;
    seal->tls = tls_call(context, address->host, take, seal);
    return seal->tls && tls_read(seal->tls, nothing, sizeof(nothing), &length) == TLS_WAITS;
}

void seal_free(struct seal *seal)
{
    tls_free(seal->tls);
    free(seal->bytes);
    *seal = (struct seal){0};
}

bool seal_write(struct seal *seal, const uint8_t *bytes, uint32_t length)
{
    if (!tls_ready(seal->tls)) {
        seal->waiting = bytes;
        seal->waiting_length = length;
        return true;
    }
    seal->length = 0;
    return tls_write(seal->tls, bytes, length);
}

/* What was to be sent during the handshake is with the peer when it answers. */
enum tls_result seal_read(struct seal *seal, uint8_t *to, size_t size, size_t *length)
{
    bool shaking = !tls_ready(seal->tls);
    enum tls_result result;

    if (shaking)
        seal->length = 0;
    result = tls_read(seal->tls, to, size, length);
    if (shaking && tls_ready(seal->tls) && seal->waiting) {
        const uint8_t *waiting = seal->waiting;

        seal->waiting = NULL;
        if (!tls_write(seal->tls, waiting, seal->waiting_length))
            return TLS_BROKEN;
    }
    return result;
}
