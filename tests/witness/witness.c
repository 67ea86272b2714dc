/*
 * A witness of a dflockd: many clients on few keys, and a judge that knows what they did and heard.
 *
 *   witness port=N [seconds=5] [connections=64] [keys=4] [semaphores=0|1] [two_phase=0|1]
 *           [kills=0|1] [drains=0|1] [lease=30] [run_out=4] [hold_us=1000] [pause_us=1000]
 *           [last=30] [seed=N] [name=TEXT]
 *   witness selftest
 *
 * With kills, processes that do the same on the same keys are killed and started again all the
 * while. With drains, the server may be told to end: the witness ends then too. What was seen comes
 * as TAP, after a line of figures; the status is 0 when nothing was wrong.
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

#include "base/time_units.h"
#include "bench/judge.h"
#include "client.h"
#include "selftest.h"

#define MARGIN_NS (NS_PER_S / 20)

enum {
    VICTIMS = 6,
    VICTIM_CONNECTIONS = 4,
    KILL_EVERY_MS = 40,
    CLIENTS_DUE_US = 500,  /* between two looks at what clients do by themselves */
    REPORT_EVERY_S = 10,   /* a line of figures */
    DRAIN_QUIET_MS = 2000, /* nobody connected for so long: the server has ended */
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
    uint64_t kills;
    uint64_t drains;
    uint64_t lease;
    uint64_t run_out; /* claims in 10,000 whose short lease is left to run out */
    uint64_t last;    /* seconds that the answers to the last requests may take */
    uint64_t hold_us;
    uint64_t pause_us;
    uint64_t seed;
    uint64_t victim; /* set by ourselves for the processes that are to be killed */
    char name[64];
};

struct victims {
    pid_t processes[VICTIMS];
    uint64_t kill_ns;
    uint64_t killed;
};

static int usage(const char *problem)
{
    fprintf(stderr, "witness: %s; see the head of witness.c\n", problem);
    return 2;
}

static bool set(struct settings *settings, const char *argument)
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

/* ---- processes to be killed ---- */

