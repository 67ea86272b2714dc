/*
 * The outer process of `lock` and `sem`, once the lock is granted: the process that the user
 * started. supervisor.h has the whole picture.
 *
 * It starts the supervisor and the group witness, passes on the signals that it receives, stops and
 * continues as the command does, and ends as the command ended. If the supervisor is killed, it
 * ends the command's processes, which become its children then.
 */
#ifndef DFLOCKCTL_OUTER_H
#define DFLOCKCTL_OUTER_H

#include "dflockctl/holds.h"
#include "dflockctl/loop.h"
#include "dflockctl/settings.h"

/*
 * Runs the command that the settings name under `holds`, which are held, and releases them. Returns
 * the exit status. Sets `*ended_by` to the signal that ended the command with that status, or 0.
 * The caller still frees `holds` and closes `loop`.
 */
int outer_run(const struct settings *settings, struct holds *holds, struct loop *loop,
              int *ended_by);

/*
 * Ends this process by `signal` if that is SIGINT or SIGQUIT. A shell ends its script or loop only
 * if such a signal ended the command. Returns on other signals, or if the kernel does not allow it
 * (process 1).
 */
void outer_die_of_interrupt(int signal);

#endif
