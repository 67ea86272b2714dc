#include "bench/link_tls.h"

static bool link_tls_append(void *receiver, const uint8_t *bytes, size_t length)
{
    struct link_tls *link_tls = receiver;

    return buffer_add(&link_tls->ciphertext, bytes, length);
}

static void link_tls_clear(struct link_tls *link_tls)
{
    buffer_drop(&link_tls->ciphertext, buffer_length(&link_tls->ciphertext));
}

bool link_tls_open(struct link_tls *link_tls, struct tls_context *context,
                   const struct server *server)
{
    size_t length;
    uint8_t nothing[1];

    tls_free(link_tls->session);
    link_tls_clear(link_tls);
    link_tls->waiting = NULL;
    link_tls->session = tls_call(context, server->tls_name, link_tls_append, link_tls);
    return link_tls->session &&
           tls_read(link_tls->session, nothing, sizeof(nothing), &length) == TLS_WAITS;
}

void link_tls_free(struct link_tls *link_tls)
{
    tls_free(link_tls->session);
    buffer_free(&link_tls->ciphertext);
    *link_tls = (struct link_tls){0};
}

bool link_tls_write(struct link_tls *link_tls, const uint8_t *bytes, uint32_t length)
{
    if (!tls_ready(link_tls->session)) {
        link_tls->waiting = bytes;
        link_tls->waiting_length = length;
        return true;
    }
    link_tls_clear(link_tls);
    return tls_write(link_tls->session, bytes, length);
}

/* A reply proves that the server has received the ciphertext of the handshake before it. */
enum tls_result link_tls_read(struct link_tls *link_tls, uint8_t *to, size_t size, size_t *length)
{
    bool shaking = !tls_ready(link_tls->session);
    enum tls_result result;

    if (shaking)
        link_tls_clear(link_tls);
    result = tls_read(link_tls->session, to, size, length);
    if (shaking && tls_ready(link_tls->session) && link_tls->waiting) {
        const uint8_t *waiting = link_tls->waiting;

        link_tls->waiting = NULL;
        if (!tls_write(link_tls->session, waiting, link_tls->waiting_length))
            return TLS_BROKEN;
    }
    return result;
}
