/*
 * Two servers must never serve one address at the same time. They would have two lock tables, and
 * two clients could hold the same lock. A server serves until its process ends: holders may renew
 * and release until then, and grants may be in transit. So the next server must not serve before
 * the kernel has ended the first process. This holds in each order of events:
 *
 * - TCP: a guard (os/sockets.h) keeps the port bound from the start until the process ends. Until
 *   then no other server can listen. The announcement only decides whether the next server waits or
 *   fails. It fails if it looks before the first announces, or if the first ends between its
 *   attempt and its look.
 * - A path: the file proves nothing, since the draining server removes it. The first server
 *   announces, then refuses connections, then removes the file. The next server probes the path,
 *   then looks for the announcement, then listens. If draining has freed the path, the announcement
 *   exists until the process ends. If the first begins to drain after the probe found it listening,
 *   the next server probes again or fails. An announcement is invisible in other network namespaces
 *   and not trusted from other users. For these cases the first server holds a lock on a file
 *   beside the socket until its process ends, and the next server fails.
 * - If another process has the name of the announcement, the first server cannot announce. It then
 *   keeps its path open without accepting until it ends. The next server finds it alive and fails.
 * - Two servers wait for one: both continue when it ends. One gets the TCP port, or the lock on the
 *   directory (os/unix_socket.c). The other fails, or waits for the new server.
 * - A second signal, a crash or SIGKILL ends the process. The kernel ends its threads before it
 *   closes its sockets: when the announcement hangs up, the first server no longer acts.
 * - Passed sockets belong to the service manager, which starts no second server while the first
 *   runs. If an administrator starts one while the first drains, it waits for the announcement
 *   before it accepts. While the first serves, nothing prevents the second from serving.
 * - The server opens the fence file after all addresses (main.c). Otherwise it would find the file
 *   in use when it should wait.
 *
 * Only root, our own user and the owner of the path's directory can make the next server wait. If
 * another user takes the name of an announcement, the effects are those above.
 */
#include "server/listeners.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "server/log.h"

static void listeners_explain_path(char problem[OPTIONS_PROBLEM_MAX], const struct options *options,
                                   const char *wrong)
{
    snprintf(problem, OPTIONS_PROBLEM_MAX, "%s: cannot listen on '%.200s': %s",
             options->sources[OPTIONS_UNIX_SOCKET], options->unix_socket, wrong);
}

static const char *listeners_suggest_host(const char *host)
{
    if (host[0] == '/' || strncmp(host, "unix:", strlen("unix:")) == 0)
        return "; --unix-socket gives the path of a Unix socket";
    if (host[0] == '[')
        return "; write an IPv6 address without brackets, and the port with --port";
    if (strchr(host, ':'))
        return "; give a host without a port, which --port gives";
    return "; give a name or an address of this machine, or 0.0.0.0 or :: for all";
}

/* `error` is that of sockets_listen or sockets_check: -EINVAL if the host has no address. */
static void listeners_explain_tcp(char problem[OPTIONS_PROBLEM_MAX], const struct options *options,
                                  int error, const char *wrong)
{
    bool port = error == -EADDRINUSE || error == -EACCES;

    snprintf(problem, OPTIONS_PROBLEM_MAX, "%s: %s%s",
             options->sources[port ? OPTIONS_PORT : OPTIONS_HOST], wrong,
             error == -EINVAL ? listeners_suggest_host(options->host) : "");
}

/* The findings of one attempt to listen. */
struct listeners_attempt {
    struct drain_notice draining; /* its descriptor is -1 if there is no draining server */
    char address[SOCKETS_TEXT_MAX];
    char *problem; /* of OPTIONS_PROBLEM_MAX bytes */
};

