/*
 * Prepares an attack on a server, releases it, and measures other clients meanwhile.
 *
 *   attack NAME port=PORT pid=PID [SETTING=VALUE…]
 *
 * It prints JSON: the replies that it checked, the connections that the server closed, the
 * first problem, and the bystander's figures. The status is 0 without problems.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "attacks/loads.h"

static const struct {
    const char *name;
    const char *help;
    attack *run;
} ATTACKS[] = {
    {"backlogs", "waits that end together before 63 KiB of requests; kind=timeouts|grants",
     attack_backlogs},
    {"claims", "clients with many claims are killed; kind=slots|keys", attack_claims},
    {"closes", "a process with many connections is killed; kind=idle|blocked", attack_closes},
    {"connects", "connections that are opened at once", attack_connects},
    {"drain", "SIGTERM while a client waits for many keys, and others renew", attack_drain},
    {"expiries", "leases (claims) and waits (connections) that end together", attack_expiries},
    {"handshakes", "TLS handshakes that stay incomplete", attack_handshakes},
    {"stats", "`stats` of many keys by each connection; `silent` of them do not read",
     attack_stats},
    {"timeouts", "idle connections of a server with --read-timeout wait_s", attack_timeouts},
};
enum {
    ATTACKS_COUNT = sizeof(ATTACKS) / sizeof(*ATTACKS)
};

void result_fail(struct result *result, const char *problem, const char *detail)
{
    if (!result->problem[0])
        snprintf(result->problem, sizeof(result->problem), "%s: %.60s", problem, detail);
}

static int print_usage(void)
{
    fprintf(stderr, "attack NAME port=PORT pid=PID [connections=N] [claims=N] [wait_s=N] "
                    "[silent=N] [others=N] [settle_ms=N] [stop=0|1] [kind=WORD]\n");
    for (unsigned i = 0; i < ATTACKS_COUNT; i++)
        fprintf(stderr, "  %-12s%s\n", ATTACKS[i].name, ATTACKS[i].help);
    return 2;
}

static bool read_setting(struct settings *settings, const char *word)
{
    const char *value = strchr(word, '=');
    size_t length = value ? (size_t)(value - word) : 0;
    struct {
        const char *name;
        uint32_t *place;
    } numbers[] = {
        {"port", &settings->port},     {"pid", &settings->pid},
        {"claims", &settings->claims}, {"connections", &settings->connections},
        {"wait_s", &settings->wait_s}, {"silent", &settings->silent},
        {"others", &settings->others}, {"settle_ms", &settings->settle_ms},
        {"stop", &settings->stop},
    };

    if (!value++)
        return false;
    if (strncmp(word, "kind=", 5) == 0) {
        settings->kind = value;
        return true;
    }
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
        if (strlen(numbers[i].name) == length && strncmp(numbers[i].name, word, length) == 0) {
            *numbers[i].place = (uint32_t)strtoul(value, NULL, 10);
            return true;
        }
    }
    return false;
}

static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int count, char **arguments)
{
    struct settings settings = {
        .kind = "",
        .connections = 1000,
        .claims = 100000,
        .wait_s = 3,
        .others = 4,
        .settle_ms = 300,
    };
    struct result result = {.others = "null"};
    attack *run = NULL;

    for (unsigned i = 0; i < ATTACKS_COUNT && count > 1; i++)
        if (strcmp(ATTACKS[i].name, arguments[1]) == 0)
            run = ATTACKS[i].run;
    for (int i = 2; i < count; i++)
        if (!read_setting(&settings, arguments[i]))
            return print_usage();
    if (!run || !settings.port || !settings.pid)
        return print_usage();
    raise_descriptor_limit();
    run(&settings, &result);
    printf("{\"replies\": %" PRIu64 ", \"closed\": %" PRIu64 ", \"late_max_ms\": %.3f, "
           "\"seconds\": %.3f, \"problem\": \"%s\", \"others\": %s}\n",
           result.replies, result.closed, result.late_max_ms, result.seconds, result.problem,
           result.others);
    return result.problem[0] != 0;
}
