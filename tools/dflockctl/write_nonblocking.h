/*
 * A write that never waits and never raises SIGPIPE, to a descriptor that other processes share.
 *
 * O_NONBLOCK belongs to the open file, so setting it would change the descriptor of those processes
 * as well.
 */
#ifndef DFLOCKCTL_WRITE_NONBLOCKING_H
#define DFLOCKCTL_WRITE_NONBLOCKING_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * Writes up to `length` bytes (up to PIPE_BUF, for which a pipe has room for all or takes none).
 * Returns the number written, or a negative errno: -EAGAIN if there is no room, or ^S has stopped
 * the terminal.
 */
ssize_t write_nonblocking_part(int descriptor, const char *bytes, size_t length);

/* As write_nonblocking_part. Returns whether all were written; otherwise the rest is lost. */
bool write_nonblocking(int descriptor, const char *bytes, size_t length);

#endif
