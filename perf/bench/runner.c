#include "bench/runner.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include "base/list.h"
#include "base/time_units.h"
#include "os/clock.h"
#include "os/ring.h"

enum {
    LATE_NS = 1000000, /* a round of --rate that begins so much later is late */
    DRAIN_S = 2,       /* for what is under way at the end of a load */
    CHECK_DRAIN_S = 5, /* beside the time-out: then all must be answered */
    SILENCE_S = 10     /* beside the time-out: the server does not answer any more */
};

/* ---- set up ---- */

static bool allocate(struct runner *runner)
{
    const struct settings *settings = runner->shared->settings;
    uint64_t clients = settings->workers / runner->shared->count +
                       (runner->number < settings->workers % runner->shared->count);
    uint64_t rounds = clients * settings->depth;

    runner->count = (uint32_t)clients;
    runner->clients = calloc(clients + 1, sizeof(*runner->clients));
    runner->rounds = calloc(rounds + 1, sizeof(*runner->rounds));
    runner->requests = calloc(rounds + 1, client_request_bytes(settings));
    return runner->clients && runner->rounds && runner->requests && tally_init(&runner->crew.tally);
}

static void make_client(struct runner *runner, uint32_t place)
{
    const struct settings *settings = runner->shared->settings;
    struct client *client = &runner->clients[place];
    uint32_t number = runner->number + place * runner->shared->count;

    client->crew = &runner->crew;
    client->number = number;
    client->address = &settings->addresses[number % settings->address_count];
    client->links = &runner->crew.links.links[place * settings->connections];
    client->rounds = &runner->rounds[place * settings->depth];
    client->request = runner->requests + place * settings->depth * client_request_bytes(settings);
    for (uint32_t i = 0; i < settings->connections; i++)
        client->links[i].owner = client;
}

static bool set_up(struct runner *runner)
{
    struct runner_shared *shared = runner->shared;
    struct crew *crew = &runner->crew;
    int error;

    if (!allocate(runner)) {
        snprintf(runner->problem, TALK_PROBLEM_MAX, "out of memory");
        return false;
    }
    crew->settings = shared->settings;
    crew->speech = shared->speech;
    crew->watch = shared->watch;
    crew->random.state = shared->settings->seed + runner->number;
    crew->links.tls = shared->tls;
    crew->links.on_line = client_hear;
    crew->links.on_down = client_lose;
    list_init(&crew->free);
    list_init(&crew->holding);
    error = links_open(&crew->links, runner->count * (uint32_t)shared->settings->connections);
    if (error < 0) {
        snprintf(runner->problem, TALK_PROBLEM_MAX, "%s", ring_explain(error));
        return false;
    }
    for (uint32_t i = 0; i < runner->count; i++) {
        make_client(runner, i);
        if (!client_set_up(&runner->clients[i], runner->problem))
            return false;
    }
    return true;
}

/* ---- when rounds begin ---- */

/* When client `place` of this thread may begin: all at once, or one after the other. */
static uint64_t arrival_ns(const struct runner *runner, uint32_t place)
{
    const struct phase *phase = &runner->shared->phase;

    return phase->begin_ns + phase->ramp_ns / runner->count * place;
}

static void let_arrive(struct runner *runner, uint64_t now_ns)
{
    while (runner->arrived < runner->count && arrival_ns(runner, runner->arrived) <= now_ns) {
        struct client *client = &runner->clients[runner->arrived++];

        if (client->state == CLIENT_FREE)
            list_push_back(&runner->crew.free, &client->link);
    }
}

/* Nanoseconds between two batches of --rate in this thread. */
static double pace_ns(const struct runner *runner)
{
    const struct settings *settings = runner->shared->settings;

    return 1e9 * (double)settings->depth * runner->shared->count / (double)settings->rate;
}

/* When the next batch of --rate should begin: the threads take turns. */
static uint64_t start_ns(const struct runner *runner)
{
    double turn = (double)runner->number / runner->shared->count;

    return runner->shared->phase.begin_ns +
           (uint64_t)(((double)runner->next_start + turn) * pace_ns(runner));
}

