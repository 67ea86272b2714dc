/*
 * Requests about a grant that the caller names by key and token.
 */
#ifndef DFLOCKCTL_TOKEN_H
#define DFLOCKCTL_TOKEN_H

#include "dflockctl/settings.h"
#include "dflockd/client.h"

/*
 * Sends the request `lock` with the key and token of the words, or else of DFLOCKD_KEY and
 * DFLOCKD_TOKEN. If the token holds no such lock, sends `semaphore`: a token does not show which of
 * both it belongs to. Reports a failure. Returns the exit status; on STATUS_DONE `*reply` is set.
 */
int token_run(const struct settings *settings, enum dflockd_command lock,
              enum dflockd_command semaphore, struct dflockd_reply *reply);

#endif
