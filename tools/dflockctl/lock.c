/*
 * The commands `lock` and `sem`: wait for the grants, run the command or wait for a signal,
 * release.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dflockctl/command.h"
#include "dflockctl/holds.h"
#include "dflockctl/loop.h"
#include "dflockctl/outer.h"
#include "dflockctl/status.h"
#include "dflockctl/write_nonblocking.h"
#include "os/standard_output.h"

enum {
    LOCK_SILENT_MS = 1000 /* a longer wait is reported on a terminal */
};

struct lock {
    const struct settings *settings;
    struct loop loop;
    struct holds holds;
    int ended_by; /* the signal that ended the command or the wait, or 0 */
};

static bool lock_ends_wait(int signal)
{
    return signal && signal != SIGCONT && signal != SIGWINCH && signal != SIGCHLD;
}

/* Waits for an event until `until_ms`. Returns the signal or 0. */
static int lock_await(struct lock *lock, int64_t until_ms)
{
    struct pollfd watched[SETTINGS_WORDS_MAX];
    size_t count = holds_watch(&lock->holds, watched);
    int64_t next_ms = holds_next_ms(&lock->holds);
    struct signalfd_siginfo info;

    return loop_wait(&lock->loop, watched, count, next_ms < until_ms ? next_ms : until_ms, &info);
}

/* ---- the wait ---- */

static int lock_give_up(struct lock *lock, int signal)
{
    status_report("gave up waiting for '%s': %s", lock->holds.shown, strsignal(signal));
    holds_release(&lock->holds, &lock->loop);
    lock->ended_by = signal;
    return STATUS_SIGNAL + signal;
}

/* A background job does not receive ^C. */
static void lock_report_wait(const struct lock *lock)
{
    status_report("waiting for '%s'%s", lock->holds.shown,
                  tcgetpgrp(STDERR_FILENO) == getpgrp() ? "; press ^C to give up" : "");
}

/* Waits until all are held or the wait ends. Returns the exit status, which may be 0 if nothing is
 * held: only the state tells. */
static int lock_wait(struct lock *lock)
{
    struct holds *holds = &lock->holds;
    int64_t report_ms = isatty(STDERR_FILENO) ? loop_now_ms() + LOCK_SILENT_MS : LOOP_NEVER;
    int status;

    holds_begin(holds, lock->settings);
    while (holds_step(holds) == HOLD_WAITING) {
        int signal = lock_await(lock, report_ms);

        if (lock_ends_wait(signal))
            return lock_give_up(lock, signal);
        if (loop_now_ms() >= report_ms) {
            lock_report_wait(lock);
            report_ms = LOOP_NEVER;
        }
    }
    if (holds->state == HOLD_HELD)
        return STATUS_DONE;
    status = holds_report_refused(holds);
    holds_release(holds, &lock->loop);
    return status;
}

/* ---- a command ---- */

static void lock_set_variable(const char *name, const char *value)
{
    if (setenv(name, value, 1) < 0)
        die_of_memory();
}

/* Appends a word to a list of words with blanks between them, which the caller frees. */
static void lock_append(char **list, const char *word)
{
    size_t length = *list ? strlen(*list) : 0;

    *list = realloc(*list, length + strlen(word) + 2);
    if (!*list)
        die_of_memory();
    sprintf(*list + length, "%s%s", length > 0 ? " " : "", word);
}

/* For `dflockctl renew` of a single grant. */
static void lock_set_lease(const struct lock *lock)
{
    const struct settings *settings = lock->settings;
    char lease[24];

    snprintf(lease, sizeof(lease), "%" PRIu64,
             holds_find(&lock->holds, settings->words[0])->grant.lease_s);
    if (settings->word_count == 1)
        lock_set_variable("DFLOCKD_LEASE", lease);
    else
        unsetenv("DFLOCKD_LEASE");
}

/*
 * Sets the command's environment: facts about the grants, and no secret. Lists are in the order of
 * the command line; no key contains a blank. With several keys the variables of a single one are
 * removed: they may be those of another lock around this one.
 */
static void lock_set_environment(const struct lock *lock)
{
    static const char *const names[] = {"DFLOCKD_KEY", "DFLOCKD_TOKEN", "DFLOCKD_FENCE"};
    static const char *const list_names[] = {"DFLOCKD_KEYS", "DFLOCKD_TOKENS", "DFLOCKD_FENCES"};
    const struct settings *settings = lock->settings;
    char *lists[3] = {NULL};

    for (size_t i = 0; i < settings->word_count; i++) {
        const struct grant *grant = &holds_find(&lock->holds, settings->words[i])->grant;
        char fence[24];

        snprintf(fence, sizeof(fence), "%" PRIu64, grant->fence);
        lock_append(&lists[0], settings->words[i]);
        lock_append(&lists[1], grant->token);
        lock_append(&lists[2], fence);
    }
    for (size_t i = 0; i < 3; i++) {
        lock_set_variable(list_names[i], lists[i]);
        if (settings->word_count == 1)
            lock_set_variable(names[i], lists[i]);
        else
            unsetenv(names[i]);
        free(lists[i]);
    }
    lock_set_lease(lock);
    unsetenv("DFLOCKD_AUTH_TOKEN");
}

