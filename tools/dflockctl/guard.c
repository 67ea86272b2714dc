#include "dflockctl/guard.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dflockctl/child.h"
#include "dflockctl/hold.h"
#include "dflockctl/loop.h"
#include "dflockctl/status.h"
#include "dflockctl/text.h"

enum {
    SILENT_MS = 1000, /* of waiting, before somebody who looks on is told */
    KILL_AGAIN_MS = 50
};

struct guard {
    const struct settings *settings;
    char *key; /* shown */
    struct loop loop;
    struct hold hold;
    struct child child;
    bool lost;
    int64_t kill_ms; /* when SIGKILL is due, once it is lost */
};

static bool is_job_control(int signal)
{
    return signal == SIGCONT || signal == SIGWINCH || signal == SIGCHLD;
}

/* ---- before ---- */

/* Waits for the grant. DONE, or what the program ends with. */
static int wait_for_grant(struct guard *guard)
{
    struct hold *hold = &guard->hold;
    int64_t tell_ms = isatty(STDERR_FILENO) ? loop_now_ms() + SILENT_MS : LOOP_NEVER;

    hold_begin(hold, guard->settings);
    while (hold_step(hold) == HOLD_WAITING) {
        struct pollfd watched = hold_watched(hold);
        int64_t next_ms = hold_next_ms(hold);
        struct signalfd_siginfo info;
        int signal =
            loop_wait(&guard->loop, &watched, 1, next_ms < tell_ms ? next_ms : tell_ms, &info);

        if (signal && !is_job_control(signal)) {
            hold_step(hold);
            if (hold_is_kept(hold))
                hold_release(hold);
            say("gave up waiting for '%s': %s", guard->key, strsignal(signal));
            return STATUS_SIGNAL + signal;
        }
        if (loop_now_ms() >= tell_ms) {
            say("waiting for '%s' (^C gives up)", guard->key);
            tell_ms = LOOP_NEVER;
        }
    }
    if (hold->state == HOLD_HELD)
        return STATUS_DONE;
    return (int)hold_report_refused(hold);
}

/* What the command is to know, and no secret. */
static void set_environment(const struct guard *guard)
{
    char fence[24];

    snprintf(fence, sizeof(fence), "%" PRIu64, guard->hold.fence);
    if (setenv("DFLOCKD_KEY", guard->settings->words[0], 1) < 0 ||
        setenv("DFLOCKD_TOKEN", guard->hold.token, 1) < 0 || setenv("DFLOCKD_FENCE", fence, 1) < 0)
        die_of_memory();
    unsetenv("DFLOCKD_AUTH_TOKEN");
}

/* ---- meanwhile ---- */

static void lose(struct guard *guard)
{
    uint64_t grace_s = guard->settings->grace_s;

    guard->lost = true;
    guard->kill_ms = loop_now_ms() + (int64_t)grace_s * 1000;
    if (grace_s > 0) {
        say("lost '%s': %s; the command gets SIGTERM, and SIGKILL in %" PRIu64 " s", guard->key,
            guard->hold.problem, grace_s);
        child_signal_all(SIGTERM);
        /* One that is stopped could not heed it. */
        child_signal_all(SIGCONT);
    } else {
        say("lost '%s': %s; the command gets SIGKILL", guard->key, guard->hold.problem);
    }
}

static void forward(const struct guard *guard, int signal, const struct signalfd_siginfo *info)
{
    /* What the terminal sends, it sends to the whole process group, and so to the command. */
    if (signal && signal != SIGCHLD && info->ssi_code != SI_KERNEL)
        child_signal(&guard->child, signal);
}

/* Until the command has ended; where the lock is lost, also all that it started. */
static void attend(struct guard *guard)
{
    bool anybody = true;

    while (guard->lost ? anybody : !guard->child.ended) {
        /* Lost, the connection stays as it is until nobody works any more under the lock. */
        struct pollfd watched =
            guard->lost ? (struct pollfd){.fd = -1} : hold_watched(&guard->hold);
        int64_t next_ms = guard->lost ? guard->kill_ms : hold_next_ms(&guard->hold);
        struct signalfd_siginfo info;

        forward(guard, loop_wait(&guard->loop, &watched, 1, next_ms, &info), &info);
        anybody = child_reap(&guard->child);
        if (!guard->lost && !guard->child.ended && hold_step(&guard->hold) == HOLD_OVER)
            lose(guard);
        /* Again, for those that were started meanwhile. */
        if (guard->lost && anybody && loop_now_ms() >= guard->kill_ms) {
            child_signal_all(SIGKILL);
            guard->kill_ms = loop_now_ms() + KILL_AGAIN_MS;
        }
    }
}

/* ---- after ---- */

/* The command's status, unless it can't be said that the lock was held to its end. */
static int finish(struct guard *guard)
{
    struct hold *hold = &guard->hold;
    enum dflockd_status status;

    if (guard->lost)
        return STATUS_LOST;
    status = hold_release(hold);
    if (status == DFLOCKD_STATUS_AGAIN) {
        say("'%s' was held until the command ended, but the server does not say that it is "
            "released; its lease ends within %" PRIu64 " s",
            guard->key, hold->lease_s);
    } else if (status != DFLOCKD_STATUS_DONE) {
        say("'%s' was lost before the command ended: %s", guard->key, hold->problem);
        return STATUS_LOST;
    }
    return guard->child.status;
}

static int run(struct guard *guard)
{
    int status = wait_for_grant(guard);

    if (status != STATUS_DONE)
        return status;
    set_environment(guard);
    if (!child_start(&guard->child, guard->settings->command_line, &guard->loop)) {
        hold_release(&guard->hold);
        return guard->child.status;
    }
    attend(guard);
    return finish(guard);
}

int guard_run(const struct settings *settings)
{
    static const int forwarded[] = {SIGUSR1, SIGUSR2, SIGALRM, SIGCONT, SIGWINCH, SIGCHLD, 0};
    const char *key = settings->words[0];
    struct guard guard = {.settings = settings};
    int status = loop_open(&guard.loop, forwarded);

    if (status < 0) {
        say("cannot wait for signals: %s", strerror(-status));
        return STATUS_SYSTEM;
    }
    guard.key = text_shown(key, strlen(key), true);
    status = run(&guard);
    hold_close(&guard.hold);
    loop_close(&guard.loop);
    free(guard.key);
    return status;
}
