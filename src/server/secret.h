/*
 * The secret that clients must send first, and its reload: while a new secret spreads among the
 * clients, the previous one is valid as well for some time.
 *
 * All functions but secret_init and secret_free may be called from any thread.
 */
#ifndef SERVER_SECRET_H
#define SERVER_SECRET_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct secret {
    pthread_mutex_t mutex;
    char *current;
    char *previous; /* NULL: none is valid beside the current one */
    uint64_t previous_until_ns;
};

enum secret_change {
    SECRET_CHANGED,
    SECRET_UNCHANGED /* it is the current secret already */
};

/* Takes over `token`, which base/auth_token.h made. */
void secret_init(struct secret *secret, char *token);

/* Wipes all of it from memory. */
void secret_free(struct secret *secret);

/*
 * Returns whether `bytes` are the current secret, or the previous one while that is valid. The time
 * that it takes tells nothing of the secrets but their length.
 */
bool secret_matches(struct secret *secret, uint64_t now_ns, const uint8_t *bytes, size_t length);

/*
 * Makes `token`, which it takes over, the current secret. The one before is valid until
 * `previous_until_ns`, and one before that ends at once.
 */
enum secret_change secret_change(struct secret *secret, char *token, uint64_t previous_until_ns);

/* Wipes the previous secret from memory if it is no longer valid. */
void secret_expire(struct secret *secret, uint64_t now_ns);

#endif