static struct client *first_free(const struct runner *runner)
{
    struct list_link *link = list_first(&runner->crew.free);

    return link ? CONTAINER_OF(link, struct client, link) : NULL;
}

/* Each free client goes on with its next rounds, or has done them all. */
static void start_closed(struct runner *runner, uint64_t now_ns)
{
    const struct phase *phase = &runner->shared->phase;
    struct client *client;

    while ((client = first_free(runner))) {
        if (now_ns >= phase->until_ns || (phase->rounds && client->rounds_done >= phase->rounds)) {
            list_remove(&client->link);
            runner->retired++;
        } else {
            client_start(client, clock_monotonic_ns());
        }
    }
}

/* What is left behind from before the window is given up when it begins. */
static void forget_warmup(struct runner *runner, uint64_t now_ns)
{
    const struct phase *phase = &runner->shared->phase;
    uint64_t due_ns = start_ns(runner);

    if (now_ns < phase->window_start_ns || due_ns >= phase->window_start_ns)
        return;
    runner->next_start +=
        (uint64_t)ceil((double)(phase->window_start_ns - due_ns) / pace_ns(runner));
}

/* What should have begun by now begins, as far as there are free clients. */
static void start_open(struct runner *runner, uint64_t now_ns)
{
    const struct phase *phase = &runner->shared->phase;
    struct crew *crew = &runner->crew;
    struct client *client;

    forget_warmup(runner, now_ns);
    while (now_ns < phase->until_ns && start_ns(runner) <= now_ns &&
           (client = first_free(runner))) {
        uint64_t due_ns = start_ns(runner);

        runner->next_start++;
        if (now_ns - due_ns > LATE_NS && due_ns >= phase->window_start_ns)
            crew->tally.late += runner->shared->settings->depth;
        client_start(client, due_ns);
    }
}

static void end_holds(struct runner *runner, uint64_t now_ns)
{
    struct list_link *link;

    while ((link = list_first(&runner->crew.holding))) {
        struct client *client = CONTAINER_OF(link, struct client, link);

        if (client->due_ns > now_ns)
            return;
        client_go_on(client);
    }
}

/* ---- a phase ---- */

/* How long after its end a phase waits for what is under way. */
static uint64_t drain_ns(const struct settings *settings)
{
    if (settings->check)
        return (settings->timeout_s + CHECK_DRAIN_S) * NS_PER_S;
    return DRAIN_S * NS_PER_S + settings->hold_us * 1000;
}

/* When the phase is given up, whatever is under way. */
static uint64_t give_up_ns(const struct runner *runner)
{
    const struct settings *settings = runner->shared->settings;
    const struct phase *phase = &runner->shared->phase;
    uint64_t heard_ns = runner->crew.links.heard_ns;

    if (phase->until_ns != UINT64_MAX)
        return phase->until_ns + drain_ns(settings);
    if (heard_ns < phase->begin_ns)
        heard_ns = phase->begin_ns;
    return heard_ns + phase->ramp_ns + (settings->timeout_s + SILENCE_S) * NS_PER_S +
           settings->hold_us * 1000;
}

static uint64_t earlier(uint64_t one_ns, uint64_t other_ns)
{
    return one_ns < other_ns ? one_ns : other_ns;
}

/* When there is something to do, whatever comes in. */
static uint64_t wake_ns(const struct runner *runner, uint64_t now_ns)
{
    const struct phase *phase = &runner->shared->phase;
    struct list_link *holding = list_first(&runner->crew.holding);
    uint64_t at_ns = give_up_ns(runner);

    if (now_ns < phase->until_ns)
        at_ns = earlier(at_ns, phase->until_ns);
    if (runner->arrived < runner->count)
        at_ns = earlier(at_ns, arrival_ns(runner, runner->arrived));
    if (holding)
        at_ns = earlier(at_ns, CONTAINER_OF(holding, struct client, link)->due_ns);
    if (runner->shared->settings->rate && now_ns < phase->until_ns && first_free(runner))
        at_ns = earlier(at_ns, start_ns(runner));
    return at_ns;
}

