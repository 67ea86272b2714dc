#include "server/metrics.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/time_units.h"
#include "dflockd/version.h"
#include "os/clock.h"
#include "server/log_events.h"

enum {
    METRICS_FIRST_BYTES = 32 * 1024, /* all metrics fit, usually */
    METRICS_LINE_MAX = 512,
    METRICS_LABELS_MAX = 96
};

/* ---- text ---- */

void metrics_text_init(struct metrics_text *text, const struct memory *memory)
{
    *text = (struct metrics_text){.memory = memory};
}

void metrics_text_free(struct metrics_text *text)
{
    memory_release(text->memory, text->bytes, text->capacity);
    text->bytes = NULL;
}

static bool metrics_reserve(struct metrics_text *text, size_t size)
{
    size_t capacity = text->capacity ? text->capacity * 2 : METRICS_FIRST_BYTES;
    char *bytes;

    if (text->capacity - text->length >= size)
        return true;
    bytes = text->failed ? NULL : memory_allocate(text->memory, capacity, CACHE_LINE_BYTES);
    if (!bytes) {
        text->failed = true;
        return false;
    }
    if (text->length > 0)
        memcpy(bytes, text->bytes, text->length);
    memory_release(text->memory, text->bytes, text->capacity);
    text->bytes = bytes;
    text->capacity = capacity;
    return true;
}

/* Appends a line, which has at most METRICS_LINE_MAX bytes. */
__attribute__((format(printf, 2, 3))) static void metrics_line(struct metrics_text *text,
                                                               const char *format, ...)
{
    va_list arguments;
    int length;

    if (!metrics_reserve(text, METRICS_LINE_MAX))
        return;
    va_start(arguments, format);
    length = vsnprintf(text->bytes + text->length, METRICS_LINE_MAX, format, arguments);
    va_end(arguments);
    text->length += length < METRICS_LINE_MAX ? (size_t)length : METRICS_LINE_MAX - 1;
}

void metrics_start(struct metrics_text *text, enum metrics_type type, const char *name,
                   const char *help)
{
    static const char *const types[] = {
        [METRICS_COUNTER] = "counter",
        [METRICS_GAUGE] = "gauge",
        [METRICS_HISTOGRAM] = "histogram",
        [METRICS_SUMMARY] = "summary",
    };

    metrics_line(text, "# HELP %s %s\n", name, help);
    metrics_line(text, "# TYPE %s %s\n", name, types[type]);
}

void metrics_value(struct metrics_text *text, const char *name, const char *labels, uint64_t value)
{
    if (labels)
        metrics_line(text, "%s{%s} %" PRIu64 "\n", name, labels, value);
    else
        metrics_line(text, "%s %" PRIu64 "\n", name, value);
}

void metrics_seconds(struct metrics_text *text, const char *name, const char *labels, uint64_t ns)
{
    uint64_t seconds = ns / NS_PER_S;
    uint64_t rest_ns = ns % NS_PER_S;

    if (labels)
        metrics_line(text, "%s{%s} %" PRIu64 ".%09" PRIu64 "\n", name, labels, seconds, rest_ns);
    else
        metrics_line(text, "%s %" PRIu64 ".%09" PRIu64 "\n", name, seconds, rest_ns);
}

/* A metric with one sample. */
static void metrics_single(struct metrics_text *text, enum metrics_type type, const char *name,
                           const char *help, uint64_t value)
{
    metrics_start(text, type, name, help);
    metrics_value(text, name, NULL, value);
}

/* ---- the lock tables ---- */

static void metrics_histogram(struct metrics_text *text, const char *name, const char *help,
                              const struct lock_durations *durations)
{
    uint64_t count = 0;

    metrics_start(text, METRICS_HISTOGRAM, name, help);
    for (int i = 0; i < LOCK_DURATION_BOUNDS; i++) {
        uint64_t bound_ns = lock_duration_bounds_ns[i];

        count += durations->buckets[i];
        metrics_line(text, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name, (double)bound_ns / NS_PER_S,
                     count);
    }
    count += durations->buckets[LOCK_DURATION_BOUNDS];
    metrics_line(text, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, count);
    metrics_line(text, "%s_sum %" PRIu64 ".%09" PRIu64 "\n", name, durations->sum_ns / NS_PER_S,
                 (uint64_t)(durations->sum_ns % NS_PER_S));
    metrics_line(text, "%s_count %" PRIu64 "\n", name, count);
}

