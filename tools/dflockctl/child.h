/*
 * The command that runs while a lock is held, and its orphans.
 */
#ifndef DFLOCKCTL_CHILD_H
#define DFLOCKCTL_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

#include "dflockctl/loop.h"

struct child {
    pid_t pid;
    bool ended;
    int status;         /* exit status: the command's, or 128 plus the number of a signal */
    int ended_by;       /* signal that ended it; 0: none, or it has not ended */
    int stopped_by;     /* signal that stopped it; 0: it runs, or has ended */
    bool others_remain; /* other children of this process are left */
};

/*
 * Runs the command, found by PATH, with this environment, and signals as they were before `loop`.
 * It gets SIGTERM if this process is killed. Returns true; or false if it cannot run: that was
 * reported on stderr, and `status` is what the program exits with.
 *
 * This process becomes a subreaper: the command's orphans become its children.
 */
bool child_start(struct child *child, char *const *command_line, const struct loop *loop);

/* Sends a signal to the command alone, unless it has ended. */
void child_signal(const struct child *child, int signal);

/* Returns the process id, or 0 once the command has ended. */
pid_t child_living_pid(const struct child *child);

/* Reaps all children that ended, and notes whether the command ended, stopped or continued. */
void child_reap(struct child *child);

/* Returns whether the command or a process that it started is left. */
bool child_any_left(const struct child *child);

#endif