static bool is_over(const struct runner *runner, uint64_t now_ns)
{
    const struct phase *phase = &runner->shared->phase;
    const struct crew *crew = &runner->crew;

    if (now_ns >= give_up_ns(runner) || (crew->dead == runner->count && crew->dead > 0))
        return true;
    if (crew->busy > 0)
        return false;
    return now_ns >= phase->until_ns ||
           (runner->count > 0 && runner->retired + crew->dead == runner->count);
}

static void begin_phase(struct runner *runner)
{
    const struct phase *phase = &runner->shared->phase;
    struct crew *crew = &runner->crew;

    runner->arrived = 0;
    runner->retired = 0;
    runner->next_start = 0;
    crew->window_start_ns = phase->window_start_ns;
    crew->window_end_ns = phase->window_end_ns;
    for (uint32_t i = 0; i < runner->count; i++) {
        struct client *client = &runner->clients[i];

        client->rounds_done = 0;
        if (client->state == CLIENT_FREE && list_linked(&client->link))
            list_remove(&client->link);
    }
}

/* Rounds of --rate within the window that did not begin, or did not end. */
static uint64_t skipped(const struct runner *runner)
{
    const struct phase *phase = &runner->shared->phase;
    uint64_t from_ns = start_ns(runner);
    uint64_t batches = 0;

    if (from_ns < phase->window_start_ns)
        from_ns = phase->window_start_ns;
    if (from_ns < phase->window_end_ns)
        batches = (uint64_t)ceil((double)(phase->window_end_ns - from_ns) / pace_ns(runner));
    for (uint32_t i = 0; i < runner->count; i++) {
        const struct client *client = &runner->clients[i];

        batches += client->state != CLIENT_FREE && client->state != CLIENT_DEAD &&
                   client->began_ns >= phase->window_start_ns;
    }
    return batches * runner->shared->settings->depth;
}

static void end_phase(struct runner *runner, uint64_t now_ns)
{
    const struct settings *settings = runner->shared->settings;
    const struct phase *phase = &runner->shared->phase;
    struct crew *crew = &runner->crew;

    runner->end_ns = now_ns;
    if (settings->rate)
        crew->tally.skipped += skipped(runner);
    /* Who waits for another client's release is not forgotten, unless nobody hears anything. */
    if (phase->until_ns == UINT64_MAX || crew->links.heard_ns < phase->until_ns)
        runner->unanswered += crew->busy;
}

static void run_phase(struct runner *runner)
{
    struct links *links = &runner->crew.links;

    begin_phase(runner);
    for (;;) {
        uint64_t now_ns = clock_monotonic_ns();

        links->now_ns = now_ns;
        let_arrive(runner, now_ns);
        end_holds(runner, now_ns);
        if (runner->shared->settings->rate)
            start_open(runner, now_ns);
        else
            start_closed(runner, now_ns);
        if (is_over(runner, now_ns))
            break;
        links_turn(links, wake_ns(runner, now_ns));
    }
    end_phase(runner, clock_monotonic_ns());
}

/* ---- the thread ---- */

static void *runner_main(void *argument)
{
    struct runner *runner = argument;
    struct runner_shared *shared = runner->shared;

    /* Deadlines are meant as they stand; by default they may be 50 us late. */
    prctl(PR_SET_TIMERSLACK, 1);
    if (!set_up(runner))
        assert(runner->problem[0]);
    for (;;) {
        sem_post(&shared->done);
        while (sem_wait(&runner->begin) < 0)
            continue;
        if (shared->phase.last)
            break;
        run_phase(runner);
    }
    links_close(&runner->crew.links);
    return NULL;
}

bool runner_start(struct runner *runner, struct runner_shared *shared, uint32_t number)
{
    runner->shared = shared;
    runner->number = number;
    sem_init(&runner->begin, 0, 0);
    return pthread_create(&runner->thread, NULL, runner_main, runner) == 0;
}

void runner_go(struct runner *runner)
{
    sem_post(&runner->begin);
}

void runner_join(struct runner *runner)
{
    pthread_join(runner->thread, NULL);
    sem_destroy(&runner->begin);
    free(runner->clients);
    free(runner->rounds);
    free(runner->requests);
}
