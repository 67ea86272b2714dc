/*
 * The command that runs while a lock is held, and all that it starts: whatever of that is orphaned
 * becomes our child, so that nothing escapes when the lock is lost.
 */
#ifndef DFLOCKCTL_CHILD_H
#define DFLOCKCTL_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

#include "dflockctl/loop.h"

struct child {
    pid_t pid;
    bool ended;
    int status; /* what the program is to end with for it: its own, or 128 and a signal's number */
};

/*
 * Runs the command, found by PATH, with our environment, and signals as they were before `loop`. It
 * gets SIGTERM should we be killed. False where it can't be run: that was told on stderr, and
 * `status` says with what to end.
 */
bool child_start(struct child *child, char *const *command_line, const struct loop *loop);

/* To the command alone. */
void child_signal(const struct child *child, int signal);

/* To the command and all that it has started, and they. */
void child_signal_all(int signal);

/* Takes note of whoever ended. False once nobody is left: neither the command nor what it started.
 */
bool child_reap(struct child *child);

#endif