static void metrics_write_locks(struct metrics_text *text, struct stripes *stripes)
{
    struct lock_counters sum;

    stripes_counters(stripes, &sum);
    metrics_single(text, METRICS_GAUGE, "dflockd_locks_held",
                   "Locks that are held now; shared holders count once.", sum.locks_held);
    metrics_single(text, METRICS_GAUGE, "dflockd_lock_waiters", "Waiters for locks now.",
                   sum.lock_waiters);
    metrics_single(text, METRICS_GAUGE, "dflockd_semaphore_holders",
                   "Slots of semaphores that are held now.", sum.semaphore_holders);
    metrics_single(text, METRICS_GAUGE, "dflockd_semaphore_waiters", "Waiters for semaphores now.",
                   sum.semaphore_waiters);
    metrics_single(text, METRICS_COUNTER, "dflockd_grants_total",
                   "Grants of locks and semaphore slots.", sum.grants);
    metrics_single(text, METRICS_COUNTER, "dflockd_leases_ended_total",
                   "Leases that ended because nobody renewed or released them in time.",
                   sum.leases_ended);
    metrics_single(text, METRICS_COUNTER, "dflockd_revocations_total",
                   "Grants that an administrator revoked.", sum.revocations);
    metrics_single(text, METRICS_COUNTER, "dflockd_waits_total", "Requests that joined a queue.",
                   sum.waits);
    metrics_single(text, METRICS_COUNTER, "dflockd_waits_timed_out_total",
                   "Waits that ended by their timeout.", sum.waits_timed_out);
    metrics_single(text, METRICS_COUNTER, "dflockd_waits_cancelled_total",
                   "Waits that ended because the client disconnected or the server drains.",
                   sum.waits_cancelled);
    metrics_histogram(text, "dflockd_wait_duration_seconds", "How long granted waiters had waited.",
                      &sum.waits_granted);
    metrics_histogram(text, "dflockd_lease_end_delay_seconds",
                      "How late the server processed the ends of leases.", &sum.late);
}

static void metrics_write_supplies(struct metrics_text *text, const struct metrics_sources *sources)
{
    struct stripes *stripes = sources->stripes;
    uint64_t fences = fences_left(stripes_fences(stripes));

    metrics_single(text, METRICS_GAUGE, "dflockd_keys",
                   "Keys that the server knows: held, waited for, or idle.", stripes_keys(stripes));
    metrics_single(text, METRICS_GAUGE, "dflockd_keys_limit", "The value of --max-locks.",
                   stripes_keys_max(stripes));
    if (fences != FENCES_UNLIMITED)
        metrics_single(text, METRICS_GAUGE, "dflockd_fences_left",
                       "Fences that can be granted before the next range must be stored.", fences);
    metrics_single(text, METRICS_GAUGE, "dflockd_buffer_bytes",
                   "Memory for input and replies of connections.",
                   atomic_load_explicit(&sources->buffers->used, memory_order_relaxed));
    metrics_single(text, METRICS_GAUGE, "dflockd_buffer_limit_bytes",
                   "The limit on dflockd_buffer_bytes, see --max-buffered-mib.",
                   sources->buffers->max);
}

/* ---- requests and connections ---- */

static uint64_t metrics_sum(const struct metrics_sources *sources, size_t offset)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < sources->worker_count; i++) {
        const char *worker = (const char *)&sources->workers[i];

        sum += atomic_load_explicit((const _Atomic uint64_t *)(const void *)(worker + offset),
                                    memory_order_relaxed);
    }
    return sum;
}

static void metrics_write_requests(struct metrics_text *text, const struct metrics_sources *sources)
{
    static const char *const commands[METRICS_COMMANDS] = {
#define X(name, word) #name,
        DFLOCKD_COMMANDS(X)
#undef X
            "INVALID",
    };
    static const char *const outcomes[] = {
#define X(name, word) word,
        DFLOCKD_OUTCOMES(X)
#undef X
    };
    const char *name = "dflockd_requests_total";

    metrics_start(text, METRICS_COUNTER, name,
                  "Requests on TCP and Unix sockets that were answered, by command and outcome.");
    for (size_t command = 0; command < METRICS_COMMANDS; command++) {
        char word[32];
        size_t length = 0;

        for (; commands[command][length]; length++)
            word[length] = (char)tolower(commands[command][length]);
        for (size_t outcome = 0; outcome < DFLOCKD_OUTCOME_COUNT; outcome++) {
            size_t offset = offsetof(struct metrics_worker, requests) +
                            (command * DFLOCKD_OUTCOME_COUNT + outcome) * sizeof(uint64_t);
            char labels[METRICS_LABELS_MAX];

            snprintf(labels, sizeof(labels), "command=\"%.*s\",outcome=\"%s\"", (int)length, word,
                     outcomes[outcome]);
            metrics_value(text, name, labels, metrics_sum(sources, offset));
        }
    }
}

/* An event of peers that has a metric. */
struct metrics_event {
    enum log_event event;
    const char *labels;
};

static void metrics_write_events(struct metrics_text *text, const char *name, const char *help,
                                 const struct metrics_event *events, size_t count)
{
    metrics_start(text, METRICS_COUNTER, name, help);
    for (size_t i = 0; i < count; i++)
        metrics_value(text, name, events[i].labels, log_event_count(events[i].event));
}

