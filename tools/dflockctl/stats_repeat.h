/*
 * `stats --interval`: a line for each server at each interval.
 */
#ifndef DFLOCKCTL_STATS_REPEAT_H
#define DFLOCKCTL_STATS_REPEAT_H

#include "dflockctl/settings.h"

/* Returns the exit status: STATUS_DONE after SIGINT, or after `settings->count` intervals. */
int stats_repeat(const struct settings *settings);

#endif
