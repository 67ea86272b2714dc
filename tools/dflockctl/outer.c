#include "dflockctl/outer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "dflockctl/status.h"
#include "dflockctl/supervisor.h"
#include "dflockctl/termination.h"

enum {
    EVENT_MAX = 2048 /* bytes of a shown key and some words */
};

/* Of each pair of sockets the first end is the supervisor's. */
struct outer {
    const struct settings *settings;
    struct holds *holds;
    struct loop *loop;
    bool has_inherited_children;
    int supervisor_ends[2];
    int witness_ends[2];
    pid_t supervisor;
    pid_t witness;      /* 0: not started */
    int command;        /* pidfd of the command; -1: unknown */
    uint32_t continues; /* see struct supervisor_signal */
    int status;
    int ended_by;
};

static void outer_close(int *descriptor)
{
    if (*descriptor >= 0)
        close(*descriptor);
    *descriptor = -1;
}

/* ---- the group witness ---- */

/* Reports each signal that this process receives, until the supervisor is gone. */
static _Noreturn void outer_run_witness(int supervisor, struct loop *loop)
{
    sigset_t all;

    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    prctl(PR_SET_NAME, "dflockctl-group");
    if (loop_reopen(loop) < 0)
        _exit(STATUS_SYSTEM);
    for (;;) {
        struct pollfd watched = {.fd = supervisor, .events = POLLIN};
        struct signalfd_siginfo info;
        struct supervisor_signal message = {
            .signal = loop_wait(loop, &watched, 1, LOOP_NEVER, &info),
        };

        if (message.signal && message.signal != SIGCHLD)
            send(supervisor, &message, sizeof(message), MSG_DONTWAIT | MSG_NOSIGNAL);
        else if (watched.revents)
            _exit(STATUS_DONE);
    }
}

/*
 * It starts after the command: a signal to the group in between reaches the command twice rather
 * than not at all. Without the witness all signals are forwarded.
 */
static void outer_start_witness(struct outer *outer)
{
    outer->witness = fork();
    if (outer->witness == 0) {
        outer_close(&outer->supervisor_ends[1]);
        outer_run_witness(outer->witness_ends[1], outer->loop);
    }
    if (outer->witness < 0)
        outer->witness = 0;
    outer_close(&outer->witness_ends[1]);
}

/* ---- the supervisor ---- */

/* The connections are the supervisor's; when that ends, no other process may keep them open. */
static void outer_leave_connections(const struct holds *holds)
{
    struct pollfd watched[SETTINGS_WORDS_MAX];
    size_t count = holds_watch(holds, watched);
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);

    for (size_t i = 0; i < count; i++) {
        if (watched[i].fd >= 0 && nothing >= 0)
            dup3(nothing, watched[i].fd, O_CLOEXEC);
    }
    if (nothing >= 0)
        close(nothing);
}

/* Returns false if that is impossible, which was reported. */
static bool outer_start_supervisor(struct outer *outer)
{
    static const int kinds = SOCK_SEQPACKET | SOCK_CLOEXEC;
    pid_t self = getpid();

    if (socketpair(AF_UNIX, kinds, 0, outer->supervisor_ends) < 0 ||
        socketpair(AF_UNIX, kinds, 0, outer->witness_ends) < 0 ||
        (outer->supervisor = fork()) < 0) {
        status_report("cannot start a process: %s", strerror(errno));
        return false;
    }
    if (outer->supervisor == 0) {
        struct supervisor_context context = {
            .settings = outer->settings,
            .holds = outer->holds,
            .loop = outer->loop,
            .outer = outer->supervisor_ends[0],
            .witness = outer->witness_ends[0],
            .outer_pid = self,
        };

        close(outer->supervisor_ends[1]);
        close(outer->witness_ends[1]);
        supervisor_run(&context);
    }
    outer_close(&outer->supervisor_ends[0]);
    outer_close(&outer->witness_ends[0]);
    outer_leave_connections(outer->holds);
    return true;
}

/* Both have nothing left to do, but a stopped one would not end by itself. */
static void outer_reap_helpers(struct outer *outer)
{
    pid_t helpers[] = {outer->supervisor, outer->witness};

    for (size_t i = 0; i < sizeof(helpers) / sizeof(helpers[0]); i++) {
        if (helpers[i] <= 0)
            continue;
        kill(helpers[i], SIGKILL);
        while (waitpid(helpers[i], NULL, 0) < 0 && errno == EINTR)
            continue;
    }
}

/* ---- signals, stops ---- */

/* Process 1 of a container gets orphans that nobody else waits for. */
static void outer_reap_orphans(const struct outer *outer)
{
    siginfo_t info = {0};

    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid > 0 &&
           info.si_pid != outer->supervisor && info.si_pid != outer->witness) {
        waitpid(info.si_pid, NULL, 0);
        info.si_pid = 0;
    }
}

