#include "dflockctl/supervisor.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dflockctl/child.h"
#include "dflockctl/relay.h"
#include "dflockctl/status.h"
#include "dflockctl/terminal_modes.h"
#include "dflockctl/termination.h"
#include "dflockctl/text.h"

enum {
    EVENT_MAX = 2048 /* bytes of a shown key and the library's problem */
};

/*
 *   phase            event                    next       action
 *   RUNNING          command stopped          STOPPED    stop all its processes, report
 *   STOPPED          command continued        RUNNING    continue all, report
 *   RUNNING          lock lost                LOST       end all processes
 *   RUNNING,STOPPED  outer process killed     ABANDONED  end all processes
 *   ABANDONED        lock lost                LOST
 *   RUNNING,STOPPED  command ended            -          release, report (see `settled_ms`)
 *   LOST,ABANDONED   no process left          -          release unless lost, report
 *
 * The lock is renewed in RUNNING and ABANDONED, and in LOST the other ones of several keys. In
 * STOPPED nobody works under it, and a stopped job must not keep others waiting for ever.
 */
enum phase {
    PHASE_RUNNING,
    PHASE_STOPPED,
    PHASE_LOST,
    PHASE_ABANDONED
};

struct supervisor {
    const struct settings *settings;
    struct holds *holds;
    struct loop *loop;
    int outer;   /* -1: the outer process is gone */
    int witness; /* -1: the witness is gone */
    pid_t outer_pid;
    pid_t group; /* of the outer process, and of the command unless that left it */
    uint32_t continues;
    int64_t report_again_ms; /* when to report STOPPED again, should it still be true */
    /*
     * When the end of the command counts. SIGKILL may have been sent to the whole process group, as
     * `timeout -k` does: then the end of the outer process follows, and ABANDONED is next.
     */
    int64_t settled_ms;
    int64_t impatient_ms; /* from when on SIGINT and SIGTERM end the wait for the releases */
    bool impatient;
    enum phase phase;
    struct child command;
    struct relay relay;
    struct termination termination;
    struct terminal_modes terminal;
};

