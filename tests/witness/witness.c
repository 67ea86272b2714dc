/*
 * Tests a dflockd with many clients on few keys and a judge of their requests and replies.
 *
 *   witness port=N [seconds=5] [connections=64] [keys=4] [semaphores=0|1] [two_phase=0|1]
 *           [shared=0] [moves=0|1] [revokes=0] [revoke_us=2000] [kills=0|1] [drains=0|1]
 *           [lease=30] [run_out=4] [hold_us=1000] [pause_us=1000] [last=30] [seed=N] [name=TEXT]
 *   witness selftest
 *
 * Of 1000 requests for locks, `shared` are shared. With moves, clients take holds of others by
 * `own`. `revokes` administrators revoke random grants; administrator.h has their secret.
 *
 * With kills, other processes use the same keys, and are killed and restarted all the time. With
 * drains, the server may end, and restart on its port; the witness ends when no server runs. It
 * prints a line of figures and TAP. The status is 0 without violations.
 */
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "administrator.h"
#include "base/time_units.h"
#include "bench/judge.h"
#include "client.h"
#include "selftest.h"

#define MARGIN_NS (NS_PER_S / 20)

enum {
    VICTIMS = 6,
    VICTIM_CONNECTIONS = 4,
    KILL_EVERY_MS = 40,
    CLIENTS_DUE_US = 500,  /* between two calls of client_due */
    REPORT_EVERY_S = 10,   /* between lines of figures */
    DRAIN_QUIET_MS = 2000, /* without any connection: the server has ended */
    ADMINISTRATORS_MAX = 8,
    EVENTS_MAX = 128
};

extern char **environ;

struct settings {
    uint64_t port;
    uint64_t seconds;
    uint64_t connections;
    uint64_t keys;
    uint64_t semaphores;
    uint64_t two_phase;
    uint64_t shared;
    uint64_t moves;
    uint64_t revokes; /* administrators */
    uint64_t revoke_us;
    uint64_t kills;
    uint64_t drains;
    uint64_t lease;
    uint64_t run_out; /* claims in 10,000 whose short lease expires */
    uint64_t last;    /* seconds for the replies to the last requests */
    uint64_t hold_us;
    uint64_t pause_us;
    uint64_t seed;
    uint64_t victim; /* set for the processes to be killed */
    char name[64];
};

struct victims {
    pid_t processes[VICTIMS];
    uint64_t kill_ns;
    uint64_t killed;
};

static int print_usage(const char *problem)
{
    fprintf(stderr, "witness: %s; see the top of witness.c\n", problem);
    return 2;
}

static bool set_option(struct settings *settings, const char *argument)
{
    const struct {
        const char *name;
        uint64_t *value;
    } numbers[] = {
        {"port", &settings->port},
        {"seconds", &settings->seconds},
        {"connections", &settings->connections},
        {"keys", &settings->keys},
        {"semaphores", &settings->semaphores},
        {"two_phase", &settings->two_phase},
        {"shared", &settings->shared},
        {"moves", &settings->moves},
        {"revokes", &settings->revokes},
        {"revoke_us", &settings->revoke_us},
        {"kills", &settings->kills},
        {"drains", &settings->drains},
        {"lease", &settings->lease},
        {"run_out", &settings->run_out},
        {"last", &settings->last},
        {"hold_us", &settings->hold_us},
        {"pause_us", &settings->pause_us},
        {"seed", &settings->seed},
        {"victim", &settings->victim},
    };
    const char *value = strchr(argument, '=');
    size_t length = value ? (size_t)(value - argument) : 0;
    char *end;

    if (!value || !*++value)
        return false;
    if (length == 4 && !strncmp(argument, "name", 4))
        return snprintf(settings->name, sizeof(settings->name), "%s", value) <
               (int)sizeof(settings->name);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (strlen(numbers[i].name) == length && !strncmp(argument, numbers[i].name, length)) {
            *numbers[i].value = strtoull(value, &end, 10);
            return !*end;
        }
    }
    return false;
}

/* ---- processes to kill ---- */

