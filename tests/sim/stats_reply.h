/*
 * The JSON of `stats`: well formed, and with each key that did not change meanwhile exactly once
 * and exactly as it is.
 */
#ifndef TESTS_SIM_STATS_REPLY_H
#define TESTS_SIM_STATS_REPLY_H

#include "world.h"

void stats_reply_check(struct world *world, struct stats_text *text);

#endif
