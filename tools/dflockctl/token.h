/*
 * Requests about a grant that the caller names by key and token.
 */
#ifndef DFLOCKCTL_TOKEN_H
#define DFLOCKCTL_TOKEN_H

#include <stdbool.h>

#include "dflockctl/settings.h"
#include "dflockd/client.h"

/*
 * Sets the key and the token of `request`: the words, or else DFLOCKD_KEY and DFLOCKD_TOKEN.
 * Returns false after it reported that one is missing or invalid.
 */
bool token_read(const struct settings *settings, struct dflockd_request *request);

/*
 * Sends `request` as the command `lock`. If the token holds no such lock, sends it as `semaphore`:
 * a token does not show which of both it belongs to. Reports a failure. Returns the exit status; on
 * STATUS_DONE `*reply` is set.
 */
int token_run(const struct settings *settings, struct dflockd_request *request,
              enum dflockd_command lock, enum dflockd_command semaphore,
              struct dflockd_reply *reply);

#endif
