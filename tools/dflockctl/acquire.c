/*
 * A server releases what a connection holds when the connection ends, so a process must keep it
 * open: the holder. A connection cannot be given to another process, so acquire first forks the
 * holder, and the holder asks for the lock. Both talk over a pair of sockets:
 *
 *   holder                                     acquire
 *   waits for the grant
 *   closes what it inherited
 *   sends the grant                  ------>   prints it, checks that it was written
 *                                    <------   sends that it is printed
 *   sends that the lock is held      ------>   exits with status 0
 *
 * If acquire ends before, the holder sees the end of the socket and releases the lock. If the
 * holder ends before, acquire fails. So the lock stays held only if the caller has its token.
 *
 * Stages of the holder; in each of them the loss of the lock, a signal, and the end of the process
 * of --while end it:
 *
 *   state     event                          next      action
 *   WAITING   granted                        PRINTING  detach, send the grant
 *   WAITING   acquire has ended              -         leave the queue
 *   PRINTING  acquire has printed the token  LEFT      send that the lock is held
 *   PRINTING  acquire has ended              -         release the lock
 *   LEFT      release has released it        -         -
 *   LEFT      it is lost                     -         signal the process of --while
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "dflockctl/command.h"
#include "dflockctl/held_check.h"
#include "dflockctl/hold.h"
#include "dflockctl/json_writer.h"
#include "dflockctl/loop.h"
#include "dflockctl/outer.h"
#include "dflockctl/query.h"
#include "dflockctl/release_notice.h"
#include "dflockctl/status.h"
#include "os/standard_output.h"

enum {
    CLOSE_SETTLES_MS = 200, /* until a server has seen that a connection is closed */
    HOLDER_WATCHED = 4 + RELEASE_NOTICE_WATCHED
};

/* Messages between both processes, besides the grant. */
static const char acquire_printed = 'p';
static const char acquire_held = 'h';

enum holder_stage {
    HOLDER_WAITING,
    HOLDER_PRINTING,
    HOLDER_LEFT
};

struct holder {
    const struct settings *settings;
    enum holder_stage stage;
    struct loop loop;
    struct hold hold;
    struct held_check check;
    struct release_notice notice; /* only with --on-loss */
    bool printed;                 /* acquire has printed the token */
    int acquire;                  /* socket to acquire; -1 once LEFT */
    int while_pid;                /* pidfd of --while; -1: none */
    int *inherited;               /* descriptors of the caller */
    size_t inherited_count;
};

/* ---- output ---- */

/* `holder`: process that holds the lock; 0: none. Returns 0 or a negative errno. */
static int acquire_print(const struct settings *settings, const struct grant *grant, pid_t holder)
{
    struct json_writer writer = json_writer_new();

    if (!settings->json) {
        printf("%s\n", grant->token);
        return standard_output_flush();
    }
    json_begin(&writer, '{');
    json_name(&writer, "key");
    json_text(&writer, settings->words[0]);
    json_name(&writer, "token");
    json_text(&writer, grant->token);
    json_name(&writer, "fence");
    json_integer(&writer, grant->fence);
    json_name(&writer, "lease_s");
    json_integer(&writer, grant->lease_s);
    if (holder > 0) {
        json_name(&writer, "holder_pid");
        json_integer(&writer, (uint64_t)holder);
    }
    json_end(&writer, '}');
    return standard_output_flush();
}

/* The token could not be printed (negative errno), so the lock was released. */
static int acquire_report_output(const struct grant *grant, int error, bool released)
{
    if (released)
        status_report("standard output: %s; the lock is released", strerror(-error));
    else
        status_report(
            "standard output: %s; the server did not confirm the release: the lease ends within "
            "%" PRIu64 " s",
            strerror(-error), grant->lease_s);
    return STATUS_OUTPUT;
}

/* ---- the holder: what it inherited ---- */

/* Notes the caller's descriptors, to close them later: the other end of a pipe may wait for it. */
static void holder_note_inherited(struct holder *holder)
{
    DIR *all = opendir("/proc/self/fd");
    const struct dirent *entry;

    while (all && (entry = readdir(all))) {
        int descriptor = (int)strtol(entry->d_name, NULL, 10);

        if (descriptor <= STDERR_FILENO || descriptor == dirfd(all))
            continue;
        holder->inherited = reallocarray(holder->inherited, holder->inherited_count + 1,
                                         sizeof(*holder->inherited));
        if (!holder->inherited)
            die_of_memory();
        holder->inherited[holder->inherited_count++] = descriptor;
    }
    if (all)
        closedir(all);
}

