#include "session_driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os/system_memory.h"
#include "server/connection_id.h"
#include "server/peers.h"

static void driver_must(bool holds, const char *rule)
{
    if (holds)
        return;
    fprintf(stderr, "session driver: violated: %s\n", rule);
    abort();
}

static void driver_count_revocation(const struct session_context *context,
                                    const struct session_revocation *revocation)
{
    struct driver_worker *worker = CONTAINER_OF(context, struct driver_worker, context);

    driver_must(revocation->holder != 0, "a revoked grant had a holder");
    worker->revocations++;
}

static void driver_start_worker(struct driver *driver, const struct driver_options *options,
                                uint32_t number)
{
    struct driver_worker *worker = &driver->workers[number];

    output_pool_init(&worker->output_pool, options->output_memory[number]);
    worker->context = (struct session_context){
        .stripes = driver->stripes,
        .output_pool = &worker->output_pool,
        .default_lease_s = options->default_lease_s,
        .claims_max = options->claims_max,
        .secrets = &driver->secrets,
        .connections = &driver->connections,
        .peers = driver->peers,
        .metrics = &worker->metrics,
        .revoked = driver_count_revocation,
        .now_ns = options->now_ns,
    };
    driver_must(mailbox_reserve(stripes_mailbox(driver->stripes, number), options->effects_max),
                "a mailbox has room");
}

void driver_start(struct driver *driver, const struct driver_options *options)
{
    memset(driver, 0, sizeof(*driver));
    driver->steps = UINT32_MAX;
    driver_must(options->workers <= DRIVER_WORKERS_MAX, "the driver has room for the workers");
    secrets_init(
        &driver->secrets,
        (char *[SECRETS_ROLES]){
            [SECRETS_CLIENT] = options->auth_token ? strdup(options->auth_token) : NULL,
            [SECRETS_ADMINISTRATOR] = options->admin_token ? strdup(options->admin_token) : NULL,
        });
    driver->stripes = stripes_create(&options->stripes);
    driver_must(driver->stripes, "stripes start");
    driver->peers = peers_create(&system_memory, options->workers);
    driver_must(driver->peers, "there is memory for peers");
    driver->worker_count = options->workers;
    for (uint32_t number = 0; number < driver->worker_count; number++)
        driver_start_worker(driver, options, number);
}

void driver_end(struct driver *driver)
{
    stripes_destroy(driver->stripes);
    secrets_free(&driver->secrets);
    peers_destroy(driver->peers);
    for (uint32_t number = 0; number < driver->worker_count; number++)
        pool_free(&driver->workers[number].output_pool);
}

void driver_connect(struct driver *driver, struct peer *peer, uint32_t index)
{
    uint64_t id;

    memset(&peer->output, 0, sizeof(peer->output));
    peer->state = PEER_OPEN;
    peer->want = SESSION_WANT_INPUT;
    peer->input_ended = false;
    peer->worker = index % driver->worker_count;
    peer->start = peer->end = 0;
    peer->reply_length = 0;
    id = connection_id_make(++driver->connections_made, peer->worker, index / driver->worker_count);
    driver_must(peers_add(driver->peers, id, -1), "there is memory for a peer");
    session_start(&peer->session, &driver->workers[peer->worker].context, id);
    driver->connections++;
}

void driver_add_input(struct peer *peer, const void *bytes, size_t length)
{
    driver_must(length <= peer->input_max - peer->end, "the input has room");
    if (length > 0)
        memcpy(peer->input + peer->end, bytes, length);
    peer->end += length;
}

struct session_progress driver_read(struct driver *driver, struct peer *peer)
{
    size_t length = peer->end - peer->start;
    uint8_t *bytes = malloc(length ? length : 1);
    struct session_context *context = &driver_worker_of(driver, peer)->context;
    struct session_progress progress;

    driver_must(bytes, "there is memory");
    if (length > 0)
        memcpy(bytes, peer->input + peer->start, length);
    context->steps = driver->steps;
    progress = session_read(&peer->session, context, bytes, length, &peer->output);
    free(bytes);
    driver_must(progress.consumed <= length, "a session consumes only received bytes");
    peer->start += progress.consumed;
    peer->want = progress.want;
    return progress;
}

bool driver_can_continue(const struct peer *peer)
{
    return peer->want == SESSION_WANT_TURN || peer->want == SESSION_WANT_WALK ||
           (peer->want == SESSION_WANT_ROOM && peer->output.length < SESSION_OUTPUT_MAX / 2);
}

enum peer_action driver_next_action(const struct peer *peer)
{
    if (peer->input_ended && peer->want == SESSION_WANT_INPUT)
        return PEER_END_INPUT;
    if (peer->want == SESSION_WANT_CLOSE ||
        (peer->input_ended && peer->want == SESSION_WANT_EFFECT))
        return PEER_CLOSE;
    return PEER_STAY;
}

void driver_take_output(struct driver *driver, struct peer *peer, size_t most)
{
    struct pool *pool = &driver_worker_of(driver, peer)->output_pool;
    const uint8_t *bytes;
    uint32_t length;

    while (most > 0 && (bytes = output_peek(&peer->output, &length))) {
        if (length > most)
            length = (uint32_t)most;
        if (peer->replies) {
            driver_must(length < peer->replies_max - peer->reply_length, "the replies have room");
            memcpy(peer->replies + peer->reply_length, bytes, length);
            peer->reply_length += length;
        }
        output_consume(&peer->output, pool, length);
        most -= length;
    }
    if (peer->replies)
        peer->replies[peer->reply_length] = '\0';
}

bool driver_take_effect(struct driver *driver, uint32_t worker, struct stripes_effect *effect)
{
    if (mailbox_take(stripes_mailbox(driver->stripes, worker), effect, 1) == 0)
        return false;
    driver_must(connection_id_worker(effect->connection_id) == worker,
                "an effect is in the mailbox of its connection's worker");
    return true;
}

uint32_t driver_index_of(const struct driver *driver, const struct stripes_effect *effect)
{
    return connection_id_slot(effect->connection_id) * driver->worker_count +
           connection_id_worker(effect->connection_id);
}

bool driver_is_for(const struct stripes_effect *effect, const struct peer *peer)
{
    return peer->state == PEER_OPEN && peer->session.claims.connection_id == effect->connection_id;
}

bool driver_drain(struct driver *driver, struct peer *peer)
{
    struct session_context *context = &driver_worker_of(driver, peer)->context;
    bool cancelled = session_drain(&peer->session, context, &peer->output);

    do
        context->steps = driver->steps;
    while (!claims_leave_queues(&peer->session.claims, context));
    return cancelled;
}

bool driver_disconnect(struct driver *driver, struct peer *peer, uint32_t steps)
{
    struct session_context *context = &driver_worker_of(driver, peer)->context;

    context->steps = steps;
    if (!session_disconnect(&peer->session, context))
        return false;
    peers_remove(driver->peers, peer->session.claims.connection_id);
    peer->state = PEER_GONE;
    driver->connections--;
    return true;
}
