/*
 * Checks the JSON of `show`: everything that the model knows of the holders and waiters of a key.
 */
#ifndef TESTS_SIM_SHOW_REPLY_H
#define TESTS_SIM_SHOW_REPLY_H

#include "world.h"

/* `line` has the newline. */
void show_reply_check(struct world *world, const struct sim_peer *peer, uint32_t key,
                      const char *line, uint32_t length);

/* Returns the steps that the reply takes. */
uint32_t show_reply_steps(const struct model *model, uint32_t key);

#endif