static pid_t start_victim(const struct settings *settings, uint64_t seed)
{
    char texts[11][sizeof(settings->name) + 16];
    char *arguments[12] = {0};
    pid_t process = -1;
    size_t size = sizeof(texts[0]);

    snprintf(texts[0], size, "witness");
    snprintf(texts[1], size, "port=%" PRIu64, settings->port);
    snprintf(texts[2], size, "keys=%" PRIu64, settings->keys);
    snprintf(texts[3], size, "semaphores=%" PRIu64, settings->semaphores);
    snprintf(texts[4], size, "two_phase=%" PRIu64, settings->two_phase);
    snprintf(texts[5], size, "name=%s", settings->name);
    snprintf(texts[6], size, "seed=%" PRIu64, seed);
    snprintf(texts[7], size, "connections=%d", VICTIM_CONNECTIONS);
    snprintf(texts[8], size, "seconds=86400");
    snprintf(texts[9], size, "victim=1");
    snprintf(texts[10], size, "shared=%" PRIu64, settings->shared);
    for (int i = 0; i < 11; i++)
        arguments[i] = texts[i];
    if (posix_spawn(&process, "/proc/self/exe", NULL, NULL, arguments, environ) != 0)
        return -1;
    return process;
}

static void kill_victim(pid_t *process)
{
    if (*process > 0) {
        kill(*process, SIGKILL);
        waitpid(*process, NULL, 0);
    }
    *process = -1;
}

static void kill_some(struct victims *victims, struct witness *witness,
                      const struct settings *settings)
{
    pid_t *process = &victims->processes[witness_random(witness, VICTIMS)];

    if (victims->kill_ns > witness->now_ns)
        return;
    victims->kill_ns = witness->now_ns + KILL_EVERY_MS * NS_PER_MS;
    victims->killed += *process > 0;
    kill_victim(process);
    *process = start_victim(settings, witness_random(witness, 0) + victims->killed);
}

/* ---- the run ---- */

static void show_figures(const struct witness *witness, const struct victims *victims)
{
    const struct judge_counts *counts = judge_counts(witness->judge);

    printf("# grants=%" PRIu64 " hand_overs=%" PRIu64 " overlaps=%" PRIu64 " pairs=%" PRIu64
           " fences=%" PRIu64 " answers=%" PRIu64 " run_out=%" PRIu64 " run_outs=%" PRIu64
           " late_us=%" PRIu64 " expired=%" PRIu64 " vanished=%" PRIu64 " killed=%" PRIu64
           " refusals=%" PRIu64 " cut=%" PRIu64 " resets=%" PRIu64 " shared=%" PRIu64
           " moved=%" PRIu64 " revocations=%" PRIu64 "\n",
           counts->grants, counts->hand_overs, counts->overlaps, counts->pairs, counts->fences,
           counts->replies, witness->run_out, counts->expiries, counts->late_ns / 1000,
           witness->expired, witness->vanished, victims->killed, witness->refusals, witness->cut,
           witness->resets, witness->shared, witness->moved, counts->revocations);
    fflush(stdout);
}

/* Handles ready sockets and due actions. */
static void run_turn(struct witness *witness, struct administrator **administrators,
                     uint64_t *due_ns)
{
    struct epoll_event events[EVENTS_MAX];
    int ready = epoll_wait(witness->epoll, events, EVENTS_MAX, 1);

    witness->now_ns = witness_clock_ns();
    for (int i = 0; i < ready; i++)
        client_ready(events[i].data.ptr);
    witness->now_ns = witness_clock_ns();
    for (int i = 0; i < ADMINISTRATORS_MAX && administrators[i]; i++)
        administrator_turn(administrators[i]);
    if (witness->now_ns < *due_ns)
        return;
    *due_ns = witness->now_ns + CLIENTS_DUE_US * 1000ull;
    for (uint64_t i = 0; i < witness->client_count; i++)
        client_due(witness->clients[i]);
}

static void run_clients(struct witness *witness, struct administrator **administrators,
                        const struct settings *settings, struct victims *victims)
{
    uint64_t due_ns = 0;
    uint64_t quiet_ns = witness_clock_ns();
    uint64_t end_ns = witness_clock_ns() + settings->seconds * NS_PER_S;
    uint64_t report_ns = witness_clock_ns() + REPORT_EVERY_S * NS_PER_S;

    while (witness->now_ns < end_ns) {
        run_turn(witness, administrators, &due_ns);
        if (settings->kills)
            kill_some(victims, witness, settings);
        if (witness->busy || !witness->drains)
            quiet_ns = witness->now_ns;
        else if (witness->now_ns - quiet_ns > DRAIN_QUIET_MS * NS_PER_MS)
            break;
        if (witness->now_ns >= report_ns && !settings->victim) {
            report_ns += REPORT_EVERY_S * NS_PER_S;
            show_figures(witness, victims);
        }
    }
    for (int i = 0; i < VICTIMS; i++)
        kill_victim(&victims->processes[i]);
    witness->ending = true;
    end_ns = witness_clock_ns() + settings->last * NS_PER_S;
    while (witness->busy && witness->now_ns < end_ns)
        run_turn(witness, administrators, &due_ns);
}

