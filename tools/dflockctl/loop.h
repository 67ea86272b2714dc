/*
 * Waits for signals, descriptors and a time. Signals are blocked and read from a descriptor, so
 * that none interrupts other code, and none is missed.
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
    int signals; /* descriptor of signalfd(2) */
    int timer;   /* descriptor of timerfd_create(2) */
    sigset_t caught;
    sigset_t before; /* the mask of blocked signals at loop_open */
    bool child_was_ignored;
};

/* Returns milliseconds of a clock that also runs while the machine sleeps, as leases do. */
int64_t loop_now_ms(void);

/*
 * Catches HUP, INT, QUIT and TERM, and the signals in `more`, which ends with 0. A signal that was
 * ignored stays ignored (nohup), except CHLD. Returns 0 or a negative errno.
 */
int loop_open(struct loop *loop, const int *more);

/* Catches the signals in `more` too. Returns 0 or a negative errno. */
int loop_catch_more(struct loop *loop, const int *more);

/*
 * For a child of fork(2): replaces the descriptors, which it shares with its parent, by its own.
 * Returns 0 or a negative errno.
 */
int loop_reopen(struct loop *loop);

/* Closes the descriptors. The signals stay blocked. */
void loop_close(struct loop *loop);

/* In a child before exec: restores the mask and the dispositions of loop_open's call. */
void loop_restore(const struct loop *loop);

/*
 * Waits until a signal arrives, a descriptor of `watched` is ready, or it is `until_ms`. Sets
 * `revents`. `watched` may be NULL if `count` is 0. Returns the number of the signal and sets
 * `*signal`, or returns 0.
 */
int loop_wait(struct loop *loop, struct pollfd *watched, size_t count, int64_t until_ms,
              struct signalfd_siginfo *signal);

#endif
