/*
 * The log: lines of key=value on stderr. No line may hold a token or the auth secret.
 *
 * No thread but the log's own waits for stderr: lines go into a buffer of LOG_BUFFER_BYTES, which
 * the log thread writes. A line that finds the buffer full, or that cannot be written, is lost and
 * counted. A line `log lines dropped` with the count follows as soon as writing works again.
 */
#ifndef SERVER_LOG_H
#define SERVER_LOG_H

#include <stdbool.h>
#include <stddef.h>

enum {
    LOG_LINE_MAX = 2048,           /* bytes; a longer line is cut */
    LOG_BUFFER_BYTES = 256 * 1024, /* of pending lines */
    LOG_STOP_MS = 1000
};

enum log_level {
    LOG_DEBUG,
    LOG_INFO,
    LOG_WARN,
    LOG_ERROR
};

/* Enables or disables lines of LOG_DEBUG; disabled at first. */
void log_set_debug(bool debug);

bool log_enabled(enum log_level level);

/*
 * Starts the log thread. Before this call log_line writes directly and may block, for tests and for
 * the start of the server. Returns 0 or a negative errno of pthread_create(3).
 */
int log_start(void);

/*
 * Writes the pending lines and ends the thread, within LOG_STOP_MS. Returns false if stderr did not
 * take all lines by then: the rest and all later lines are lost. Otherwise, and if the thread was
 * not started, returns true, and log_line writes directly. For one thread at a time.
 */
bool log_stop(void);

/*
 * Logs one line: `message`, then pairs of strings, key and value, up to a NULL. Quotes values if
 * needed. May be called from any thread and with any mutex held: the log's mutex is the last in the
 * lock order.
 */
void log_line(enum log_level level, const char *message, ...) __attribute__((sentinel));

/*
 * Logs `text` unchanged, without time and level, in order with the other lines. For the message of
 * a failed start.
 */
void log_plain(const char *text);

/*
 * As log_line. The value of the first pair is the `length` bytes at `bytes`. Bytes that are not
 * printable ASCII are written as \xNN, in quotes.
 */
void log_line_bytes(enum log_level level, const char *message, const char *key, const void *bytes,
                    size_t length, ...) __attribute__((sentinel));

#endif
