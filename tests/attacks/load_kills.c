/* A process with many connections is killed, so that all close at once. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attacks/crowd.h"
#include "attacks/loads.h"
#include "attacks/stage.h"

enum {
    SLOTS_MAX = 1048576
};

/* ---- what the process does before ---- */

static size_t make_wait(char text[REQUEST_MAX], const struct crowd *crowd,
                        const struct member *member, uint32_t index)
{
    (void)crowd;
    (void)member;
    (void)index;
    return (size_t)snprintf(text, REQUEST_MAX, "l\nk\n3600\n");
}

static const struct script WAITS = {make_wait, is_ok};

static size_t make_own_key(char text[REQUEST_MAX], const struct crowd *crowd,
                           const struct member *member, uint32_t index)
{
    (void)crowd;
    return (size_t)snprintf(text, REQUEST_MAX, "l\nk%u-%u\n0 3600\n", member->number, index);
}

static const struct script OWN_KEYS = {make_own_key, is_ok};

static size_t make_slot(char text[REQUEST_MAX], const struct crowd *crowd,
                        const struct member *member, uint32_t index)
{
    (void)crowd;
    (void)index;
    return (size_t)snprintf(text, REQUEST_MAX, "sl\ns%u\n0 %u 3600\n", member->number, SLOTS_MAX);
}

static const struct script SLOTS = {make_slot, is_ok};

static void prepare_claims(struct crowd *crowd)
{
    bool keys = strcmp(crowd->settings->kind, "keys") == 0;

    crowd_exchange(crowd, keys ? &OWN_KEYS : &SLOTS, ALL_REPLIED,
                   crowd->settings->claims / crowd->count);
}

static void prepare_connections(struct crowd *crowd)
{
    if (strcmp(crowd->settings->kind, "blocked") == 0)
        crowd_exchange(crowd, &WAITS, ALL_SENT, 1);
    else
        crowd_exchange(crowd, &PINGS, ALL_REPLIED, 1);
}

/* ---- the process ---- */

typedef void prepare(struct crowd *crowd);

_Noreturn static void run_victim(const struct settings *settings, prepare *prepare_crowd, int done)
{
    struct result result = {0};
    struct crowd crowd = crowd_create(settings, &result, settings->connections);

    crowd_connect(&crowd);
    prepare_crowd(&crowd);
    if (write(done, result.problem, strlen(result.problem) + 1) < 0)
        _exit(2);
    for (;;)
        pause();
}

static void kill_prepared(const struct settings *settings, struct result *result,
                          prepare *prepare_crowd)
{
    char problem[sizeof(result->problem)] = "it has ended";
    uint64_t begin_ns;
    int done[2];
    pid_t victim;

    if (pipe(done) < 0 || (victim = fork()) < 0) {
        perror("attack");
        exit(2);
    }
    if (victim == 0)
        run_victim(settings, prepare_crowd, done[1]);
    close(done[1]);
    if (read(done[0], problem, sizeof(problem)) <= 0 || problem[0])
        result_fail(result, "process", problem);
    stage_open(settings, "");
    begin_ns = clock_ns();
    stage_begin();
    kill(victim, SIGKILL);
    waitpid(victim, NULL, 0);
    close(done[0]);
    result->seconds = seconds_since(begin_ns);
    stage_close(settings, result);
}

void attack_claims(const struct settings *settings, struct result *result)
{
    kill_prepared(settings, result, prepare_claims);
}

void attack_closes(const struct settings *settings, struct result *result)
{
    int holder = hold_key(settings);

    kill_prepared(settings, result, prepare_connections);
    close(holder);
}
