/*
 * The secrets that clients send with `auth`, one for each role. After a reload the previous secret
 * of a role stays valid for some time, while clients learn the new one. Secrets of two roles that
 * are valid at the same time differ.
 *
 * All functions but secrets_init and secrets_free may be called from any thread.
 */
#ifndef SERVER_SECRETS_H
#define SERVER_SECRETS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum secrets_role {
    SECRETS_CLIENT,        /* must be sent first, if set */
    SECRETS_ADMINISTRATOR, /* gives the rights of an administrator as well */
    SECRETS_ROLES
};

struct secret {
    char *current;  /* NULL: the role has none */
    char *previous; /* NULL: there is none */
    uint64_t previous_until_ns;
};

struct secrets {
    pthread_mutex_t mutex; /* for `of` */
    struct secret of[SECRETS_ROLES];
    bool set[SECRETS_ROLES]; /* constant: a reload changes secrets, and adds or removes none */
};

enum secrets_change {
    SECRETS_CHANGED,
    SECRETS_UNCHANGED, /* the token is the current secret of the role already */
    SECRETS_OF_OTHER   /* refused: the token is a valid secret of the other role */
};

/* Takes over the tokens, results of base/auth_token.h. NULL: the role has no secret. */
void secrets_init(struct secrets *secrets, char *const tokens[SECRETS_ROLES]);

/* Wipes the secrets from memory. */
void secrets_free(struct secrets *secrets);

/* Returns whether `role` has a secret. `secrets` NULL: no role has. */
static inline bool secrets_has(const struct secrets *secrets, enum secrets_role role)
{
    return secrets && secrets->set[role];
}

/*
 * Returns a bit 1 << role if `bytes` are its current secret, or its previous one while that is
 * valid. Else returns 0. The duration depends only on the lengths of the secrets.
 */
unsigned secrets_match(struct secrets *secrets, uint64_t now_ns, const uint8_t *bytes,
                       size_t length);

/*
 * Takes over `token` as the current secret of `role`, which must have one. The secret before it
 * stays valid until `previous_until_ns`; an older one becomes invalid.
 */
enum secrets_change secrets_change(struct secrets *secrets, enum secrets_role role, char *token,
                                   uint64_t now_ns, uint64_t previous_until_ns);

/*
 * Wipes previous secrets that are no longer valid from memory. Returns when the next one becomes
 * invalid, or UINT64_MAX.
 */
uint64_t secrets_expire(struct secrets *secrets, uint64_t now_ns);

#endif
