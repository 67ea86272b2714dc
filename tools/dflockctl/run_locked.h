/*
 * The commands `lock` and `sem`: run a command while a lock, or a slot of a semaphore, is held.
 */
#ifndef DFLOCKCTL_RUN_LOCKED_H
#define DFLOCKCTL_RUN_LOCKED_H

#include "dflockctl/settings.h"

/*
 * Waits for the grant, runs the command that the settings name, and releases. Returns the exit
 * status: the command's, or one of enum status. Ends the process by SIGINT or SIGQUIT if that ended
 * the command or the wait.
 */
int run_locked_main(const struct settings *settings);

#endif
