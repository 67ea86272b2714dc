/*
 * The log: lines of key=value on stderr. No line may hold a token or the auth secret.
 */
#ifndef SERVER_LOG_H
#define SERVER_LOG_H

#include <stdbool.h>

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
 * Writes one line in one write: `message`, then pairs of key and value, all of them strings, ended
 * by a NULL. Values are quoted where they need it. May be called from any thread.
 */
void log_line(enum log_level level, const char *message, ...) __attribute__((sentinel));

#endif
