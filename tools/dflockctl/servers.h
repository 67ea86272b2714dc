/*
 * The servers of the list: which one a key belongs to, and single questions to them.
 */
#ifndef DFLOCKCTL_SERVERS_H
#define DFLOCKCTL_SERVERS_H

#include <stddef.h>

#include "dflockctl/settings.h"
#include "dflockd/client.h"

/* The number of the server that a key belongs to. */
size_t servers_of(const struct settings *settings, const char *key);

/* A question under way. */
struct question {
    struct dflockd_connection *connection;
    struct dflockd_reply reply;
};

/*
 * Asks server number `server`, waiting for the answer; `question`, zeroed before the first, may ask
 * again. What came of it; where no answer came, that was told on stderr. To be closed in any case.
 */
enum dflockd_status question_ask(struct question *question, const struct settings *settings,
                                 size_t server, const struct dflockd_request *request);
void question_close(struct question *question);

/* Commands. */
int servers_ping(const struct settings *settings);
int servers_shard(const struct settings *settings);

#endif
