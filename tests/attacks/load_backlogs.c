/* Many blocked connections with full backlogs are released together. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attacks/crowd.h"
#include "attacks/loads.h"
#include "attacks/stage.h"
#include "base/time_units.h"

enum {
    BACKLOG_BYTES = 63 << 10, /* the server buffers up to 64 KiB behind a blocked request */
    PING_EVERY = 16,          /* requests; the places of their replies show the order */
    LOCK_BYTES = 6,           /* of "l\nk\n0\n" */
    PING_BYTES = 9,           /* of "ping\n_\n\n" */
    REQUESTS = BACKLOG_BYTES / ((PING_EVERY - 1) * LOCK_BYTES + PING_BYTES) * PING_EVERY,
    MARGIN_MS = 200 /* between the preparation and the first timeout */
};

/* The waits end by grants, not by timeouts. */
static bool by_grants(const struct settings *settings)
{
    return strcmp(settings->kind, "grants") == 0;
}

static size_t make_backlog(char text[REQUEST_MAX], const struct crowd *crowd,
                           const struct member *member, uint32_t index)
{
    if (index == 0 && by_grants(crowd->settings))
        return (size_t)snprintf(text, REQUEST_MAX, "sl\ns\n600 %u\n", crowd->settings->connections);
    if (index == 0)
        return (size_t)snprintf(text, REQUEST_MAX, "l\nk\n%u\n", crowd->settings->wait_s);
    if (index % PING_EVERY == 0)
        return make_ping(text, crowd, member, index);
    return (size_t)snprintf(text, REQUEST_MAX, "l\nk\n0\n");
}

static bool check_backlog(const struct crowd *crowd, const struct member *member, uint32_t index,
                          const char *line)
{
    (void)member;
    if (index == 0 && by_grants(crowd->settings))
        return strncmp(line, "ok ", 3) == 0;
    return strcmp(line, index > 0 && index % PING_EVERY == 0 ? "ok" : "timeout") == 0;
}

static const struct script BACKLOG = {make_backlog, check_backlog};

/* One client acquires all slots of the semaphore s, and then releases them. */
static size_t make_slot(char text[REQUEST_MAX], const struct crowd *crowd,
                        const struct member *member, uint32_t index)
{
    const char(*tokens)[33] = crowd->context;
    uint32_t slots = crowd->settings->connections;

    (void)member;
    if (index < slots)
        return (size_t)snprintf(text, REQUEST_MAX, "sl\ns\n0 %u 3600\n", slots);
    return (size_t)snprintf(text, REQUEST_MAX, "sr\ns\n%s\n", tokens[index - slots]);
}

static bool check_slot(const struct crowd *crowd, const struct member *member, uint32_t index,
                       const char *line)
{
    char(*tokens)[33] = crowd->context;

    (void)member;
    if (index < crowd->settings->connections)
        return sscanf(line, "ok %32[0-9a-f]", tokens[index]) == 1;
    return strcmp(line, "ok") == 0;
}

static const struct script SLOTS = {make_slot, check_slot};

static void release_by_timeouts(struct crowd *crowd)
{
    const struct settings *settings = crowd->settings;
    uint64_t first_ns = clock_ns() + settings->wait_s * NS_PER_S;
    uint64_t last_ns;

    crowd_exchange(crowd, &BACKLOG, ALL_SENT, 1);
    last_ns = clock_ns() + settings->wait_s * NS_PER_S;
    crowd_exchange(crowd, &BACKLOG, ALL_SENT, REQUESTS);
    stage_open(settings, "");
    if (clock_ns() + MARGIN_MS * NS_PER_MS > first_ns)
        result_fail(crowd->result, "preparation", "took longer than wait_s");
    stage_begin_at(settings, first_ns, last_ns);
    crowd_exchange(crowd, &BACKLOG, ALL_REPLIED, 0);
    crowd->result->seconds = seconds_since(first_ns);
}

static void release_by_grants(struct crowd *crowd)
{
    const struct settings *settings = crowd->settings;
    struct crowd holder = crowd_create(settings, crowd->result, 1);
    uint64_t begin_ns;

    holder.context = calloc(settings->connections, 33);
    if (!holder.context)
        exit(2);
    crowd_connect(&holder);
    crowd_exchange(&holder, &SLOTS, ALL_REPLIED, settings->connections);
    crowd_exchange(crowd, &BACKLOG, ALL_SENT, 1 + REQUESTS);
    stage_open(settings, "");
    begin_ns = clock_ns();
    stage_begin();
    crowd_exchange(&holder, &SLOTS, ALL_SENT, settings->connections);
    crowd_exchange(crowd, &BACKLOG, ALL_REPLIED, 0);
    crowd_exchange(&holder, &SLOTS, ALL_REPLIED, 0);
    crowd->result->seconds = seconds_since(begin_ns);
    free(holder.context);
    crowd_free(&holder);
}

void attack_backlogs(const struct settings *settings, struct result *result)
{
    struct crowd crowd = crowd_create(settings, result, settings->connections);
    int holder = hold_key(settings);

    crowd_connect(&crowd);
    if (by_grants(settings))
        release_by_grants(&crowd);
    else
        release_by_timeouts(&crowd);
    stage_close(settings, result);
    crowd_free(&crowd);
    close(holder);
}
