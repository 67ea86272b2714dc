/*
 * A command that runs while a lock, or a slot of a semaphore, is held: `lock` and `sem`.
 */
#ifndef DFLOCKCTL_GUARD_H
#define DFLOCKCTL_GUARD_H

#include "dflockctl/settings.h"

/* Returns what the program ends with: the command's status, or one of enum status. */
int guard_run(const struct settings *settings);

#endif
