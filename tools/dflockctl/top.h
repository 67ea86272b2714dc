/*
 * A live screen: connections, grants per second, the most contended keys.
 */
#ifndef DFLOCKCTL_TOP_H
#define DFLOCKCTL_TOP_H

#include "dflockctl/settings.h"

/* A command. */
int top_run(const struct settings *settings);

#endif
