/*
 * Limits the log lines of one kind of event, so that peers cannot fill a disk: up to
 * LOG_LIMIT_PER_SECOND in each second of the monotonic clock. Counts the other events. For any
 * thread; above the limit an event costs two atomic operations.
 */
#ifndef SERVER_LOG_LIMIT_H
#define SERVER_LOG_LIMIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    LOG_LIMIT_PER_SECOND = 10
};

/* Zero-initialised. */
struct log_limit {
    _Atomic uint64_t window;     /* a second, and the lines in it: see log_limit.c */
    _Atomic uint64_t suppressed; /* events without a line since the last line */
};

/*
 * Returns true if an event at `now_ns` may be logged, and sets `*suppressed` to the number of
 * events since the last line. Otherwise counts the event and returns false.
 */
bool log_limit_admit(struct log_limit *limit, uint64_t now_ns, uint64_t *suppressed);

#endif