static void outer_pass_on(struct outer *outer, int signal, const struct signalfd_siginfo *info)
{
    struct supervisor_signal message = {.signal = signal};

    if (signal == SIGCHLD) {
        outer_reap_orphans(outer);
        return;
    }
    if (signal == SIGCONT) {
        /* The supervisor continues this process once the command has continued. */
        if ((pid_t)info->ssi_pid == outer->supervisor)
            return;
        outer->continues++;
    }
    message.continues = outer->continues;
    send(outer->supervisor_ends[1], &message, sizeof(message), MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Returns whether the next message says that the command has continued. */
static bool outer_has_continued(const struct outer *outer)
{
    struct supervisor_report next;

    return recv(outer->supervisor_ends[1], &next, sizeof(next), MSG_PEEK | MSG_DONTWAIT) ==
               (ssize_t)sizeof(next) &&
           next.event != SUPERVISOR_STOPPED;
}

/*
 * Stops this process by the signal that stopped the command, so that its parent sees that. A
 * SIGCONT must not come between the decision and the stop and be lost. So the stop is made pending
 * while it is blocked: a SIGCONT from then on discards it, and the supervisor reports the
 * continuation before it sends SIGCONT. SIGSTOP cannot be blocked, so SIGTSTP stands for it.
 */
static void outer_stop(const struct outer *outer, int signal)
{
    sigset_t stop;

    if (signal != SIGTTIN && signal != SIGTTOU)
        signal = SIGTSTP;
    sigemptyset(&stop);
    sigaddset(&stop, signal);
    sigprocmask(SIG_BLOCK, &stop, NULL);
    kill(getpid(), signal);
    if (outer_has_continued(outer))
        sigtimedwait(&stop, NULL, &(struct timespec){0});
    sigprocmask(SIG_UNBLOCK, &stop, NULL);
    sigprocmask(SIG_BLOCK, &stop, NULL);
}

/* ---- the whole ---- */

/* The kernel has sent SIGTERM to the command. Its processes and those of inherited
 * children look the same, so only the command gets SIGKILL. */
static void outer_end_command(struct outer *outer)
{
    int64_t kill_ms = loop_now_ms() + (int64_t)outer->settings->grace_s * 1000;
    struct pollfd watched = {.fd = outer->command, .events = POLLIN};

    status_report(
        "lost '%s': the process that renewed it was killed; the command got SIGTERM, the processes "
        "that it started did not",
        outer->holds->shown);
    while (watched.fd >= 0 && !watched.revents && loop_now_ms() < kill_ms) {
        struct signalfd_siginfo info;

        loop_wait(outer->loop, &watched, 1, kill_ms, &info);
    }
    if (watched.fd >= 0 && !watched.revents)
        pidfd_send_signal(watched.fd, SIGKILL, NULL, 0);
}

/* Ends the command's processes. */
static void outer_replace_supervisor(struct outer *outer)
{
    struct termination termination;
    char event[EVENT_MAX];

    outer->status = STATUS_LOST;
    outer_reap_helpers(outer);
    if (outer->has_inherited_children) {
        outer_end_command(outer);
        return;
    }
    snprintf(event, sizeof(event), "lost '%s': the process that renewed it was killed",
             outer->holds->shown);
    termination_begin(&termination, 0, outer->settings->grace_s, event);
    for (;;) {
        struct signalfd_siginfo info;
        pid_t pid;

        while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
            continue;
        if (pid < 0)
            return;
        if (loop_now_ms() >= termination.kill_ms && !termination_kill(&termination, 0))
            return;
        loop_wait(outer->loop, NULL, 0, termination.kill_ms, &info);
    }
}

/* Waits for the supervisor's next message. Returns false once it is over. */
static bool outer_read_report(struct outer *outer)
{
    struct supervisor_report report;
    ssize_t length = recv(outer->supervisor_ends[1], &report, sizeof(report), MSG_DONTWAIT);

    /* The supervisor ended before it read a signal. Its last message is still there. */
    if (length < 0 && errno == ECONNRESET)
        length = recv(outer->supervisor_ends[1], &report, sizeof(report), MSG_DONTWAIT);
    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (length != (ssize_t)sizeof(report)) {
        outer_replace_supervisor(outer);
        return false;
    }
    switch ((enum supervisor_event)report.event) {
    case SUPERVISOR_STARTED:
        outer->command = pidfd_open((pid_t)report.number, 0);
        outer_start_witness(outer);
        break;
    case SUPERVISOR_STOPPED:
        /* One from before the last SIGCONT is outdated. */
        if (report.continues == outer->continues)
            outer_stop(outer, report.number);
        break;
    case SUPERVISOR_CONTINUED:
        break;
    case SUPERVISOR_ENDED:
        outer->status = report.number;
        outer->ended_by = report.ended_by;
        outer_reap_helpers(outer);
        return false;
    }
    return true;
}

static void outer_attend(struct outer *outer)
{
    do {
        struct pollfd watched = {.fd = outer->supervisor_ends[1], .events = POLLIN};
        struct signalfd_siginfo info;
        int signal = loop_wait(outer->loop, &watched, 1, LOOP_NEVER, &info);

        if (signal)
            outer_pass_on(outer, signal, &info);
    } while (outer_read_report(outer));
}

int outer_run(const struct settings *settings, struct holds *holds, struct loop *loop,
              int *ended_by)
{
    static const int stops[] = {SIGTSTP, SIGTTIN, SIGTTOU, 0};
    siginfo_t info;
    struct outer outer = {
        .settings = settings,
        .holds = holds,
        .loop = loop,
        .has_inherited_children =
            waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WNOHANG | WNOWAIT) == 0,
        .supervisor_ends = {-1, -1},
        .witness_ends = {-1, -1},
        .command = -1,
        .status = STATUS_SYSTEM,
    };

    if (!outer.has_inherited_children)
        prctl(PR_SET_CHILD_SUBREAPER, 1);
    loop_catch_more(loop, stops);
    if (outer_start_supervisor(&outer))
        outer_attend(&outer);
    else
        holds_release(holds, loop);
    for (int i = 0; i < 2; i++) {
        outer_close(&outer.supervisor_ends[i]);
        outer_close(&outer.witness_ends[i]);
    }
    outer_close(&outer.command);
    *ended_by = outer.ended_by;
    return outer.status;
}

void outer_die_of_interrupt(int signal_number)
{
    sigset_t set;

    if (signal_number != SIGINT && signal_number != SIGQUIT)
        return;
    /* The command has dumped core already if it was to. */
    prctl(PR_SET_DUMPABLE, 0);
    signal(signal_number, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, signal_number);
    kill(getpid(), signal_number);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}