/* Returns whether no server drains under this name. If not, sets members of `attempt`. */
static bool listeners_is_drained(struct listeners_attempt *attempt,
                                 const struct drain_notice_name *name)
{
    switch (drain_notice_find(name, &attempt->draining)) {
    case DRAIN_NOTICE_NONE:
        return true;
    case DRAIN_NOTICE_FOUND:
        return false;
    case DRAIN_NOTICE_UNKNOWN:
        snprintf(attempt->problem, OPTIONS_PROBLEM_MAX,
                 "cannot determine whether a draining server listened on %.300s", attempt->address);
        return false;
    }
    return false;
}

static bool listeners_open_path(struct listeners *listeners, const struct options *options,
                                struct listeners_attempt *attempt)
{
    const char *path = options->unix_socket;
    const char *wrong = NULL;
    int listener;

    if (!path || !path[0])
        return true;
    snprintf(attempt->address, sizeof(attempt->address), "unix:%s", path);
    listener = unix_socket_listen(&listeners->unix_socket, path, (mode_t)options->unix_socket_mode,
                                  &attempt->draining, &wrong);
    if (listener < 0) {
        listeners_explain_path(attempt->problem, options, wrong);
        return false;
    }
    listeners->shared[listeners->shared_count++] =
        (struct listener){.descriptor = listener, .local = true};
    return true;
}

/* Checks before the server listens, so that no client waits while the server waits. */
static bool listeners_path_is_drained(const struct options *options,
                                      struct listeners_attempt *attempt)
{
    struct drain_notice_name name;

    if (!options->unix_socket || !options->unix_socket[0])
        return true;
    name = drain_notice_name_of_path(options->unix_socket);
    snprintf(attempt->address, sizeof(attempt->address), "unix:%s", options->unix_socket);
    return listeners_is_drained(attempt, &name);
}

static bool listeners_adopt_passed(struct listeners *listeners, struct listeners_attempt *attempt)
{
    int passed = activation_take(listeners->shared, attempt->problem);

    if (passed < 0)
        return false;
    listeners->shared_count = (uint32_t)passed;
    for (int i = 0; i < passed; i++) {
        struct drain_notice_name name = drain_notice_name_of(listeners->shared[i].descriptor);

        sockets_describe(listeners->shared[i].descriptor, attempt->address);
        if (!listeners_is_drained(attempt, &name))
            return false;
    }
    return true;
}

/*
 * The address is in use. Looks for a draining server that has it. A server on all addresses also
 * occupies each single address.
 */
static void listeners_find_tcp(const struct options *options, struct listeners_attempt *attempt)
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

static bool listeners_open_tcp(struct listeners *listeners, const struct options *options,
                               uint32_t workers, struct listeners_attempt *attempt)
{
    char text[SOCKETS_TEXT_MAX];
    int error =
        sockets_listen(options->host, (uint16_t)options->port, listeners->own, workers, text);

    if (error == -EADDRINUSE)
        listeners_find_tcp(options, attempt);
    if (error < 0) {
        listeners_explain_tcp(attempt->problem, options, error, text);
        return false;
    }
    listeners->own_count = workers;
    listeners->guard = sockets_guard(listeners->own[0]);
    if (listeners->guard < 0)
        snprintf(attempt->problem, OPTIONS_PROBLEM_MAX, "cannot keep port %u: %s",
                 (unsigned)options->port, strerror(-listeners->guard));
    return listeners->guard >= 0;
}

static bool listeners_try(struct listeners *listeners, const struct options *options,
                          uint32_t workers, struct listeners_attempt *attempt)
{
    return listeners_adopt_passed(listeners, attempt) &&
           listeners_path_is_drained(options, attempt) &&
           (listeners->shared_count > 0 ||
            listeners_open_tcp(listeners, options, workers, attempt)) &&
           listeners_open_path(listeners, options, attempt);
}

/* Closes the sockets of an attempt. Passed sockets stay open for the next attempt. */
static void listeners_close(struct listeners *listeners)
{
    for (uint32_t i = 0; i < listeners->own_count; i++)
        close(listeners->own[i]);
    listeners->own_count = 0;
    if (listeners->guard >= 0)
        close(listeners->guard);
    listeners->guard = -1;
}

