/*
 * Signals for the processes that descend from this one.
 *
 * The kernel's list /proc/PID/task/TID/children is used if the kernel has it
 * (CONFIG_PROC_CHILDREN), else the parents in /proc/PID/stat. Without /proc only the children of
 * this process can be found, by waitid(2). An orphan becomes such a child if this process is a
 * subreaper (prctl(2)), so that repeated calls reach all of them.
 */
#ifndef DFLOCKCTL_DESCENDANTS_H
#define DFLOCKCTL_DESCENDANTS_H

#include <stddef.h>
#include <sys/types.h>

enum {
    DESCENDANTS_FAILURES_MAX = 8
};

struct descendants_result {
    size_t signalled;
    size_t failed;
    struct {
        pid_t pid;
        int error;                        /* errno of kill(2) */
    } failures[DESCENDANTS_FAILURES_MAX]; /* the first of them */
    int search_error;                     /* errno: why not all could be searched for; else 0 */
};

/*
 * Sends `signal` to `first` (a child of this process; 0: none), then to each other descendant,
 * parents before their children. `first` needs no search and gets the signal at once. Searches
 * again until a search finds no new process, since a process may fork meanwhile.
 */
void descendants_signal(pid_t first, int signal, struct descendants_result *result);

/* The same for all descendants except `except`. */
void descendants_signal_others(pid_t except, int signal);

#endif