/* ---- no command ---- */

/* What is to be written about the grant, once it is HELD. */
struct lock_output {
    char token[DFLOCKD_TOKEN_LENGTH + 2]; /* a line */
    size_t length;
    size_t written;
    bool reported; /* standard error has the line "holds" */
};

static int lock_report_loss(const struct holds *holds)
{
    status_report("lost '%s': %s", holds->shown, holds->failed->problem);
    return STATUS_LOST;
}

/*
 * Prints the token as acquire does, as far as standard output has room, and then reports the grant.
 * Returns 0 or a negative errno.
 */
static int lock_print(struct lock *lock, struct lock_output *output)
{
    const struct holds *holds = &lock->holds;

    while (output->written < output->length) {
        ssize_t written = write_nonblocking_part(STDOUT_FILENO, output->token + output->written,
                                                 output->length - output->written);

        if (written == -EAGAIN)
            return 0;
        if (written < 0)
            return (int)written;
        output->written += (size_t)written;
        if (output->written == output->length)
            return standard_output_flush();
    }
    if (!output->reported)
        status_report("holds '%s', fence %" PRIu64 ", until SIGINT (^C) or SIGTERM", holds->shown,
                      holds->each[0].grant.fence);
    output->reported = true;
    return 0;
}

/* Waits for a signal, the connection, or room for the token. Returns the signal or 0. */
static int lock_await_output(struct lock *lock, const struct lock_output *output)
{
    const struct holds *holds = &lock->holds;
    bool prints = holds->state == HOLD_HELD && output->written < output->length;
    struct pollfd watched[2] = {{.fd = prints ? STDOUT_FILENO : -1, .events = POLLOUT}};
    size_t count = 1 + holds_watch(holds, watched + 1);
    int64_t until_ms = holds_next_ms(holds);
    struct signalfd_siginfo info;

    /* After the token a further step precedes the report. */
    if (holds->state == HOLD_HELD && !prints && !output->reported)
        until_ms = 0;
    return loop_wait(&lock->loop, watched, count, until_ms, &info);
}

/* Releases the lock after a signal. Returns the exit status. */
static int lock_end(struct lock *lock, int signal)
{
    holds_release(&lock->holds, &lock->loop);
    if (!holds_report_released(&lock->holds, "the signal"))
        return STATUS_LOST;
    if (signal == SIGINT || signal == SIGTERM)
        return STATUS_DONE;
    lock->ended_by = signal;
    return STATUS_SIGNAL + signal;
}

/* Holds the lock until a signal. Returns the exit status. */
static int lock_hold(struct lock *lock)
{
    struct holds *holds = &lock->holds;
    struct lock_output output = {0};
    int signal = 0;

    output.length =
        (size_t)snprintf(output.token, sizeof(output.token), "%s\n", holds->each[0].grant.token);
    while (holds_step(holds) != HOLD_OVER) {
        int error = holds->state == HOLD_HELD ? lock_print(lock, &output) : 0;

        if (error < 0) {
            status_report("standard output: %s; the lock is not kept", strerror(-error));
            holds_release(holds, &lock->loop);
            return STATUS_OUTPUT;
        }
        signal = lock_await_output(lock, &output);
        if (lock_ends_wait(signal))
            return lock_end(lock, signal);
    }
    return lock_report_loss(holds);
}

int lock_run(const struct settings *settings)
{
    static const int forwarded[] = {SIGUSR1, SIGUSR2, SIGALRM, SIGCONT, SIGWINCH, SIGCHLD, 0};
    struct lock lock = {.settings = settings};
    int status;

    /* Standard output is written only without a command, and a closed pipe is then an error. */
    if (!settings->command_line)
        signal(SIGPIPE, SIG_IGN);
    status = loop_open(&lock.loop, forwarded);
    if (status < 0) {
        status_report("cannot wait for signals: %s", strerror(-status));
        return STATUS_SYSTEM;
    }
    status = lock_wait(&lock);
    if (lock.holds.state == HOLD_HELD && settings->command_line) {
        lock_set_environment(&lock);
        status = outer_run(settings, &lock.holds, &lock.loop, &lock.ended_by);
    } else if (lock.holds.state == HOLD_HELD) {
        status = lock_hold(&lock);
    }
    holds_free(&lock.holds);
    loop_close(&lock.loop);
    outer_die_of_interrupt(lock.ended_by);
    return status;
}
