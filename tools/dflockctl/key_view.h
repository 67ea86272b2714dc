/*
 * The holders and waiters of a key: the server's replies to `show`, about the lock and about the
 * semaphore.
 */
#ifndef DFLOCKCTL_KEY_VIEW_H
#define DFLOCKCTL_KEY_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dflockctl/key_stats.h"
#include "dflockctl/query.h"
#include "dflockctl/settings.h"

/* Texts are as the server wrote them; NULL: none. */
struct key_view_client {
    char *fence; /* of a holder, 16 hex digits */
    char *mode;  /* "exclusive" or "shared" */
    char *address;
    char *name;
    uint64_t connection;
    uint64_t position; /* of a waiter, from 1 on */
    double for_s;      /* since the grant, or since the request */
    double left_s;     /* of the lease, or of the timeout; negative: none */
};

struct key_view_list {
    struct key_view_client *each;
    size_t count; /* the server lists the first 100 */
    uint64_t total;
};

struct key_view {
    bool known; /* the server has the lock or semaphore; else the other members are 0 */
    uint64_t limit;
    struct key_view_list holders;
    struct key_view_list waiters;
    char *json;
};

struct key_views {
    struct key_view each[KEY_SEMAPHORE + 1]; /* by enum key_kind */
};

/*
 * Requests both from server number `server`, and waits. Returns DONE, UNSUPPORTED if the server
 * does not know `show`, or the failure. The caller frees the views in any case.
 */
enum dflockd_status key_views_ask(struct key_views *views, struct query *query,
                                  const struct settings *settings, size_t server, const char *key);

/* The same, and reports a failure on stderr. Returns the exit status. */
int key_views_request(struct key_views *views, struct query *query, const struct settings *settings,
                      size_t server, const char *key);

void key_views_free(struct key_views *views);

/* Returns the holder with that fence, and sets `*kind`; NULL: not listed. */
const struct key_view_client *key_views_find(const struct key_views *views, uint64_t fence,
                                             enum key_kind *kind);

/* The same for the fence of a token. */
const struct key_view_client *key_views_find_token(const struct key_views *views,
                                                   const char *token);

/* Returns the fence of a holder as a number. */
uint64_t key_view_fence(const struct key_view_client *holder);

#endif
