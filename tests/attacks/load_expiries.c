/* Leases, waits or read timeouts end together. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "attacks/crowd.h"
#include "attacks/loads.h"
#include "attacks/stage.h"
#include "base/time_units.h"

enum {
    LEASE_CLIENTS = 4,
    WATCHED = 20,   /* leases of another client; the attack measures their hand-overs */
    MARGIN_MS = 100 /* between the preparation and the first end */
};

static void check_margin(struct result *result, uint64_t first_ns)
{
    if (clock_ns() + MARGIN_MS * NS_PER_MS > first_ns)
        result_fail(result, "preparation", "took longer than wait_s");
}

/* ---- leases and waits ---- */

/* Acquires keys for wait_s. Acquires the same keys again when all leases have ended. */
static size_t make_lease(char text[REQUEST_MAX], const struct crowd *crowd,
                         const struct member *member, uint32_t index)
{
    uint32_t keys = crowd->settings->claims / LEASE_CLIENTS;

    return (size_t)snprintf(text, REQUEST_MAX, "l\ne%u-%u\n0 %u\n", member->number, index % keys,
                            index < keys ? crowd->settings->wait_s : 60);
}

static const struct script LEASES = {make_lease, is_ok};

static size_t make_wait(char text[REQUEST_MAX], const struct crowd *crowd,
                        const struct member *member, uint32_t index)
{
    (void)member;
    (void)index;
    return (size_t)snprintf(text, REQUEST_MAX, "l\nk\n%u\n", crowd->settings->wait_s);
}

static bool is_timeout(const struct crowd *crowd, const struct member *member, uint32_t index,
                       const char *line)
{
    (void)crowd;
    (void)member;
    (void)index;
    return strcmp(line, "timeout") == 0;
}

static const struct script WAITS = {make_wait, is_timeout};

/* The times at which the watched leases end. */
struct watch {
    uint64_t due_ns[WATCHED];
};

static size_t make_watch(char text[REQUEST_MAX], const struct crowd *crowd,
                         const struct member *member, uint32_t index)
{
    (void)crowd;
    (void)index;
    return (size_t)snprintf(text, REQUEST_MAX, "l\nw%u\n600\n", member->number);
}

static bool check_watch(const struct crowd *crowd, const struct member *member, uint32_t index,
                        const char *line)
{
    const struct watch *watch = crowd->context;
    double late_ms = 1000 * seconds_since(watch->due_ns[member->number]);

    if (late_ms > crowd->result->late_max_ms)
        crowd->result->late_max_ms = late_ms;
    return is_ok(crowd, member, index, line);
}

static const struct script WATCHES = {make_watch, check_watch};

/* Acquires the watched leases from `first` on, before `end`. */
static void take_watched(struct crowd *watches, int holder, uint32_t first, uint32_t end)
{
    struct watch *watch = watches->context;
    uint32_t wait_s = watches->settings->wait_s;
    char request[REQUEST_MAX];
    char reply[LINE_MAX_KEPT + 1];

    for (uint32_t i = first; i < end; i++) {
        snprintf(request, sizeof(request), "l\nw%u\n0 %u\n", i, wait_s);
        exchange_line(holder, request, reply);
        watch->due_ns[i] = clock_ns() + wait_s * NS_PER_S;
    }
}

/* Releases leases and waits that are prepared, and checks what follows. */
static void release_expiries(struct crowd *leases, struct crowd *waits, struct crowd *watches,
                             uint64_t first_ns, uint64_t last_ns)
{
    struct result *result = leases->result;
    const struct settings *settings = leases->settings;
    struct watch *watch = watches->context;
    uint64_t begin_ns;

    crowd_exchange(watches, &WATCHES, ALL_SENT, 1);
    stage_open(settings, "");
    check_margin(result, first_ns);
    begin_ns = stage_begin_at(settings, first_ns, last_ns);
    for (uint32_t i = 0; i < WATCHED; i++)
        if (watch->due_ns[i] < begin_ns)
            watch->due_ns[i] = begin_ns;
    crowd_exchange(watches, &WATCHES, ALL_REPLIED, 0);
    crowd_exchange(waits, &WAITS, ALL_REPLIED, 0);
    result->seconds = seconds_since(begin_ns);
    stage_close(settings, result);
    crowd_exchange(leases, &LEASES, ALL_REPLIED, settings->claims / LEASE_CLIENTS);
}

void attack_expiries(const struct settings *settings, struct result *result)
{
    struct crowd leases = crowd_create(settings, result, LEASE_CLIENTS);
    struct crowd waits = crowd_create(settings, result, settings->connections);
    struct crowd watches = crowd_create(settings, result, WATCHED);
    struct watch watch = {{0}};
    int key_holder = hold_key(settings);
    int watched_holder = connect_blocking(settings);
    uint64_t first_ns;

    watches.context = &watch;
    crowd_connect(&leases);
    crowd_connect(&waits);
    crowd_connect(&watches);
    first_ns = clock_ns() + settings->wait_s * NS_PER_S;
    crowd_exchange(&leases, &LEASES, ALL_REPLIED, settings->claims / LEASE_CLIENTS);
    take_watched(&watches, watched_holder, 0, WATCHED / 2);
    crowd_exchange(&waits, &WAITS, ALL_SENT, 1);
    take_watched(&watches, watched_holder, WATCHED / 2, WATCHED);
    release_expiries(&leases, &waits, &watches, first_ns, clock_ns() + settings->wait_s * NS_PER_S);
    crowd_free(&leases);
    crowd_free(&waits);
    crowd_free(&watches);
    close(watched_holder);
    close(key_holder);
}

/* ---- read timeouts ---- */

static bool is_error(const struct crowd *crowd, const struct member *member, uint32_t index,
                     const char *line)
{
    (void)crowd;
    (void)member;
    (void)index;
    return strcmp(line, "error") == 0;
}

static const struct script SILENCE = {make_ping, is_error};

/* The server must have --read-timeout wait_s. */
void attack_timeouts(const struct settings *settings, struct result *result)
{
    struct crowd crowd = crowd_create(settings, result, settings->connections);
    uint64_t first_ns = clock_ns() + settings->wait_s * NS_PER_S;
    uint64_t last_ns;

    crowd_connect(&crowd);
    last_ns = clock_ns() + settings->wait_s * NS_PER_S;
    stage_open(settings, "");
    check_margin(result, first_ns);
    first_ns = stage_begin_at(settings, first_ns, last_ns);
    crowd_exchange(&crowd, &SILENCE, ALL_CLOSED, 0);
    result->seconds = seconds_since(first_ns);
    stage_close(settings, result);
    crowd_free(&crowd);
    if (result->replies != result->closed)
        result_fail(result, "closed", "a connection that got no reply");
}