/* Keeps nothing open of the caller. */
static void holder_detach(struct holder *holder)
{
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);

    for (int standard = STDIN_FILENO; standard <= STDERR_FILENO; standard++)
        dup2(nothing, standard);
    close(nothing);
    for (size_t i = 0; i < holder->inherited_count; i++)
        close(holder->inherited[i]);
    if (chdir("/") < 0)
        return; /* A folder that cannot be unmounted is no reason to lose a lock. */
}

/* ---- the holder: its stages ---- */

static bool holder_send(const struct holder *holder, const void *message, size_t length)
{
    return send(holder->acquire, message, length, MSG_NOSIGNAL) == (ssize_t)length;
}

/*
 * The lease ran while acquire printed. The hold was renewed meanwhile, also without --while, and
 * hold_step has just seen that it is not lost.
 */
static bool holder_leave(struct holder *holder)
{
    if (!holder_send(holder, &acquire_held, sizeof(acquire_held)))
        return false;
    close(holder->acquire);
    holder->acquire = -1;
    holder->stage = HOLDER_LEFT;
    if (holder->while_pid < 0)
        hold_let_others_renew(&holder->hold);
    held_check_begin(&holder->check, holder->settings);
    return true;
}

/* Goes on to the next stage if that is due. Returns false if acquire has ended. */
static bool holder_advance(struct holder *holder)
{
    struct hold *hold = &holder->hold;
    char message;

    if (holder->stage == HOLDER_WAITING && hold->state == HOLD_HELD) {
        holder_detach(holder);
        holder->stage = HOLDER_PRINTING;
        if (holder->settings->on_loss)
            release_notice_listen(&holder->notice, hold->grant.token);
        return holder_send(holder, &hold->grant, sizeof(hold->grant));
    }
    if (holder->stage != HOLDER_LEFT) {
        ssize_t length = recv(holder->acquire, &message, sizeof(message), MSG_DONTWAIT);

        if (length >= 0 || (errno != EAGAIN && errno != EINTR)) {
            if (length != sizeof(message) || message != acquire_printed)
                return false;
            holder->printed = true;
        }
        /* An unverified lock may be another client's: acquire waits for what comes of it. */
        return !holder->printed || hold->state != HOLD_HELD || holder_leave(holder);
    }
    held_check_step(&holder->check, hold);
    return true;
}

/*
 * Signals a loss to the process of --while. Its pidfd cannot be another process. Before LEFT, the
 * exit status of acquire reports the loss. A release by `dflockctl release` is the script's own.
 * The server's reply after a revocation is that after a release, so no other release is excepted.
 */
static void holder_signal_loss(struct holder *holder)
{
    const struct settings *settings = holder->settings;
    /* `release` connects, and sends up to two requests. */
    int64_t release_ms =
        settings->options.connect_timeout_ms + 2 * (int64_t)settings->options.reply_timeout_ms;

    if (settings->on_loss && holder->stage == HOLDER_LEFT &&
        !release_notice_await(&holder->notice, release_ms))
        pidfd_send_signal(holder->while_pid, (int)holder->settings->on_loss, NULL, 0);
}

/* Waits for the next event. Returns the exit status if that ends the holder, otherwise 0. */
static int holder_wait(struct holder *holder)
{
    int64_t hold_ms = hold_next_ms(&holder->hold);
    int64_t check_ms = held_check_next_ms(&holder->check);
    struct pollfd watched[HOLDER_WATCHED] = {
        hold_watched(&holder->hold),
        held_check_watched(&holder->check),
        {.fd = holder->acquire, .events = POLLIN},
        {.fd = holder->while_pid, .events = POLLIN},
    };
    struct signalfd_siginfo info;
    int signal;

    release_notice_watch(&holder->notice, watched + HOLDER_WATCHED - RELEASE_NOTICE_WATCHED);
    signal = loop_wait(&holder->loop, watched, HOLDER_WATCHED,
                       hold_ms < check_ms ? hold_ms : check_ms, &info);
    release_notice_step(&holder->notice);
    if (signal) {
        status_report("gave up: %s", strsignal(signal));
        return STATUS_SIGNAL + signal;
    }
    if (watched[3].revents) {
        status_report("--while: process %" PRIu64 " has ended", holder->settings->while_pid);
        return STATUS_LOST;
    }
    return 0;
}

