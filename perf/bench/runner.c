#include "bench/runner.h"

#include <assert.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include "base/list.h"
#include "base/time_units.h"
#include "os/clock.h"
#include "os/ring.h"

enum {
    LATE_NS = 1000000,     /* a round of --rate that starts later than this is late */
    DRAIN_S = 2,           /* time for pending requests at the end of a load */
    CHECK_DRAIN_S = 5,     /* after --timeout, every request must have a reply */
    STOP_DRAIN_MS = 500,   /* time for them after a signal */
    STOP_CHECK_MS = 100,   /* the longest sleep, so that a thread notices a signal */
    RECONNECT_MARGIN_S = 2 /* after --reconnect, a client has given up */
};

/* ---- setup ---- */

static bool runner_allocate(struct runner *runner)
{
    const struct settings *settings = runner->shared->settings;
    uint64_t clients = settings->workers / runner->shared->count +
                       (runner->number < settings->workers % runner->shared->count);
    uint64_t rounds = clients * settings->depth;

    runner->count = (uint32_t)clients;
    runner->clients = calloc(clients + 1, sizeof(*runner->clients));
    runner->rounds = calloc(rounds + 1, sizeof(*runner->rounds));
    runner->requests = calloc(rounds + 1, client_request_bytes(settings));
    return runner->clients && runner->rounds && runner->requests &&
           tally_init(&runner->thread.tally);
}

static void runner_init_client(struct runner *runner, uint32_t place)
{
    const struct settings *settings = runner->shared->settings;
    struct client *client = &runner->clients[place];
    uint32_t number = runner->number + place * runner->shared->count;

    client->thread = &runner->thread;
    client->number = number;
    client->server = &settings->servers[number % settings->server_count];
    client->links = &runner->thread.links.links[place * settings->connections];
    client->rounds = &runner->rounds[place * settings->depth];
    client->request = runner->requests + place * settings->depth * client_request_bytes(settings);
    for (uint32_t i = 0; i < settings->connections; i++)
        client->links[i].owner = client;
}

static bool runner_set_up(struct runner *runner)
{
    struct runner_shared *shared = runner->shared;
    struct thread_state *thread = &runner->thread;
    int error;

    if (!runner_allocate(runner)) {
        snprintf(runner->problem, SETUP_PROBLEM_MAX, "out of memory");
        return false;
    }
    thread->settings = shared->settings;
    thread->codec = shared->codec;
    thread->checker = shared->checker;
    thread->random.state = shared->settings->seed + runner->number;
    thread->links.tls_context = shared->tls;
    thread->links.on_line = client_handle_line;
    thread->links.on_closed = client_handle_closed;
    list_init(&thread->free);
    list_init(&thread->holding);
    for (int i = 0; i < CLIENT_DELAYS; i++)
        list_init(&thread->delayed[i]);
    error = links_open(&thread->links, runner->count * (uint32_t)shared->settings->connections);
    if (error < 0) {
        snprintf(runner->problem, SETUP_PROBLEM_MAX, "%s", ring_explain(error));
        return false;
    }
    for (uint32_t i = 0; i < runner->count; i++) {
        runner_init_client(runner, i);
        if (!client_connect(&runner->clients[i], runner->problem))
            return false;
    }
    return true;
}

/* ---- starts of rounds ---- */

/* Returns when client `place` of this thread may start: at once, or within the ramp. */
static uint64_t runner_arrival_ns(const struct runner *runner, uint32_t place)
{
    const struct phase *phase = &runner->shared->phase;

    return phase->begin_ns + phase->ramp_ns / runner->count * place;
}

static void runner_add_arrivals(struct runner *runner, uint64_t now_ns)
{
    while (runner->arrived < runner->count &&
           runner_arrival_ns(runner, runner->arrived) <= now_ns) {
        struct client *client = &runner->clients[runner->arrived++];

        if (client->state == CLIENT_FREE && !list_linked(&client->link))
            list_push_back(&runner->thread.free, &client->link);
    }
}

/* Returns the time between two batches of --rate in this thread. */
static double runner_interval_ns(const struct runner *runner)
{
    const struct settings *settings = runner->shared->settings;

    return 1e9 * (double)settings->depth * runner->shared->count / (double)settings->rate;
}

/* Returns the due start of the next batch of --rate. The threads take turns. */
static uint64_t runner_next_start_ns(const struct runner *runner)
{
    double turn = (double)runner->number / runner->shared->count;

    return runner->shared->phase.begin_ns +
           (uint64_t)(((double)runner->next_start + turn) * runner_interval_ns(runner));
}

static struct client *runner_first_free(const struct runner *runner)
{
    struct list_link *link = list_first(&runner->thread.free);

    return link ? CONTAINER_OF(link, struct client, link) : NULL;
}

/* Starts the next rounds of each free client, or retires it. */
static void runner_start_closed_loop(struct runner *runner, uint64_t now_ns)
{
    const struct phase *phase = &runner->shared->phase;
    struct client *client;

    while ((client = runner_first_free(runner))) {
        if (now_ns >= runner->until_ns || (phase->rounds && client->rounds_done >= phase->rounds)) {
            list_remove(&client->link);
            runner->retired++;
        } else {
            client_start(client, clock_monotonic_ns());
        }
    }
}

