/*
 * Exit statuses and messages. The statuses are those of sysexits(3) as far as it has them, because
 * few commands that dflockctl runs use those.
 */
#ifndef DFLOCKCTL_STATUS_H
#define DFLOCKCTL_STATUS_H

#include <stddef.h>

#include "dflockd/client.h"

#define STATUSES(X)                                                                     \
    X(DONE, 0, "success")                                                               \
    X(USAGE, 64, "a flag, variable, file or argument is wrong")                         \
    X(NO_SERVER, 69, "no server answered, or it is shutting down")                      \
    X(STRANGE, 70, "the server sent an invalid reply, or could not serve the request")  \
    X(SYSTEM, 71, "this machine has no more memory or processes, or a similar problem") \
    X(OUTPUT, 74, "standard output cannot be written")                                  \
    X(TIMED_OUT, 75, "not granted in time")                                             \
    X(LOST, 76, "lost while it was held, or not held by this token")                    \
    X(REFUSED, 77, "refused: authentication, certificate, or a limit of the server")    \
    X(CANNOT_RUN, 126, "the command was found but cannot be run")                       \
    X(NOT_FOUND, 127, "the command was not found")

enum status {
#define X(name, number, text) STATUS_##name = number,
    STATUSES(X)
#undef X
    STATUS_SIGNAL = 128 /* plus the number of the signal that ended the command or the wait */
};

/* Prints all statuses, for --help. */
void status_print(void);

/* Returns the exit status for a status of the library. */
enum status status_of(enum dflockd_status status);

/* Returns the remedy for a status, to append to `problem`: "; " and a clause, or "". */
const char *status_advice(enum dflockd_status status, const char *problem);

/*
 * Writes a line to stderr, with '?' for control characters. Never waits and never raises SIGPIPE:
 * the line is lost if stderr is closed, full, or a terminal that ^S has stopped.
 */
__attribute__((format(printf, 1, 2))) void status_report(const char *format, ...);

/* Reports that memory is exhausted, and exits. */
_Noreturn void die_of_memory(void);

/* Returns zeroed memory, or exits. */
void *new_memory(size_t count, size_t size);

#endif