static bool check_and_show(const struct witness *witness, const struct victims *victims)
{
    bool fine = true;

    judge_end(witness->judge);
    show_figures(witness, victims);
    printf("1..%d\n", JUDGE_RULES);
    for (int rule = 0; rule < JUDGE_RULES; rule++) {
        const char *problem = judge_first_violation(witness->judge, (enum judge_rule)rule);

        printf("%s %d - %s\n", problem ? "not ok" : "ok", rule + 1,
               judge_rule_name((enum judge_rule)rule));
        if (problem)
            printf("# %" PRIu64 " times; first: %s\n",
                   judge_counts(witness->judge)->violations[rule], problem);
        fine = fine && !problem;
    }
    return fine && judge_counts(witness->judge)->grants > 0;
}

static int test_server(const struct settings *settings)
{
    struct witness witness = {
        .name = settings->name,
        .locks = (uint32_t)settings->keys,
        .semaphores = settings->semaphores ? (uint32_t)settings->keys : 0,
        .two_phase = settings->two_phase,
        .shared_in_1000 = settings->shared,
        .moves = settings->moves,
        .revoke_max_us = settings->revoke_us,
        .client_count = settings->connections,
        .lease_s = settings->lease,
        .run_out_in_10000 = settings->run_out,
        .hold_max_us = settings->hold_us,
        .pause_max_us = settings->pause_us,
        .drains = settings->drains || settings->victim,
        .port = (uint16_t)settings->port,
        .chance = settings->seed,
        .epoll = epoll_create1(EPOLL_CLOEXEC),
        .judge = judge_new((uint32_t)settings->keys * 2, MARGIN_NS),
    };
    struct administrator *administrators[ADMINISTRATORS_MAX] = {0};
    struct victims victims = {0};
    bool fine;

    witness.clients = calloc(settings->connections, sizeof(*witness.clients));
    if (!witness.clients || !witness.judge || witness.epoll < 0)
        return print_usage("out of memory");
    for (uint32_t i = 0; i < witness.semaphores; i++)
        judge_limit(witness.judge, witness.locks + i, witness_limit(&witness, witness.locks + i));
    witness.now_ns = witness_clock_ns();
    for (uint64_t i = 0; i < settings->connections; i++) {
        witness.clients[i] = client_new(&witness);
        if (!witness.clients[i])
            return print_usage("out of memory");
    }
    for (uint64_t i = 0; i < settings->revokes && i < ADMINISTRATORS_MAX; i++) {
        administrators[i] = administrator_new(&witness);
        if (!administrators[i])
            return print_usage("out of memory");
    }
    run_clients(&witness, administrators, settings, &victims);
    fine = check_and_show(&witness, &victims);
    for (uint64_t i = 0; i < settings->connections; i++)
        client_free(witness.clients[i]);
    for (int i = 0; i < ADMINISTRATORS_MAX; i++)
        administrator_free(administrators[i]);
    free(witness.clients);
    judge_free(witness.judge);
    close(witness.epoll);
    return fine ? 0 : 1;
}

int main(int count, char **arguments)
{
    struct settings settings = {
        .seconds = 5,
        .connections = 64,
        .keys = 4,
        .lease = 30,
        .run_out = 4,
        .last = 30,
        .hold_us = 1000,
        .pause_us = 1000,
        .revoke_us = 2000,
        .seed = witness_clock_ns(),
    };

    if (count == 2 && !strcmp(arguments[1], "selftest"))
        return selftest();
    for (int i = 1; i < count; i++) {
        if (!set_option(&settings, arguments[i]))
            return print_usage(arguments[i]);
    }
    if (settings.port == 0 || settings.port > 65535 || settings.keys == 0 || settings.lease == 0 ||
        settings.connections == 0)
        return print_usage("port, keys, lease and connections must be set");
    if (!settings.name[0])
        snprintf(settings.name, sizeof(settings.name), "witness-%" PRIu64, settings.seed);
    if (settings.victim)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    else
        printf("# seed=%" PRIu64 "\n", settings.seed);
    return test_server(&settings);
}
