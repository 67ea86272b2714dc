/*
 * A limit on the lines that one kind of event may write, so that peers cannot fill a disk: up to
 * LOG_LIMIT_PER_SECOND in each second of the monotonic clock. The rest is counted. May be used from
 * any thread; over the limit an event costs two atomic operations.
 */
#ifndef SERVER_LOG_LIMIT_H
#define SERVER_LOG_LIMIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    LOG_LIMIT_PER_SECOND = 10
};

/* All zero at first. */
struct log_limit {
    _Atomic uint64_t window;     /* a second, and the lines in it: see log_limit.c */
    _Atomic uint64_t suppressed; /* events without a line since the last line */
};

/*
 * Returns whether an event at `now_ns` may be logged, and then sets `*suppressed` to the number of
 * events before it that were not. Otherwise counts the event.
 */
bool log_limit_admit(struct log_limit *limit, uint64_t now_ns, uint64_t *suppressed);

#endif
