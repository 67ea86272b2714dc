/*
 * What dflockctl waits for: signals, descriptors, and a time. Signals are blocked and read, so that
 * none comes in the middle of something else, and none is missed.
 */
#ifndef DFLOCKCTL_LOOP_H
#define DFLOCKCTL_LOOP_H

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/signalfd.h>

#define LOOP_NEVER INT64_MAX

enum {
    LOOP_WATCHED_MAX = 72 /* descriptors: one for each server, and some */
};

struct loop {
    int signals; /* a descriptor, as the next */
    int timer;
    sigset_t before; /* what was blocked */
};

/* Milliseconds of a clock that nobody sets and that goes on while the machine sleeps, as leases do.
 */
int64_t loop_now_ms(void);

/*
 * Catches HUP, INT, QUIT and TERM, and those in `more`, which ends with 0. What whoever started us
 * has ignored stays ignored (nohup), but for CHLD. 0, or negative errno.
 */
int loop_open(struct loop *loop, const int *more);

/* Closes the descriptors; signals stay blocked. */
void loop_close(struct loop *loop);

/* In a child: signals are what they were before. */
void loop_restore(const struct loop *loop);

/*
 * Waits until a signal came, one of `watched` is ready (told in its `revents`), or it is
 * `until_ms`. Returns the number of the signal, with what is known of it, or 0.
 */
int loop_wait(struct loop *loop, struct pollfd *watched, size_t count, int64_t until_ms,
              struct signalfd_siginfo *signal);

#endif
