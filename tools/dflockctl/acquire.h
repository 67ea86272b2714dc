/*
 * The command `acquire`: takes a lock for a script, prints its token, and leaves a process behind
 * that holds it.
 */
#ifndef DFLOCKCTL_ACQUIRE_H
#define DFLOCKCTL_ACQUIRE_H

#include "dflockctl/settings.h"

/* Runs the command. Returns the exit status. */
int acquire_run(const struct settings *settings);

#endif