/* Drops the backlog from before the window when the window starts. */
static void runner_skip_warmup(struct runner *runner, uint64_t now_ns)
{
    const struct phase *phase = &runner->shared->phase;
    uint64_t due_ns = runner_next_start_ns(runner);

    if (now_ns < phase->window_start_ns || due_ns >= phase->window_start_ns)
        return;
    runner->next_start +=
        (uint64_t)ceil((double)(phase->window_start_ns - due_ns) / runner_interval_ns(runner));
}

/* Starts all batches that are due, while clients are free. */
static void runner_start_open_loop(struct runner *runner, uint64_t now_ns)
{
    const struct phase *phase = &runner->shared->phase;
    struct thread_state *thread = &runner->thread;
    struct client *client;

    runner_skip_warmup(runner, now_ns);
    while (now_ns < runner->until_ns && runner_next_start_ns(runner) <= now_ns &&
           (client = runner_first_free(runner))) {
        uint64_t due_ns = runner_next_start_ns(runner);

        runner->next_start++;
        if (now_ns - due_ns > LATE_NS && due_ns >= phase->window_start_ns)
            thread->tally.late += runner->shared->settings->depth;
        client_start(client, due_ns);
    }
}

static void runner_end_delays(struct runner *runner, uint64_t now_ns)
{
    for (int i = 0; i < CLIENT_DELAYS; i++) {
        struct list_link *link;

        while ((link = list_first(&runner->thread.delayed[i]))) {
            struct client *client = CONTAINER_OF(link, struct client, link);

            if (client->due_ns > now_ns)
                break;
            client_end_delay(client);
        }
    }
}

static void runner_end_holds(struct runner *runner, uint64_t now_ns)
{
    struct list_link *link;

    while ((link = list_first(&runner->thread.holding))) {
        struct client *client = CONTAINER_OF(link, struct client, link);

        if (client->due_ns > now_ns)
            return;
        client_release_holds(client);
    }
}

/* ---- phases ---- */

static bool runner_is_stopped(const struct runner *runner)
{
    return runner->shared->stop_ns != UINT64_MAX;
}

/* Returns how long a phase waits for pending requests after its end. */
static uint64_t runner_drain_ns(const struct runner *runner)
{
    const struct settings *settings = runner->shared->settings;

    if (runner_is_stopped(runner))
        return STOP_DRAIN_MS * NS_PER_MS;
    if (settings->check)
        return (settings->timeout_s + CHECK_DRAIN_S) * NS_PER_S;
    return DRAIN_S * NS_PER_S + settings->hold_us * 1000;
}

/* Returns when the phase ends despite pending requests. */
static uint64_t runner_give_up_ns(const struct runner *runner)
{
    const struct settings *settings = runner->shared->settings;
    const struct phase *phase = &runner->shared->phase;
    uint64_t received_ns = runner->thread.links.received_ns;
    uint64_t silence_ns = (settings->timeout_s + settings->reply_timeout_s) * NS_PER_S;
    uint64_t reconnect_ns = settings->reconnect_ms * NS_PER_MS + RECONNECT_MARGIN_S * NS_PER_S;

    if (runner->until_ns != UINT64_MAX)
        return runner->until_ns + runner_drain_ns(runner);
    if (received_ns < phase->begin_ns)
        received_ns = phase->begin_ns;
    if (runner->thread.delay_count > 0 && silence_ns < reconnect_ns)
        silence_ns = reconnect_ns;
    return received_ns + phase->ramp_ns + silence_ns + settings->hold_us * 1000;
}

static uint64_t runner_earlier(uint64_t one_ns, uint64_t other_ns)
{
    return one_ns < other_ns ? one_ns : other_ns;
}

/* Returns the time of the next action without a completion. */
static uint64_t runner_wake_ns(const struct runner *runner, uint64_t now_ns)
{
    struct list_link *holding = list_first(&runner->thread.holding);
    uint64_t at_ns = runner_earlier(runner_give_up_ns(runner), now_ns + STOP_CHECK_MS * NS_PER_MS);

    if (now_ns < runner->until_ns)
        at_ns = runner_earlier(at_ns, runner->until_ns);
    for (int i = 0; i < CLIENT_DELAYS && runner->thread.delay_count > 0; i++) {
        struct list_link *delayed = list_first(&runner->thread.delayed[i]);

        if (delayed)
            at_ns = runner_earlier(at_ns, CONTAINER_OF(delayed, struct client, link)->due_ns);
    }
    if (runner->arrived < runner->count)
        at_ns = runner_earlier(at_ns, runner_arrival_ns(runner, runner->arrived));
    if (holding)
        at_ns = runner_earlier(at_ns, CONTAINER_OF(holding, struct client, link)->due_ns);
    if (runner->shared->settings->rate && now_ns < runner->until_ns && runner_first_free(runner))
        at_ns = runner_earlier(at_ns, runner_next_start_ns(runner));
    return at_ns;
}