static pid_t start_victim(const struct settings *settings, uint64_t seed)
{
    char texts[10][sizeof(settings->name) + 16];
    char *arguments[11] = {0};
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
    for (int i = 0; i < 10; i++)
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

static void kill_some(struct victims *victims, struct world *world, const struct settings *settings)
{
    pid_t *process = &victims->processes[world_random(world, VICTIMS)];

    if (victims->kill_ns > world->now_ns)
        return;
    victims->kill_ns = world->now_ns + KILL_EVERY_MS * NS_PER_MS;
    victims->killed += *process > 0;
    kill_victim(process);
    *process = start_victim(settings, world_random(world, 0) + victims->killed);
}

/* ---- the run ---- */

static void show_figures(const struct world *world, const struct victims *victims)
{
    const struct judge_counts *counts = judge_counts(world->judge);

    printf("# grants=%" PRIu64 " hand_overs=%" PRIu64 " overlaps=%" PRIu64 " pairs=%" PRIu64
           " fences=%" PRIu64 " answers=%" PRIu64 " run_out=%" PRIu64 " expiries=%" PRIu64
           " late_us=%" PRIu64 " expired=%" PRIu64 " vanished=%" PRIu64 " killed=%" PRIu64
           " refusals=%" PRIu64 " cut=%" PRIu64 " resets=%" PRIu64 "\n",
           counts->grants, counts->hand_overs, counts->overlaps, counts->pairs, counts->fences,
           counts->replies, world->run_out, counts->expiries, counts->late_ns / 1000,
           world->expired, world->vanished, victims->killed, world->refusals, world->cut,
           world->resets);
    fflush(stdout);
}

/* One look at sockets, and at times where it is time for that. */
static void turn(struct world *world, struct client **clients, uint64_t count, uint64_t *due_ns)
{
    struct epoll_event events[EVENTS_MAX];
    int ready = epoll_wait(world->epoll, events, EVENTS_MAX, 1);

    world->now_ns = world_clock();
    for (int i = 0; i < ready; i++)
        client_ready(events[i].data.ptr);
    world->now_ns = world_clock();
    if (world->now_ns < *due_ns)
        return;
    *due_ns = world->now_ns + CLIENTS_DUE_US * 1000ull;
    for (uint64_t i = 0; i < count; i++)
        client_due(clients[i]);
}

static void run(struct world *world, struct client **clients, const struct settings *settings,
                struct victims *victims)
{
    uint64_t due_ns = 0;
    uint64_t quiet_ns = world_clock();
    uint64_t end_ns = world_clock() + settings->seconds * NS_PER_S;
    uint64_t report_ns = world_clock() + REPORT_EVERY_S * NS_PER_S;

    while (world->now_ns < end_ns) {
        turn(world, clients, settings->connections, &due_ns);
        if (settings->kills)
            kill_some(victims, world, settings);
        if (world->busy || !world->drains)
            quiet_ns = world->now_ns;
        else if (world->now_ns - quiet_ns > DRAIN_QUIET_MS * NS_PER_MS)
            break;
        if (world->now_ns >= report_ns && !settings->victim) {
            report_ns += REPORT_EVERY_S * NS_PER_S;
            show_figures(world, victims);
        }
    }
    for (int i = 0; i < VICTIMS; i++)
        kill_victim(&victims->processes[i]);
    world->ending = true;
    end_ns = world_clock() + settings->last * NS_PER_S;
    while (world->busy && world->now_ns < end_ns)
        turn(world, clients, settings->connections, &due_ns);
}

static bool check_and_show(const struct world *world, const struct victims *victims)
{
    bool fine = true;

    judge_end(world->judge);
    show_figures(world, victims);
    printf("1..%d\n", JUDGE_RULES);
    for (int rule = 0; rule < JUDGE_RULES; rule++) {
        const char *problem = judge_first_violation(world->judge, (enum judge_rule)rule);

        printf("%s %d - %s\n", problem ? "not ok" : "ok", rule + 1,
               judge_rule_name((enum judge_rule)rule));
        if (problem)
            printf("# %" PRIu64 " times; first: %s\n", judge_counts(world->judge)->violations[rule],
                   problem);
        fine = fine && !problem;
    }
    return fine && judge_counts(world->judge)->grants > 0;
}

static int witness(const struct settings *settings)
{
    struct world world = {
        .name = settings->name,
        .locks = (uint32_t)settings->keys,
        .semaphores = settings->semaphores ? (uint32_t)settings->keys : 0,
        .two_phase = settings->two_phase,
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
    struct client **clients = calloc(settings->connections, sizeof(*clients));
    struct victims victims = {0};
    bool fine;

    if (!clients || !world.judge || world.epoll < 0)
        return usage("out of memory");
    for (uint32_t i = 0; i < world.semaphores; i++)
        judge_limit(world.judge, world.locks + i, i + 2);
    world.now_ns = world_clock();
    for (uint64_t i = 0; i < settings->connections; i++) {
        clients[i] = client_new(&world);
        if (!clients[i])
            return usage("out of memory");
    }
    run(&world, clients, settings, &victims);
    fine = check_and_show(&world, &victims);
    for (uint64_t i = 0; i < settings->connections; i++)
        client_free(clients[i]);
    free(clients);
    judge_free(world.judge);
    close(world.epoll);
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
        .seed = world_clock(),
    };

    if (count == 2 && !strcmp(arguments[1], "selftest"))
        return selftest();
    for (int i = 1; i < count; i++) {
        if (!set(&settings, arguments[i]))
            return usage(arguments[i]);
    }
    if (settings.port == 0 || settings.port > 65535 || settings.keys == 0 || settings.lease == 0 ||
        settings.connections == 0)
        return usage("port, keys, lease and connections are wanted");
    if (!settings.name[0])
        snprintf(settings.name, sizeof(settings.name), "witness-%" PRIu64, settings.seed);
    if (settings.victim)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    else
        printf("# seed=%" PRIu64 "\n", settings.seed);
    return witness(&settings);
}
