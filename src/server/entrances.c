/*
 * Two servers never serve one address at the same time: that would be two lock tables, and two
 * clients could be told that they hold the same lock. Serving ends only with the process: holders
 * may renew and release until then, and grants may be on their way. So the next server must not
 * serve before the kernel has ended the first. That holds in each order of events:
 *
 * - TCP. A guard (os/sockets.h) keeps the port bound from start until the process ends. Listening
 *   fails until then, whatever the first server is doing. The announcement only decides whether the
 *   next server waits or fails. If it looks before the first announces, it fails. If the first ends
 *   between failing and looking, it fails too; it never serves too early.
 * - A path. The file is no proof, since the draining server removes it. The first announces, then
 *   refuses connections, then removes the file. The next looks at the path, then for the
 *   announcement, then listens. If it finds the path free or stale because of the draining, the
 *   announcement was there before and is there until the process ends. If the first begins to drain
 *   after the next saw that it listens, the next looks again or fails. An announcement is not seen
 *   from another network namespace, and not believed of another user. For these there is a lock on
 *   a file beside the socket, which the first holds until its process ends: the next one fails.
 * - If the name of a path is taken, the first server cannot announce. It then keeps listening on
 *   the path, without accepting, until it ends: the next server finds it alive, and fails.
 * - Two servers that wait for one: both go on when it ends. On TCP one gets the port; on a path one
 *   gets the directory's lock (os/unix_socket.c). The other one fails, or waits for the new one.
 * - A second signal, a crash or a SIGKILL ends the process. The kernel first ends its threads, then
 *   closes its sockets: when the announcement hangs up, the first does nothing any more.
 * - Passed sockets belong to the service manager, which does not start a second server while the
 *   first runs. If it is started by hand while the first drains, the announcement makes it wait; it
 *   looks before it accepts anything. While the first serves, nothing keeps it from serving.
 * - The fence file is opened after all addresses (main.c), so that it is not found in use while the
 *   server should wait.
 *
 * Nobody but root, our own user and the owner of the path's directory can make the next server
 * wait. Another user that takes the name of an announcement has no more effect than above.
 */
#include "server/entrances.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "server/log.h"

static void explain_path(char problem[OPTIONS_PROBLEM_MAX], const char *path, const char *wrong)
{
    snprintf(problem, OPTIONS_PROBLEM_MAX, "--unix-socket: cannot listen on '%.200s': %s", path,
             wrong);
}

/* What one attempt to listen came upon. */
struct entrances_attempt {
    struct drain_notice draining; /* its descriptor is -1 if there is no draining server */
    char address[SOCKETS_TEXT_MAX];
    char *problem; /* of OPTIONS_PROBLEM_MAX bytes */
};

/* Whether nobody drains under this name; else `attempt` says what is there. */
static bool entrances_is_drained(struct entrances_attempt *attempt,
                                 const struct drain_notice_name *name)
{
    switch (drain_notice_find(name, &attempt->draining)) {
    case DRAIN_NOTICE_NONE:
        return true;
    case DRAIN_NOTICE_FOUND:
        return false;
    case DRAIN_NOTICE_UNKNOWN:
        snprintf(attempt->problem, OPTIONS_PROBLEM_MAX,
                 "cannot find out whether a draining server listened on %.300s", attempt->address);
        return false;
    }
    return false;
}

static bool entrances_open_path(struct entrances *entrances, const struct options *options,
                                struct entrances_attempt *attempt)
{
    const char *path = options->unix_socket;
    const char *wrong = NULL;
    int listener;

    if (!path || !path[0])
        return true;
    snprintf(attempt->address, sizeof(attempt->address), "unix:%s", path);
    listener = unix_socket_listen(&entrances->unix_socket, path, (mode_t)options->unix_socket_mode,
                                  &attempt->draining, &wrong);
    if (listener < 0) {
        explain_path(attempt->problem, path, wrong);
        return false;
    }
    entrances->shared[entrances->shared_count++] =
        (struct listener){.descriptor = listener, .local = true};
    return true;
}

/* Looks before the server listens anywhere, so that no client waits while the server waits. */
static bool entrances_path_is_drained(const struct options *options,
                                      struct entrances_attempt *attempt)
{
    struct drain_notice_name name;

    if (!options->unix_socket || !options->unix_socket[0])
        return true;
    name = drain_notice_name_of_path(options->unix_socket);
    snprintf(attempt->address, sizeof(attempt->address), "unix:%s", options->unix_socket);
    return entrances_is_drained(attempt, &name);
}

static bool entrances_adopt_passed(struct entrances *entrances, struct entrances_attempt *attempt)
{
    int passed = activation_take(entrances->shared, attempt->problem);

    if (passed < 0)
        return false;
    entrances->shared_count = (uint32_t)passed;
    for (int i = 0; i < passed; i++) {
        struct drain_notice_name name = drain_notice_name_of(entrances->shared[i].descriptor);

        sockets_describe(entrances->shared[i].descriptor, attempt->address);
        if (!entrances_is_drained(attempt, &name))
            return false;
    }
    return true;
}

/*
 * The address is in use. By a draining server? One that listens on all addresses is in the way of
 * one on a single address too.
 */
static void entrances_find_tcp(const struct options *options, struct entrances_attempt *attempt)
{
    char addresses[3][SOCKETS_TEXT_MAX];

    if (!sockets_address(options->host, (uint16_t)options->port, addresses[0]))
        return;
    snprintf(addresses[1], sizeof(addresses[1]), "0.0.0.0:%u", (unsigned)options->port);
    snprintf(addresses[2], sizeof(addresses[2]), "[::]:%u", (unsigned)options->port);
    for (int i = 0; i < 3 && attempt->draining.descriptor < 0; i++) {
        struct drain_notice_name name = drain_notice_name_of_tcp(addresses[i]);

        if (drain_notice_find(&name, &attempt->draining) == DRAIN_NOTICE_FOUND)
            memcpy(attempt->address, addresses[i], sizeof(attempt->address));
    }
}

