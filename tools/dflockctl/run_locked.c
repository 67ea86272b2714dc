#include "dflockctl/run_locked.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dflockctl/hold.h"
#include "dflockctl/loop.h"
#include "dflockctl/outer.h"
#include "dflockctl/status.h"
#include "dflockctl/text.h"

enum {
    SILENT_MS = 1000 /* a wait that is longer is reported on a terminal */
};

struct run_locked {
    const struct settings *settings;
    char *key; /* as shown to people */
    struct loop loop;
    struct hold hold;
    int ended_by; /* the signal that ended the command or the wait, or 0 */
};

static bool run_locked_ends_wait(int signal)
{
    return signal && signal != SIGCONT && signal != SIGWINCH && signal != SIGCHLD;
}

static int run_locked_give_up(struct run_locked *run, int signal)
{
    hold_step(&run->hold);
    if (hold_is_kept(&run->hold))
        hold_release(&run->hold);
    say("gave up waiting for '%s': %s", run->key, strsignal(signal));
    run->ended_by = signal;
    return STATUS_SIGNAL + signal;
}

/* Waits for the grant. Returns DONE, or the exit status. */
static int run_locked_wait(struct run_locked *run)
{
    struct hold *hold = &run->hold;
    int64_t report_ms = isatty(STDERR_FILENO) ? loop_now_ms() + SILENT_MS : LOOP_NEVER;

    hold_begin(hold, run->settings);
    while (hold_step(hold) == HOLD_WAITING) {
        struct pollfd watched = hold_watched(hold);
        int64_t next_ms = hold_next_ms(hold);
        struct signalfd_siginfo info;
        int signal =
            loop_wait(&run->loop, &watched, 1, next_ms < report_ms ? next_ms : report_ms, &info);

        if (run_locked_ends_wait(signal))
            return run_locked_give_up(run, signal);
        if (loop_now_ms() >= report_ms) {
            say("waiting for '%s' (^C gives up)", run->key);
            report_ms = LOOP_NEVER;
        }
    }
    if (hold->state == HOLD_HELD)
        return STATUS_DONE;
    return (int)hold_report_refused(hold);
}

/* Sets the command's environment: facts about the grant, and no secret. */
static void run_locked_set_environment(const struct run_locked *run)
{
    char fence[24];

    snprintf(fence, sizeof(fence), "%" PRIu64, run->hold.fence);
    if (setenv("DFLOCKD_KEY", run->settings->words[0], 1) < 0 ||
        setenv("DFLOCKD_TOKEN", run->hold.token, 1) < 0 || setenv("DFLOCKD_FENCE", fence, 1) < 0)
        die_of_memory();
    unsetenv("DFLOCKD_AUTH_TOKEN");
}

int run_locked_main(const struct settings *settings)
{
    static const int forwarded[] = {SIGUSR1, SIGUSR2, SIGALRM, SIGCONT, SIGWINCH, SIGCHLD, 0};
    const char *key = settings->words[0];
    struct run_locked run = {.settings = settings};
    int status = loop_open(&run.loop, forwarded);

    if (status < 0) {
        say("cannot wait for signals: %s", strerror(-status));
        return STATUS_SYSTEM;
    }
    run.key = text_shown(key, strlen(key), true);
    status = run_locked_wait(&run);
    if (status == STATUS_DONE) {
        run_locked_set_environment(&run);
        status = outer_run(settings, run.key, &run.hold, &run.loop, &run.ended_by);
    }
    hold_close(&run.hold);
    loop_close(&run.loop);
    free(run.key);
    outer_die_of_interrupt(run.ended_by);
    return status;
}