static void metrics_write_connections(struct metrics_text *text,
                                      const struct metrics_sources *sources)
{
    static const struct metrics_event refusals[] = {
        {LOG_EVENT_MAX_CONNECTIONS, "reason=\"max_connections\""},
        {LOG_EVENT_MAX_CONNECTIONS_PER_IP, "reason=\"max_connections_per_ip\""},
        {LOG_EVENT_NO_ROOM, "reason=\"no_room\""},
    };
    static const struct metrics_event errors[] = {
        {LOG_EVENT_LINE_TOO_LONG, "reason=\"line_too_long\""},
        {LOG_EVENT_REQUEST_LATE, "reason=\"request_late\""},
        {LOG_EVENT_BACKLOG_FULL, "reason=\"backlog_full\""},
        {LOG_EVENT_REPLIES_NOT_READ, "reason=\"replies_not_read\""},
        {LOG_EVENT_BUFFERS_SHORT, "reason=\"buffers_short\""},
    };
    static const struct metrics_event authentication[] = {{LOG_EVENT_AUTH_FAILED, NULL}};
    static const struct metrics_event tls[] = {{LOG_EVENT_TLS_FAILED, NULL}};

    metrics_single(text, METRICS_GAUGE, "dflockd_connections",
                   "Connections and HTTP sessions that are open now.",
                   atomic_load_explicit(sources->connections, memory_order_relaxed));
    metrics_single(text, METRICS_GAUGE, "dflockd_connections_limit",
                   "The value of --max-connections; 0: no limit.", sources->connections_max);
    metrics_single(text, METRICS_COUNTER, "dflockd_connections_accepted_total",
                   "Connections on TCP and Unix sockets that were accepted.",
                   metrics_sum(sources, offsetof(struct metrics_worker, connections)));
    metrics_write_events(text, "dflockd_connections_refused_total",
                         "Connections that a limit refused.", refusals,
                         sizeof(refusals) / sizeof(refusals[0]));
    metrics_write_events(text, "dflockd_connections_failed_total",
                         "Connections that the server closed because of a fault or shortage.",
                         errors, sizeof(errors) / sizeof(errors[0]));
    metrics_write_events(text, "dflockd_authentication_failures_total",
                         "Connections that sent a wrong secret, or none.", authentication, 1);
    metrics_single(text, METRICS_COUNTER, "dflockd_tls_handshakes_total",
                   "TLS handshakes that were completed.",
                   metrics_sum(sources, offsetof(struct metrics_worker, tls_handshakes)));
    metrics_write_events(text, "dflockd_tls_failures_total",
                         "Connections that ended by a failure of TLS.", tls, 1);
}

static void metrics_write_workers(struct metrics_text *text, const struct metrics_sources *sources)
{
    char labels[METRICS_LABELS_MAX];

    metrics_start(text, METRICS_COUNTER, "dflockd_worker_turns_total",
                  "Turns of the loop of each worker.");
    for (uint32_t i = 0; i < sources->worker_count; i++) {
        snprintf(labels, sizeof(labels), "worker=\"%" PRIu32 "\"", i);
        metrics_value(text, "dflockd_worker_turns_total", labels,
                      atomic_load_explicit(&sources->workers[i].turns, memory_order_relaxed));
    }
    metrics_start(text, METRICS_COUNTER, "dflockd_worker_cpu_seconds_total",
                  "CPU time of each worker, with that of its system calls.");
    for (uint32_t i = 0; i < sources->worker_count; i++) {
        snprintf(labels, sizeof(labels), "worker=\"%" PRIu32 "\"", i);
        metrics_seconds(text, "dflockd_worker_cpu_seconds_total", labels,
                        clock_thread_ns(sources->workers[i].cpu_clock));
    }
}

void metrics_write(struct metrics_text *text, const struct metrics_sources *sources)
{
    bool draining = atomic_load(&sources->shutdown->draining);

    metrics_start(text, METRICS_GAUGE, "dflockd_build_info", "1, with the version of the server.");
    metrics_value(text, "dflockd_build_info", "version=\"" DFLOCKD_VERSION "\"", 1);
    metrics_single(text, METRICS_GAUGE, "dflockd_ready",
                   "1 if the server grants locks; 0 while it drains.", !draining);
    metrics_start(text, METRICS_GAUGE, "dflockd_uptime_seconds", "Time since the server started.");
    metrics_seconds(text, "dflockd_uptime_seconds", NULL, sources->uptime_ns);
    metrics_write_locks(text, sources->stripes);
    metrics_write_supplies(text, sources);
    metrics_write_requests(text, sources);
    metrics_write_connections(text, sources);
    metrics_write_workers(text, sources);
}
