/*
 * The commands `release` and `renew`, of a lock that `acquire` took: both name it by key and token.
 */
#ifndef DFLOCKCTL_TOKEN_H
#define DFLOCKCTL_TOKEN_H

#include "dflockctl/settings.h"

/* Run the commands. Return the exit status. */
int token_release(const struct settings *settings);
int token_renew(const struct settings *settings);

#endif