static enum drain_notice_end listeners_wait(const struct listeners_attempt *attempt, int signals)
{
    enum drain_notice_end end;
    char pid[16];

    snprintf(pid, sizeof(pid), "%ld", (long)attempt->draining.pid);
    log_line(LOG_INFO, "waiting for a draining server", "addr", attempt->address, "pid", pid, NULL);
    end = drain_notice_wait(&attempt->draining, signals);
    close(attempt->draining.descriptor);
    return end;
}

enum listeners_result listeners_open(struct listeners *listeners, const struct options *options,
                                     uint32_t workers, int signals,
                                     char problem[OPTIONS_PROBLEM_MAX])
{
    listeners->guard = -1;
    for (;;) {
        struct listeners_attempt attempt = {.draining.descriptor = -1, .problem = problem};

        if (listeners_try(listeners, options, workers, &attempt))
            return LISTENERS_OPEN;
        listeners_close(listeners);
        if (attempt.draining.descriptor < 0)
            return LISTENERS_FAILED;
        if (listeners_wait(&attempt, signals) == DRAIN_NOTICE_STOPPED)
            return LISTENERS_STOPPED;
    }
}

bool listeners_check(const struct options *options, char problem[OPTIONS_PROBLEM_MAX])
{
    const char *path = options->unix_socket;
    char text[SOCKETS_TEXT_MAX];
    const char *wrong = NULL;
    int error = sockets_check(options->host, (uint16_t)options->port, text);

    if (error < 0) {
        listeners_explain_tcp(problem, options, error, text);
        return false;
    }
    if (path && path[0] && !unix_socket_check(path, &wrong)) {
        listeners_explain_path(problem, options, wrong);
        return false;
    }
    return true;
}

uint32_t listeners_of_worker(const struct listeners *listeners, uint32_t worker,
                             struct listener list[LISTENERS_MAX])
{
    uint32_t count = 0;

    if (worker < listeners->own_count)
        list[count++] = (struct listener){.descriptor = listeners->own[worker]};
    for (uint32_t i = 0; worker == 0 && i < listeners->shared_count; i++)
        list[count++] = listeners->shared[i];
    return count;
}

void listeners_log(const struct listeners *listeners)
{
    struct listener list[LISTENERS_MAX];
    uint32_t count = listeners_of_worker(listeners, 0, list);
    char text[SOCKETS_TEXT_MAX];

    if (listeners->own_count == 0)
        log_line(LOG_INFO, "sockets of the service manager take the place of host and port", NULL);
    for (uint32_t i = 0; i < count; i++) {
        sockets_describe(list[i].descriptor, text);
        log_line(LOG_INFO, "listening", "addr", text, list[i].passed ? "from" : NULL,
                 "service-manager", NULL);
    }
}

void listeners_announce(struct listeners *listeners)
{
    struct listener list[LISTENERS_MAX];
    uint32_t count = listeners_of_worker(listeners, 0, list);

    for (uint32_t i = 0; i < count; i++) {
        struct drain_notice_name name = drain_notice_name_of(list[i].descriptor);
        int notice = drain_notice_announce(&name);
        char text[SOCKETS_TEXT_MAX];

        if (notice >= 0)
            continue;
        if (list[i].local && !list[i].passed)
            listeners->path_stays = true;
        sockets_describe(list[i].descriptor, text);
        log_line(LOG_WARN, "cannot announce draining: the next server fails instead of waiting",
                 "addr", text, "error", strerror(-notice), NULL);
    }
}

bool listeners_must_stay(const struct listeners *listeners, const struct listener *listener)
{
    return listener->local && !listener->passed && listeners->path_stays;
}

void listeners_hide(struct listeners *listeners)
{
    unix_socket_remove(&listeners->unix_socket);
}

void listeners_leave(struct listeners *listeners)
{
    listeners_hide(listeners);
    unix_socket_release(&listeners->unix_socket);
}
