/*
 * What servers hold, shown once: `ls`, `show` and `stats`.
 */
#ifndef DFLOCKCTL_LIST_H
#define DFLOCKCTL_LIST_H

#include "dflockctl/settings.h"

/* Commands. Where a server does not answer the others are shown all the same. */
int list_keys(const struct settings *settings);
int list_key(const struct settings *settings);
int list_stats(const struct settings *settings);

#endif