/*
 * Asks for the lock, passes the grant to acquire, and holds it until its end. Returns the exit
 * status: how the wait failed, or after the grant STATUS_DONE if the lock is released.
 */
static int holder_hold(struct holder *holder)
{
    struct hold *hold = &holder->hold;
    int status = STATUS_DONE;

    hold_begin(hold, holder->settings, holder->settings->words[0],
               hold_deadline_ns(holder->settings));
    while (status == STATUS_DONE && !holder->notice.released && hold_step(hold) != HOLD_OVER) {
        enum holder_stage before = holder->stage;

        if (!holder_advance(holder))
            break;
        /* What came meanwhile is already there: step again instead of waiting. */
        if (holder->stage == before)
            status = holder_wait(holder);
    }
    if (holder->notice.released)
        return STATUS_DONE;
    if (hold_is_kept(hold))
        return (int)status_of(hold_release(hold));
    if (holder->stage == HOLDER_WAITING && hold->state == HOLD_OVER)
        return hold_report_refused(hold);
    if (hold->state != HOLD_OVER) {
        hold_cancel(hold);
        return status;
    }
    holder_signal_loss(holder);
    return (int)status_of(hold->why);
}

static int holder_run(struct holder *holder)
{
    static const int none[] = {0};
    int status;

    setsid();
    if (loop_open(&holder->loop, none) < 0) {
        status_report("cannot wait for signals: %s", strerror(errno));
        return STATUS_SYSTEM;
    }
    held_check_init(&holder->check);
    release_notice_init(&holder->notice);
    status = holder_hold(holder);
    held_check_end(&holder->check);
    release_notice_close(&holder->notice);
    hold_close(&holder->hold);
    loop_close(&holder->loop);
    return status;
}

/* ---- acquire, with a holder ---- */

/* Returns the holder's exit status, or STATUS_LOST if a signal killed it. */
static int acquire_reap(pid_t holder)
{
    int status;

    while (waitpid(holder, &status, 0) < 0) {
        if (errno != EINTR) {
            status_report("cannot wait for the process that holds the lock: %s", strerror(errno));
            return STATUS_SYSTEM;
        }
    }
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    status_report("the process that holds the lock was killed: %s", strsignal(WTERMSIG(status)));
    return STATUS_LOST;
}

static ssize_t acquire_receive(int socket, void *message, size_t length)
{
    ssize_t received;

    do {
        received = recv(socket, message, length, 0);
    } while (received < 0 && errno == EINTR);
    return received;
}

/* Lets the holder stay. Returns false if it no longer holds the lock. */
static bool acquire_leave_holder(int socket)
{
    char reply;

    return send(socket, &acquire_printed, sizeof(acquire_printed), MSG_NOSIGNAL) ==
               sizeof(acquire_printed) &&
           acquire_receive(socket, &reply, sizeof(reply)) == sizeof(reply) && reply == acquire_held;
}

/* Closes `socket`. Returns the exit status. */
static int acquire_await(const struct settings *settings, int socket, pid_t holder)
{
    struct grant grant;
    int error;
    int status;

    if (acquire_receive(socket, &grant, sizeof(grant)) != (ssize_t)sizeof(grant)) {
        close(socket);
        status = acquire_reap(holder);
        /* Only the status of a conflict may be 0 without a grant. */
        return status == STATUS_DONE && settings->conflict_status != 0 ? STATUS_LOST : status;
    }
    error = acquire_print(settings, &grant, holder);
    if (error == 0 && acquire_leave_holder(socket)) {
        close(socket);
        return STATUS_DONE;
    }
    close(socket);
    status = acquire_reap(holder);
    if (error)
        return acquire_report_output(&grant, error, status == STATUS_DONE);
    status_report("the lock was lost or released before acquire could end");
    return STATUS_LOST;
}

