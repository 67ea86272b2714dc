/*
 * What dflockctl says when something goes wrong, and with what status it ends. Statuses of its own
 * are those of sysexits(3) where there is one, so that they seldom meet a command's.
 */
#ifndef DFLOCKCTL_STATUS_H
#define DFLOCKCTL_STATUS_H

#include <stddef.h>

#include "dflockd/client.h"

/* The number, and what it tells a script. */
#define STATUSES(X)                                                                          \
    X(DONE, 0, "done")                                                                       \
    X(USAGE, 64, "a flag, a variable, a file or an argument is wrong")                       \
    X(NO_SERVER, 69, "no server answered, or it is being stopped")                           \
    X(STRANGE, 70, "the server answered what it should not, or could not serve the request") \
    X(SYSTEM, 71, "this machine lacks memory, processes or the like")                        \
    X(OUTPUT, 74, "standard output cannot be written")                                       \
    X(TIMED_OUT, 75, "not granted in time")                                                  \
    X(LOST, 76, "lost while it was held, or not held by this token")                         \
    X(REFUSED, 77, "refused: the authentication, the certificate, or a limit of the server") \
    X(CANNOT_RUN, 126, "the command was found and cannot be run")                            \
    X(NOT_FOUND, 127, "there is no such command")

enum status {
#define X(name, number, text) STATUS_##name = number,
    STATUSES(X)
#undef X
    STATUS_SIGNAL = 128 /* and the number of the signal that ended the command, or the waiting */
};

/* Prints all of them, for --help. */
void status_print(void);

/* The status that what came of a call ends the program with. */
enum status status_of(enum dflockd_status status);

/* What to do next about it: a clause that begins with "; ", or "". */
const char *status_advice(enum dflockd_status status);

/*
 * Writes one line to stderr; control characters become '?'. Never waits and never raises SIGPIPE:
 * the line is lost if stderr is closed, full, or a terminal that ^S has stopped.
 */
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);

/* Ends the program, saying that memory is short. */
_Noreturn void die_of_memory(void);

/* Memory, zeroed; never NULL. */
void *new_memory(size_t count, size_t size);

#endif
