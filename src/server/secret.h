/*
 * The secret that clients must send first. After a reload the previous secret stays valid for some
 * time, while clients learn the new one.
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
    char *previous; /* NULL: there is none */
    uint64_t previous_until_ns;
};

enum secret_change {
    SECRET_CHANGED,
    SECRET_UNCHANGED /* the token is the current secret already */
};

/* Takes over `token`, a result of base/auth_token.h. */
void secret_init(struct secret *secret, char *token);

/* Wipes the secrets from memory. */
void secret_free(struct secret *secret);

/*
 * Returns whether `bytes` are the current secret, or the previous one while it is valid. Its
 * duration depends only on the lengths of the secrets.
 */
bool secret_matches(struct secret *secret, uint64_t now_ns, const uint8_t *bytes, size_t length);

/*
 * Takes over `token` as the current secret. The secret before it stays valid until
 * `previous_until_ns`; an older one becomes invalid.
 */
enum secret_change secret_change(struct secret *secret, char *token, uint64_t previous_until_ns);

/* Wipes the previous secret from memory if it is no longer valid. */
void secret_expire(struct secret *secret, uint64_t now_ns);

#endif