/* Opens the process of --while. Returns false if it cannot be used, which was reported. */
static bool holder_open_while(struct holder *holder)
{
    const struct settings *settings = holder->settings;

    if (!settings->while_pid)
        return true;
    holder->while_pid = pidfd_open((pid_t)settings->while_pid, 0);
    if (holder->while_pid < 0) {
        status_report("--while: process %" PRIu64 ": %s; give $$ for the shell",
                      settings->while_pid, strerror(errno));
        return false;
    }
    if (settings->on_loss && pidfd_send_signal(holder->while_pid, 0, NULL, 0) < 0) {
        status_report("--on-loss: cannot signal process %" PRIu64 ": %s; give a process of yours",
                      settings->while_pid, strerror(errno));
        return false;
    }
    return true;
}

static int acquire_with_holder(const struct settings *settings)
{
    struct holder holder = {.settings = settings, .while_pid = -1};
    int sockets[2];
    pid_t pid;
    int status;

    holder_note_inherited(&holder);
    if (!holder_open_while(&holder)) {
        free(holder.inherited);
        return STATUS_USAGE;
    }
    /* If the caller ignores it, the holder's exit status is lost. */
    signal(SIGCHLD, SIG_DFL);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0 || (pid = fork()) < 0) {
        status_report("cannot start a process: %s", strerror(errno));
        status = STATUS_SYSTEM;
    } else if (pid == 0) {
        close(sockets[0]);
        holder.acquire = sockets[1];
        status = holder_run(&holder);
    } else {
        close(sockets[1]);
        status = acquire_await(settings, sockets[0], pid);
    }
    free(holder.inherited);
    return status;
}

/* ---- acquire, with --no-hold ---- */

/*
 * The connection that took the lock is closed. Prints the grant if the token still holds the lock.
 * Returns the exit status.
 */
static int acquire_print_kept(const struct settings *settings, const struct grant *grant)
{
    struct query query = {0};
    struct dflockd_request request = {
        .command = settings->limit ? DFLOCKD_SEMAPHORE_RENEW : DFLOCKD_RENEW,
        .key = settings->words[0],
        .token = grant->token,
        .lease_s = settings->lease_s,
    };
    size_t server = settings_server_of(settings, request.key);
    enum dflockd_status status;
    int error = 0;

    nanosleep(&(struct timespec){.tv_nsec = CLOSE_SETTLES_MS * 1000000L}, NULL);
    status = query_run(&query, settings, server, &request);
    if (status == DFLOCKD_STATUS_NOT_HELD)
        status_report(
            "granted, and lost with the connection: this server releases on disconnect; leave out "
            "--no-hold");
    else if (status == DFLOCKD_STATUS_DONE)
        error = acquire_print(settings, grant, 0);
    if (error) {
        request.command = settings->limit ? DFLOCKD_SEMAPHORE_RELEASE : DFLOCKD_RELEASE;
        status = query_run(&query, settings, server, &request);
    }
    query_close(&query);
    if (error)
        return acquire_report_output(grant, error, status == DFLOCKD_STATUS_DONE);
    return (int)status_of(status);
}

/* A signal ends the wait, as hold_cancel does: the server may keep a grant that is on its way. */
static int acquire_without_holder(const struct settings *settings)
{
    static const int none[] = {0};
    struct loop loop;
    struct hold hold;
    int signal = 0;

    if (loop_open(&loop, none) < 0) {
        status_report("cannot wait for signals: %s", strerror(errno));
        return STATUS_SYSTEM;
    }
    hold_begin(&hold, settings, settings->words[0], hold_deadline_ns(settings));
    while (!signal && hold_step(&hold) == HOLD_WAITING) {
        struct pollfd watched = hold_watched(&hold);
        struct signalfd_siginfo info;

        signal = loop_wait(&loop, &watched, 1, hold_next_ms(&hold), &info);
    }
    loop_close(&loop);
    if (signal) {
        status_report("gave up: %s", strsignal(signal));
        hold_cancel(&hold);
        outer_die_of_interrupt(signal);
        return STATUS_SIGNAL + signal;
    }
    if (hold.state == HOLD_OVER) {
        hold_close(&hold);
        return hold_report_refused(&hold);
    }
    hold_close(&hold);
    return acquire_print_kept(settings, &hold.grant);
}

int acquire_run(const struct settings *settings)
{
    /* A closed pipe is an error of the write, after which the lock must be released. */
    signal(SIGPIPE, SIG_IGN);
    return settings->hold ? acquire_with_holder(settings) : acquire_without_holder(settings);
}
