#include "server/secret.h"

#include <sodium.h>
#include <string.h>

#include "base/auth_token.h"

void secret_init(struct secret *secret, char *token)
{
    *secret = (struct secret){.current = token};
    pthread_mutex_init(&secret->mutex, NULL);
}

void secret_free(struct secret *secret)
{
    auth_token_free(secret->current);
    auth_token_free(secret->previous);
    pthread_mutex_destroy(&secret->mutex);
    *secret = (struct secret){.current = NULL};
}

static bool secret_equals(const char *token, const uint8_t *bytes, size_t length)
{
    return strlen(token) == length && sodium_memcmp(token, bytes, length) == 0;
}

/* The mutex is held. */
static void secret_drop_previous(struct secret *secret)
{
    auth_token_free(secret->previous);
    secret->previous = NULL;
}

bool secret_matches(struct secret *secret, uint64_t now_ns, const uint8_t *bytes, size_t length)
{
    bool matches;

    pthread_mutex_lock(&secret->mutex);
    matches = secret_equals(secret->current, bytes, length);
    /* Compared even after a match, so that the time does not reveal which of the two matched. */
    if (secret->previous && now_ns < secret->previous_until_ns)
        matches |= secret_equals(secret->previous, bytes, length);
    pthread_mutex_unlock(&secret->mutex);
    return matches;
}

enum secret_change secret_change(struct secret *secret, char *token, uint64_t previous_until_ns)
{
    enum secret_change change = SECRET_UNCHANGED;

    pthread_mutex_lock(&secret->mutex);
    if (secret_equals(secret->current, (const uint8_t *)token, strlen(token))) {
        auth_token_free(token);
    } else {
        secret_drop_previous(secret);
        secret->previous = secret->current;
        secret->previous_until_ns = previous_until_ns;
        secret->current = token;
        change = SECRET_CHANGED;
    }
    pthread_mutex_unlock(&secret->mutex);
    return change;
}

void secret_expire(struct secret *secret, uint64_t now_ns)
{
    pthread_mutex_lock(&secret->mutex);
    if (secret->previous && now_ns >= secret->previous_until_ns)
        secret_drop_previous(secret);
    pthread_mutex_unlock(&secret->mutex);
}
