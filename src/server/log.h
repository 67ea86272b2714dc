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
    LOG_LINE_MAX = 1536,           /* bytes; a longer line is cut */
    LOG_BUFFER_BYTES = 256 * 1024, /* of lines that are not written yet */
    LOG_STOP_MS = 1000
};

enum log_level {
    LOG_DEBUG,
    LOG_INFO,
    LOG_WARN,
    LOG_ERROR
};

/* Whether lines of LOG_DEBUG are written; they are not until this is called. */
void log_set_debug(bool debug);

bool log_enabled(enum log_level level);

/*
 * Starts the log thread. Before this call log_line writes by itself and may block; that is for
 * tests and for the start of the server. Returns 0 or a negative errno of pthread_create(3).
 */
int log_start(void);

/*
 * Writes what is in the buffer and ends the thread, within LOG_STOP_MS at most. Returns false if
 * stderr did not take all of it by then: the rest, and every later line, is lost. Returns true if
 * the thread was not started. Afterwards log_line writes by itself. For one thread at a time.
 */
bool log_stop(void);

/*
 * Logs one line: `message`, then pairs of key and value, all of them strings, ended by a NULL.
 * Values are quoted if they need it. May be called from any thread and with any mutex held; the
 * log's own mutex is the last one in the lock order.
 */
void log_line(enum log_level level, const char *message, ...) __attribute__((sentinel));

/*
 * Logs `text` as it is, without time and level, and in order with the other lines: for the message
 * of a start that fails.
 */
void log_plain(const char *text);

/*
 * As log_line. The value of the first pair are the `length` bytes at `bytes`, which may have any
 * values: those that are not printable ASCII are written as \xNN, in quotes.
 */
void log_line_bytes(enum log_level level, const char *message, const char *key, const void *bytes,
                    size_t length, ...) __attribute__((sentinel));

#endif
