/*
 * Checks the JSON of `stats`: it is well formed and contains each unchanged key exactly once.
 */
#ifndef TESTS_SIM_STATS_REPLY_H
#define TESTS_SIM_STATS_REPLY_H

#include "world.h"

void stats_reply_check(struct world *world, struct stats_text *text);

#endif
