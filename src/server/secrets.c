#include "server/secrets.h"

#include <sodium.h>
#include <string.h>

#include "base/auth_token.h"

void secrets_init(struct secrets *secrets, char *const tokens[SECRETS_ROLES])
{
    *secrets = (struct secrets){.set = {false}};
    pthread_mutex_init(&secrets->mutex, NULL);
    for (int role = 0; role < SECRETS_ROLES; role++) {
        secrets->of[role].current = tokens[role];
        secrets->set[role] = tokens[role];
    }
}

void secrets_free(struct secrets *secrets)
{
    for (int role = 0; role < SECRETS_ROLES; role++) {
        auth_token_free(secrets->of[role].current);
        auth_token_free(secrets->of[role].previous);
    }
    pthread_mutex_destroy(&secrets->mutex);
    *secrets = (struct secrets){.set = {false}};
}

static bool secrets_equal(const char *token, const uint8_t *bytes, size_t length)
{
    return token && strlen(token) == length && sodium_memcmp(token, bytes, length) == 0;
}

/* All comparisons follow a match too, so that the time does not reveal which secret matched. */
static bool secrets_accept(const struct secret *secret, uint64_t now_ns, const uint8_t *bytes,
                           size_t length)
{
    bool matches = secrets_equal(secret->current, bytes, length);

    if (secret->previous && now_ns < secret->previous_until_ns)
        matches |= secrets_equal(secret->previous, bytes, length);
    return matches;
}

static void secrets_drop_previous(struct secret *secret)
{
    auth_token_free(secret->previous);
    secret->previous = NULL;
}

unsigned secrets_match(struct secrets *secrets, uint64_t now_ns, const uint8_t *bytes,
                       size_t length)
{
    unsigned roles = 0;

    pthread_mutex_lock(&secrets->mutex);
    for (int role = 0; role < SECRETS_ROLES; role++)
        roles |= (unsigned)secrets_accept(&secrets->of[role], now_ns, bytes, length) << role;
    pthread_mutex_unlock(&secrets->mutex);
    return roles;
}

enum secrets_change secrets_change(struct secrets *secrets, enum secrets_role role, char *token,
                                   uint64_t now_ns, uint64_t previous_until_ns)
{
    struct secret *secret = &secrets->of[role];
    const struct secret *other = &secrets->of[SECRETS_ROLES - 1 - role];
    const uint8_t *bytes = (const uint8_t *)token;
    size_t length = strlen(token);
    enum secrets_change change = SECRETS_CHANGED;

    pthread_mutex_lock(&secrets->mutex);
    if (secrets_equal(secret->current, bytes, length)) {
        change = SECRETS_UNCHANGED;
    } else if (secrets_accept(other, now_ns, bytes, length)) {
        change = SECRETS_OF_OTHER;
    } else {
        secrets_drop_previous(secret);
        secret->previous = secret->current;
        secret->previous_until_ns = previous_until_ns;
        secret->current = token;
    }
    pthread_mutex_unlock(&secrets->mutex);
    if (change != SECRETS_CHANGED)
        auth_token_free(token);
    return change;
}

uint64_t secrets_expire(struct secrets *secrets, uint64_t now_ns)
{
    uint64_t next_ns = UINT64_MAX;

    pthread_mutex_lock(&secrets->mutex);
    for (int role = 0; role < SECRETS_ROLES; role++) {
        struct secret *secret = &secrets->of[role];

        if (secret->previous && now_ns >= secret->previous_until_ns)
            secrets_drop_previous(secret);
        else if (secret->previous && secret->previous_until_ns < next_ns)
            next_ns = secret->previous_until_ns;
    }
    pthread_mutex_unlock(&secrets->mutex);
    return next_ns;
}
