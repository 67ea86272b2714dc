#include "server/entrances.h"

#include <stdio.h>

#include "server/log.h"

static void explain_path(char problem[OPTIONS_PROBLEM_MAX], const char *path, const char *wrong)
{
    snprintf(problem, OPTIONS_PROBLEM_MAX, "--unix-socket: cannot listen on '%.200s': %s", path,
             wrong);
}

static bool open_path(struct entrances *entrances, const struct options *options,
                      char problem[OPTIONS_PROBLEM_MAX])
{
    const char *path = options->unix_socket;
    const char *wrong = NULL;
    int listener;

    if (!path || !path[0])
        return true;
    listener = unix_socket_listen(&entrances->unix_socket, path, (mode_t)options->unix_socket_mode,
                                  &wrong);
    if (listener < 0) {
        explain_path(problem, path, wrong);
        return false;
    }
    entrances->shared[entrances->shared_count++] =
        (struct listener){.descriptor = listener, .local = true};
    return true;
}

bool entrances_open(struct entrances *entrances, const struct options *options, uint32_t workers,
                    char problem[OPTIONS_PROBLEM_MAX])
{
    char text[SOCKETS_TEXT_MAX];
    int passed = activation_take(entrances->shared, text);

    if (passed < 0 || (passed == 0 && sockets_listen(options->host, (uint16_t)options->port,
                                                     entrances->own, workers, text) < 0)) {
        snprintf(problem, OPTIONS_PROBLEM_MAX, "%s", text);
        return false;
    }
    entrances->shared_count = (uint32_t)passed;
    entrances->own_count = passed == 0 ? workers : 0;
    return open_path(entrances, options, problem);
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

void entrances_hide(struct entrances *entrances)
{
    unix_socket_remove(&entrances->unix_socket);
}
