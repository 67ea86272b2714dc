/*
 * The commands `lock` and `sem`: wait for the grant, run the command, release.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dflockctl/command.h"
#include "dflockctl/hold.h"
#include "dflockctl/loop.h"
#include "dflockctl/outer.h"
#include "dflockctl/status.h"
#include "dflockctl/text.h"

enum {
    LOCK_SILENT_MS = 1000 /* a longer wait is reported on a terminal */
};

struct lock {
    const struct settings *settings;
    char *key; /* as shown to people */
    struct loop loop;
    struct hold hold;
    int ended_by; /* the signal that ended the command or the wait, or 0 */
};

static bool lock_ends_wait(int signal)
{
    return signal && signal != SIGCONT && signal != SIGWINCH && signal != SIGCHLD;
}

static int lock_give_up(struct lock *lock, int signal)
{
    hold_step(&lock->hold);
    if (hold_is_kept(&lock->hold))
        hold_release(&lock->hold);
    status_report("gave up waiting for '%s': %s", lock->key, strsignal(signal));
    lock->ended_by = signal;
    return STATUS_SIGNAL + signal;
}

/* A background job does not receive ^C. */
static void lock_report_wait(const struct lock *lock)
{
    status_report("waiting for '%s'%s", lock->key,
                  tcgetpgrp(STDERR_FILENO) == getpgrp() ? "; press ^C to give up" : "");
}

/* Waits for the grant. Returns DONE, or the exit status. */
static int lock_wait(struct lock *lock)
{
    struct hold *hold = &lock->hold;
    int64_t report_ms = isatty(STDERR_FILENO) ? loop_now_ms() + LOCK_SILENT_MS : LOOP_NEVER;

    hold_begin(hold, lock->settings);
    while (hold_step(hold) == HOLD_WAITING) {
        struct pollfd watched = hold_watched(hold);
        int64_t next_ms = hold_next_ms(hold);
        struct signalfd_siginfo info;
        int signal =
            loop_wait(&lock->loop, &watched, 1, next_ms < report_ms ? next_ms : report_ms, &info);

        if (lock_ends_wait(signal))
            return lock_give_up(lock, signal);
        if (loop_now_ms() >= report_ms) {
            lock_report_wait(lock);
            report_ms = LOOP_NEVER;
        }
    }
    if (hold->state == HOLD_HELD)
        return STATUS_DONE;
    return (int)hold_report_refused(hold);
}

/* Sets the command's environment: facts about the grant, and no secret. */
static void lock_set_environment(const struct lock *lock)
{
    char fence[24];

    snprintf(fence, sizeof(fence), "%" PRIu64, lock->hold.grant.fence);
    if (setenv("DFLOCKD_KEY", lock->settings->words[0], 1) < 0 ||
        setenv("DFLOCKD_TOKEN", lock->hold.grant.token, 1) < 0 ||
        setenv("DFLOCKD_FENCE", fence, 1) < 0)
        die_of_memory();
    unsetenv("DFLOCKD_AUTH_TOKEN");
}

int lock_run(const struct settings *settings)
{
    static const int forwarded[] = {SIGUSR1, SIGUSR2, SIGALRM, SIGCONT, SIGWINCH, SIGCHLD, 0};
    const char *key = settings->words[0];
    struct lock lock = {.settings = settings};
    int status = loop_open(&lock.loop, forwarded);

    if (status < 0) {
        status_report("cannot wait for signals: %s", strerror(-status));
        return STATUS_SYSTEM;
    }
    lock.key = text_shown(key, strlen(key), true);
    status = lock_wait(&lock);
    if (status == STATUS_DONE) {
        lock_set_environment(&lock);
        status = outer_run(settings, lock.key, &lock.hold, &lock.loop, &lock.ended_by);
    }
    hold_close(&lock.hold);
    loop_close(&lock.loop);
    free(lock.key);
    outer_die_of_interrupt(lock.ended_by);
    return status;
}