static bool runner_is_phase_over(const struct runner *runner, uint64_t now_ns)
{
    const struct thread_state *thread = &runner->thread;

    if (now_ns >= runner_give_up_ns(runner) || (thread->dead == runner->count && thread->dead > 0))
        return true;
    if (thread->busy > 0)
        return false;
    return now_ns >= runner->until_ns ||
           (runner->count > 0 && runner->retired + thread->dead == runner->count);
}

static void runner_begin_phase(struct runner *runner)
{
    const struct phase *phase = &runner->shared->phase;
    struct thread_state *thread = &runner->thread;

    runner->arrived = 0;
    runner->retired = 0;
    runner->next_start = 0;
    runner->until_ns = phase->until_ns;
    thread->window_start_ns = phase->window_start_ns;
    thread->window_end_ns = phase->window_end_ns;
    for (uint32_t i = 0; i < runner->count; i++) {
        struct client *client = &runner->clients[i];

        client->rounds_done = 0;
        if (client->state == CLIENT_FREE && list_linked(&client->link))
            list_remove(&client->link);
    }
}

/* Ends the phase and its window early if a signal or error_auth came. */
static void runner_notice_stop(struct runner *runner)
{
    struct thread_state *thread = &runner->thread;
    uint64_t stop_ns;

    if (thread->unauthenticated && !runner_is_stopped(runner))
        atomic_store(&runner->shared->stop_ns, thread->links.now_ns);
    stop_ns = runner->shared->stop_ns;
    runner->until_ns = runner_earlier(runner->until_ns, stop_ns);
    thread->window_end_ns = runner_earlier(thread->window_end_ns, stop_ns);
}

/* Counts the rounds of --rate due in the window that did not start or did not end. */
static uint64_t runner_count_skipped(const struct runner *runner)
{
    const struct phase *phase = &runner->shared->phase;
    uint64_t from_ns = runner_next_start_ns(runner);
    uint64_t batches = 0;

    if (from_ns < phase->window_start_ns)
        from_ns = phase->window_start_ns;
    if (from_ns < runner->thread.window_end_ns)
        batches = (uint64_t)ceil((double)(runner->thread.window_end_ns - from_ns) /
                                 runner_interval_ns(runner));
    for (uint32_t i = 0; i < runner->count; i++) {
        const struct client *client = &runner->clients[i];

        batches += client_is_busy(client) && client->began_ns >= phase->window_start_ns;
    }
    return batches * runner->shared->settings->depth;
}

static void runner_end_phase(struct runner *runner, uint64_t now_ns)
{
    const struct settings *settings = runner->shared->settings;
    struct thread_state *thread = &runner->thread;

    runner->end_ns = now_ns;
    if (settings->rate)
        thread->tally.skipped += runner_count_skipped(runner);
    /*
     * A client that waits for another client's release counts only if no client receives
     * anything.
     */
    if (!runner_is_stopped(runner) &&
        (runner->until_ns == UINT64_MAX || thread->links.received_ns < runner->until_ns))
        runner->unanswered += thread->busy;
}

static void runner_run_phase(struct runner *runner)
{
    struct links *links = &runner->thread.links;

    runner_begin_phase(runner);
    for (;;) {
        uint64_t now_ns = clock_monotonic_ns();

        links->now_ns = now_ns;
        runner_notice_stop(runner);
        runner_end_delays(runner, now_ns);
        runner_add_arrivals(runner, now_ns);
        runner_end_holds(runner, now_ns);
        if (runner->shared->settings->rate)
            runner_start_open_loop(runner, now_ns);
        else
            runner_start_closed_loop(runner, now_ns);
        if (runner_is_phase_over(runner, now_ns))
            break;
        links_turn(links, runner_wake_ns(runner, now_ns));
    }
    runner_end_phase(runner, clock_monotonic_ns());
}

/* ---- thread ---- */

static void *runner_main(void *argument)
{
    struct runner *runner = argument;
    struct runner_shared *shared = runner->shared;

    sigset_t signals;

    /* The main thread handles them. */
    sigfillset(&signals);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    /* Make timers exact: by default they may be 50 us late. */
    prctl(PR_SET_TIMERSLACK, 1);
    if (!runner_set_up(runner))
        assert(runner->problem[0]);
    for (;;) {
        sem_post(&shared->done);
        while (sem_wait(&runner->begin) < 0)
            continue;
        if (shared->phase.last)
            break;
        runner_run_phase(runner);
    }
    links_close(&runner->thread.links);
    return NULL;
}

bool runner_start(struct runner *runner, struct runner_shared *shared, uint32_t number)
{
    runner->shared = shared;
    runner->number = number;
    sem_init(&runner->begin, 0, 0);
    return pthread_create(&runner->pthread, NULL, runner_main, runner) == 0;
}

void runner_go(struct runner *runner)
{
    sem_post(&runner->begin);
}

void runner_join(struct runner *runner)
{
    pthread_join(runner->pthread, NULL);
    sem_destroy(&runner->begin);
    free(runner->clients);
    free(runner->rounds);
    free(runner->requests);
}