static void supervisor_send(const struct supervisor *supervisor, enum supervisor_event event,
                            int number, int ended_by)
{
    struct supervisor_report report = {
        .event = (int32_t)event,
        .number = number,
        .ended_by = ended_by,
        .continues = supervisor->continues,
    };

    /* A stopped outer process does not read. It must not hold up anything here. */
    if (supervisor->outer >= 0)
        send(supervisor->outer, &report, sizeof(report), MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* ---- signals to forward ---- */

static void supervisor_received(struct supervisor *supervisor,
                                const struct supervisor_signal *message)
{
    supervisor->continues = message->continues;
    /* The outer process takes what was reported before for outdated. */
    if (message->signal == SIGCONT && supervisor->phase == PHASE_STOPPED)
        supervisor->report_again_ms = loop_now_ms() + 2 * RELAY_WINDOW_MS;
    /* A command in a group of its own does not receive what the outer process's group does. */
    if (!supervisor->command.ended && getpgid(supervisor->command.pid) != supervisor->group)
        child_signal(&supervisor->command, message->signal);
    else
        relay_received(&supervisor->relay, message->signal, loop_now_ms());
}

static void supervisor_witnessed(struct supervisor *supervisor,
                                 const struct supervisor_signal *message)
{
    relay_witnessed(&supervisor->relay, message->signal, loop_now_ms());
}

/* Reads messages from the outer process or the witness. Closes the socket once that is gone. */
static void supervisor_read(struct supervisor *supervisor, int *socket,
                            void (*received)(struct supervisor *supervisor,
                                             const struct supervisor_signal *message))
{
    struct supervisor_signal message;
    ssize_t length = 0;

    if (*socket < 0)
        return;
    while ((length = recv(*socket, &message, sizeof(message), MSG_DONTWAIT)) ==
           (ssize_t)sizeof(message))
        received(supervisor, &message);
    if (length >= 0 || (errno != EAGAIN && errno != EINTR)) {
        close(*socket);
        *socket = -1;
    }
}

static void supervisor_forward(struct supervisor *supervisor)
{
    int signal;

    while ((signal = relay_take(&supervisor->relay, loop_now_ms())))
        child_signal(&supervisor->command, signal);
}

/* ---- phases ---- */

static void supervisor_follow_stop(struct supervisor *supervisor)
{
    const struct child *command = &supervisor->command;

    if (supervisor->phase == PHASE_RUNNING && command->stopped_by) {
        supervisor->phase = PHASE_STOPPED;
        /* A process that works on would work without the lock once the lease is over. */
        descendants_signal_others(command->pid, SIGSTOP);
        supervisor_send(supervisor, SUPERVISOR_STOPPED, command->stopped_by, 0);
    } else if (supervisor->phase == PHASE_STOPPED && !command->stopped_by) {
        supervisor->phase = PHASE_RUNNING;
        supervisor->report_again_ms = LOOP_NEVER;
        if (!command->ended)
            descendants_signal_others(command->pid, SIGCONT);
        /* First the message, so that an outer process which is about to stop sees it. */
        supervisor_send(supervisor, SUPERVISOR_CONTINUED, 0, 0);
        if (supervisor->outer >= 0)
            kill(supervisor->outer_pid, SIGCONT);
    } else if (loop_now_ms() >= supervisor->report_again_ms) {
        supervisor->report_again_ms = LOOP_NEVER;
        supervisor_send(supervisor, SUPERVISOR_STOPPED, command->stopped_by, 0);
    }
}

static bool supervisor_is_ending(const struct supervisor *supervisor)
{
    return supervisor->phase == PHASE_LOST || supervisor->phase == PHASE_ABANDONED;
}

static void supervisor_end_all(struct supervisor *supervisor, enum phase phase)
{
    const struct hold *failed = supervisor->holds->failed;
    char event[EVENT_MAX];

    supervisor->phase = phase;
    if (phase == PHASE_LOST) {
        char *shown = text_shown(failed->key, strlen(failed->key), true);

        snprintf(event, sizeof(event), "lost '%s': %s", shown, failed->problem);
        free(shown);
    } else {
        snprintf(event, sizeof(event), "'%s': dflockctl was killed", supervisor->holds->shown);
    }
    termination_begin(&supervisor->termination, child_living_pid(&supervisor->command),
                      supervisor->settings->grace_s, event);
}

/* Reaps children, and notes when the end of the command counts. */
static void supervisor_reap(struct supervisor *supervisor)
{
    struct child *command = &supervisor->command;
    bool had_ended = command->ended;

    child_reap(command);
    if (command->ended && !had_ended)
        supervisor->settled_ms =
            loop_now_ms() + (command->ended_by == SIGKILL ? RELAY_WINDOW_MS : 0);
}

static bool supervisor_is_over(const struct supervisor *supervisor)
{
    return supervisor_is_ending(supervisor)
               ? !child_any_left(&supervisor->command)
               : supervisor->command.ended && loop_now_ms() >= supervisor->settled_ms;
}

/* Processes all that has happened. Returns false once it is over. */
static bool supervisor_step(struct supervisor *supervisor)
{
    struct termination *termination = &supervisor->termination;

    supervisor_read(supervisor, &supervisor->outer, supervisor_received);
    supervisor_read(supervisor, &supervisor->witness, supervisor_witnessed);
    supervisor_forward(supervisor);
    supervisor_reap(supervisor);
    supervisor_follow_stop(supervisor);
    if (!supervisor_is_ending(supervisor) && supervisor->outer < 0)
        supervisor_end_all(supervisor, PHASE_ABANDONED);
    if (supervisor_is_over(supervisor))
        return false;
    if (supervisor->phase != PHASE_STOPPED && holds_step(supervisor->holds) == HOLD_OVER) {
        if (supervisor->phase == PHASE_RUNNING)
            supervisor_end_all(supervisor, PHASE_LOST);
        supervisor->phase = PHASE_LOST;
    }
    if (supervisor_is_ending(supervisor) && loop_now_ms() >= termination->kill_ms)
        return termination_kill(termination, child_living_pid(&supervisor->command));
    return true;
}

static void supervisor_wait(struct supervisor *supervisor)
{
    bool renews = supervisor->phase != PHASE_STOPPED;
    struct pollfd watched[SETTINGS_WORDS_MAX + 2] = {
        {.fd = supervisor->outer, .events = POLLIN},
        {.fd = supervisor->witness, .events = POLLIN},
    };
    size_t count = 2 + (renews ? holds_watch(supervisor->holds, watched + 2) : 0);
    int64_t until_ms = renews ? holds_next_ms(supervisor->holds) : LOOP_NEVER;
    int64_t forward_ms = relay_next_ms(&supervisor->relay);
    struct signalfd_siginfo info;

    if (forward_ms < until_ms)
        until_ms = forward_ms;
    if (supervisor->command.ended && !supervisor_is_ending(supervisor) &&
        supervisor->settled_ms < until_ms)
        until_ms = supervisor->settled_ms;
    if (supervisor->report_again_ms < until_ms)
        until_ms = supervisor->report_again_ms;
    if (supervisor_is_ending(supervisor) && supervisor->termination.kill_ms < until_ms)
        until_ms = supervisor->termination.kill_ms;
    loop_wait(supervisor->loop, watched, count, until_ms, &info);
}

/* ---- start and end ---- */

static void supervisor_received_late(struct supervisor *supervisor,
                                     const struct supervisor_signal *message)
{
    if ((message->signal == SIGINT || message->signal == SIGTERM) &&
        loop_now_ms() >= supervisor->impatient_ms)
        supervisor->impatient = true;
}

/* Releases all locks. A signal that ended the command may arrive here after that; a later one ends
 * the wait for the replies. */
static void supervisor_release(struct supervisor *supervisor)
{
    struct holds *holds = supervisor->holds;

    supervisor->impatient_ms = loop_now_ms() + RELAY_WINDOW_MS;
    holds_release_begin(holds);
    while (!holds_release_step(holds) && !supervisor->impatient) {
        struct pollfd watched[SETTINGS_WORDS_MAX + 1] = {
            {.fd = supervisor->outer, .events = POLLIN},
        };
        size_t count = 1 + holds_watch(holds, watched + 1);
        struct signalfd_siginfo info;

        loop_wait(supervisor->loop, watched, count, holds_release_ms(holds), &info);
        supervisor_read(supervisor, &supervisor->outer, supervisor_received_late);
    }
    holds_close(holds);
}

/* Returns the exit status: the command's, unless a lock may have been lost before its end. */
static int supervisor_finish(struct supervisor *supervisor)
{
    if (supervisor->command.ended_by || supervisor_is_ending(supervisor))
        terminal_modes_restore(&supervisor->terminal, supervisor->group);
    supervisor_release(supervisor);
    if (supervisor->phase == PHASE_LOST ||
        !holds_report_released(supervisor->holds, "the command ended"))
        return STATUS_LOST;
    return supervisor->command.status;
}

static _Noreturn void supervisor_exit(struct supervisor *supervisor, int status)
{
    struct child *command = &supervisor->command;

    holds_close(supervisor->holds);
    supervisor_send(supervisor, SUPERVISOR_ENDED, status,
                    status == command->status ? command->ended_by : 0);
    _exit(status);
}

/* Blocks all signals but those that report a fault of this program. */
static void supervisor_block_signals(void)
{
    static const int faults[] = {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP};
    sigset_t all;

    sigfillset(&all);
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
        sigdelset(&all, faults[i]);
    sigprocmask(SIG_BLOCK, &all, NULL);
}

void supervisor_run(const struct supervisor_context *context)
{
    struct supervisor supervisor = {
        .settings = context->settings,
        .holds = context->holds,
        .loop = context->loop,
        .outer = context->outer,
        .witness = context->witness,
        .outer_pid = context->outer_pid,
        .group = getpgrp(),
        .report_again_ms = LOOP_NEVER,
    };
    int error;

    supervisor_block_signals();
    prctl(PR_SET_NAME, "dflockctl-lock");
    error = loop_reopen(supervisor.loop);
    if (error < 0) {
        status_report("cannot wait for signals: %s", strerror(-error));
        holds_release_begin(supervisor.holds);
        supervisor.command.status = STATUS_SYSTEM;
        supervisor_exit(&supervisor, STATUS_SYSTEM);
    }
    terminal_modes_save(&supervisor.terminal);
    /* The command is started first, so that it is in the group of the outer process. */
    if (!child_start(&supervisor.command, supervisor.settings->command_line, supervisor.loop)) {
        supervisor_release(&supervisor);
        supervisor_exit(&supervisor, supervisor.command.status);
    }
    setpgid(0, 0);
    supervisor_send(&supervisor, SUPERVISOR_STARTED, (int)supervisor.command.pid, 0);
    while (supervisor_step(&supervisor))
        supervisor_wait(&supervisor);
    supervisor_exit(&supervisor, supervisor_finish(&supervisor));
}