static bool entrances_open_tcp(struct entrances *entrances, const struct options *options,
                               uint32_t workers, struct entrances_attempt *attempt)
{
    int error = sockets_listen(options->host, (uint16_t)options->port, entrances->own, workers,
                               attempt->problem);

    if (error == -EADDRINUSE)
        entrances_find_tcp(options, attempt);
    if (error < 0)
        return false;
    entrances->own_count = workers;
    entrances->guard = sockets_guard(entrances->own[0]);
    if (entrances->guard < 0)
        snprintf(attempt->problem, OPTIONS_PROBLEM_MAX, "cannot keep port %u: %s",
                 (unsigned)options->port, strerror(-entrances->guard));
    return entrances->guard >= 0;
}

static bool entrances_try(struct entrances *entrances, const struct options *options,
                          uint32_t workers, struct entrances_attempt *attempt)
{
    return entrances_adopt_passed(entrances, attempt) &&
           entrances_path_is_drained(options, attempt) &&
           (entrances->shared_count > 0 ||
            entrances_open_tcp(entrances, options, workers, attempt)) &&
           entrances_open_path(entrances, options, attempt);
}

/* Gives up what an attempt has opened; passed sockets stay for the next attempt. */
static void entrances_close(struct entrances *entrances)
{
    for (uint32_t i = 0; i < entrances->own_count; i++)
        close(entrances->own[i]);
    entrances->own_count = 0;
    if (entrances->guard >= 0)
        close(entrances->guard);
    entrances->guard = -1;
}

static enum drain_notice_end entrances_wait(const struct entrances_attempt *attempt, int signals)
{
    enum drain_notice_end end;
    char pid[16];

    snprintf(pid, sizeof(pid), "%ld", (long)attempt->draining.pid);
    log_line(LOG_INFO, "waiting for a draining server", "addr", attempt->address, "pid", pid, NULL);
    end = drain_notice_wait(&attempt->draining, signals);
    close(attempt->draining.descriptor);
    return end;
}

enum entrances_result entrances_open(struct entrances *entrances, const struct options *options,
                                     uint32_t workers, int signals,
                                     char problem[OPTIONS_PROBLEM_MAX])
{
    entrances->guard = -1;
    for (;;) {
        struct entrances_attempt attempt = {.draining.descriptor = -1, .problem = problem};

        if (entrances_try(entrances, options, workers, &attempt))
            return ENTRANCES_OPEN;
        entrances_close(entrances);
        if (attempt.draining.descriptor < 0)
            return ENTRANCES_FAILED;
        if (entrances_wait(&attempt, signals) == DRAIN_NOTICE_STOPPED)
            return ENTRANCES_STOPPED;
    }
}

bool entrances_check(const struct options *options, char problem[OPTIONS_PROBLEM_MAX])
{
    const char *path = options->unix_socket;
    char text[SOCKETS_TEXT_MAX];
    const char *wrong = NULL;

    if (!sockets_resolves(options->host, text)) {
        snprintf(problem, OPTIONS_PROBLEM_MAX, "%s", text);
        return false;
    }
    if (path && path[0] && !unix_socket_check(path, &wrong)) {
        explain_path(problem, path, wrong);
        return false;
    }
    return true;
}

uint32_t entrances_of(const struct entrances *entrances, uint32_t worker,
                      struct listener listeners[ENTRANCES_MAX])
{
    uint32_t count = 0;

    if (worker < entrances->own_count)
        listeners[count++] = (struct listener){.descriptor = entrances->own[worker]};
    for (uint32_t i = 0; worker == 0 && i < entrances->shared_count; i++)
        listeners[count++] = entrances->shared[i];
    return count;
}

void entrances_log(const struct entrances *entrances)
{
    struct listener listeners[ENTRANCES_MAX];
    uint32_t count = entrances_of(entrances, 0, listeners);
    char text[SOCKETS_TEXT_MAX];

    if (entrances->own_count == 0)
        log_line(LOG_INFO, "sockets of the service manager take the place of host and port", NULL);
    for (uint32_t i = 0; i < count; i++) {
        sockets_describe(listeners[i].descriptor, text);
        log_line(LOG_INFO, "listening", "addr", text, listeners[i].passed ? "from" : NULL,
                 "service-manager", NULL);
    }
}

void entrances_announce(struct entrances *entrances)
{
    struct listener listeners[ENTRANCES_MAX];
    uint32_t count = entrances_of(entrances, 0, listeners);

    for (uint32_t i = 0; i < count; i++) {
        struct drain_notice_name name = drain_notice_name_of(listeners[i].descriptor);
        int notice = drain_notice_announce(&name);
        char text[SOCKETS_TEXT_MAX];

        if (notice >= 0)
            continue;
        if (listeners[i].local && !listeners[i].passed)
            entrances->path_stays = true;
        sockets_describe(listeners[i].descriptor, text);
        log_line(LOG_WARN, "cannot announce draining: the next server fails instead of waiting",
                 "addr", text, "error", strerror(-notice), NULL);
    }
}

bool entrances_stays(const struct entrances *entrances, const struct listener *listener)
{
    return listener->local && !listener->passed && entrances->path_stays;
}

void entrances_hide(struct entrances *entrances)
{
    unix_socket_remove(&entrances->unix_socket);
}

void entrances_leave(struct entrances *entrances)
{
    entrances_hide(entrances);
    unix_socket_release(&entrances->unix_socket);
}
