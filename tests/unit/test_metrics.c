/*
 * The text of /metrics, and what sessions count for it. With an argument, prints a text as a server
 * would that has done something.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "server/metrics.h"
#include "session_fixture.h"

static struct {
    struct metrics_text text;
    struct memory_counted memory;
    struct budget buffers;
    struct shutdown_shared shutdown;
    uint64_t uptime_ns;
} metrics;

static const struct setting defaults;

static void start(struct setting setting)
{
    world_start(setting);
    memset(&metrics, 0, sizeof(metrics));
    memory_counted_init(&metrics.memory);
    budget_init(&metrics.buffers, &metrics.memory.memory, 1000);
    metrics_text_init(&metrics.text, &metrics.memory.memory);
}

static void end(void)
{
    metrics_text_free(&metrics.text);
    memory_counted_assert_returned(&metrics.memory);
    world_end();
}

static void write_text(void)
{
    const struct metrics_sources sources = {
        .stripes = world.stripes,
        .workers = &world.driver.workers[0].metrics,
        .worker_count = 1,
        .buffers = &metrics.buffers,
        .connections = &world.connections,
        .connections_max = 77,
        .shutdown = &metrics.shutdown,
        .uptime_ns = metrics.uptime_ns,
    };

    metrics.text.length = 0;
    metrics_write(&metrics.text, &sources);
}

/* Checks that the text has this line. */
static void expect_line(const char *line)
{
    size_t length = strlen(line);
    const char *at = metrics.text.bytes;
    const char *end = at + metrics.text.length;

    while (at < end) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));

        assert_non_null(line_end);
        if ((size_t)(line_end - at) == length && memcmp(at, line, length) == 0)
            return;
        at = line_end + 1;
    }
    fail_msg("no line: %s", line);
}

static void expect_request(const char *command, const char *outcome, unsigned count)
{
    char line[200];

    snprintf(line, sizeof(line), "dflockd_requests_total{command=\"%s\",outcome=\"%s\"} %u",
             command, outcome, count);
    expect_line(line);
}

static void a_new_server_has_zeros(void **state)
{
    (void)state;
    start(defaults);
    write_text();
    assert_false(metrics.text.failed);
    expect_line("dflockd_ready 1");
    expect_line("dflockd_uptime_seconds 0.000000000");
    expect_line("dflockd_locks_held 0");
    expect_line("dflockd_grants_total 0");
    expect_line("dflockd_wait_duration_seconds_bucket{le=\"0.001\"} 0");
    expect_line("dflockd_wait_duration_seconds_count 0");
    expect_line("dflockd_connections_limit 77");
    expect_request("acquire", "ok", 0);
    expect_request("invalid", "error", 0);
    end();
}

static void a_draining_server_is_not_ready(void **state)
{
    (void)state;
    start(defaults);
    atomic_store(&metrics.shutdown.draining, true);
    metrics.uptime_ns = 1500000000;
    write_text();
    expect_line("dflockd_ready 0");
    expect_line("dflockd_uptime_seconds 1.500000000");
    end();
}

static void requests_count_by_command_and_outcome(void **state)
{
    struct peer *one;

    (void)state;
    start(defaults);
    one = connect_peer();
    send_text(one, "ping\n\n\nl\nk\n0 30\nl\nk\n0 30\ne\nj\n\nw\ni\n0\nnonsense\nk\n0\n");
    send_text(one, "stats\n\n\nsl\ns\n0 2\nr\nk\n00000000000000010000000000000001\n");
    write_text();
    expect_request("ping", "ok", 1);
    expect_request("acquire", "ok", 1);
    expect_request("acquire", "timeout", 1);
    expect_request("enqueue", "acquired", 1);
    expect_request("wait", "error_not_enqueued", 1);
    expect_request("invalid", "error", 1);
    expect_request("stats", "ok", 1);
    expect_request("semaphore_acquire", "ok", 1);
    expect_request("release", "error", 1);
    expect_line("dflockd_locks_held 2");
    expect_line("dflockd_semaphore_holders 1");
    expect_line("dflockd_grants_total 3");
    expect_line("dflockd_keys 3");
    end();
}

static void a_blocked_request_counts_when_it_is_answered(void **state)
{
    struct peer *one;
    struct peer *two;

    (void)state;
    start(defaults);
    one = connect_peer();
    two = connect_peer();
    send_text(one, "l\nk\n0 30\n");
    send_text(two, "rl\nk\n10\n");
    write_text();
    expect_request("acquire_shared", "timeout", 0);
    expect_line("dflockd_lock_waiters 1");
    pass_until(11);
    deliver();
    write_text();
    expect_request("acquire_shared", "timeout", 1);
    expect_line("dflockd_lock_waiters 0");
    expect_line("dflockd_waits_timed_out_total 1");
    send_text(two, "l\nk\n100\n");
    disconnect(one);
    deliver();
    write_text();
    expect_request("acquire", "ok", 2);
    expect_line("dflockd_wait_duration_seconds_count 1");
    end();
}

static void a_request_before_auth_counts_with_its_command(void **state)
{
    struct peer *one;

    (void)state;
    start((struct setting){.auth_token = "secret"});
    one = connect_peer();
    send_text(one, "ping\n\n\n");
    write_text();
    expect_request("ping", "error_auth", 1);
    end();
}

static void buckets_are_cumulative(void **state)
{
    struct peer *one;

    (void)state;
    start(defaults);
    one = connect_peer();
    send_text(one, "l\nk\n0 5\nl\nj\n0 5\nl\ni\n0 6\n");
    pass_until(8);
    write_text();
    expect_line("dflockd_lease_end_delay_seconds_bucket{le=\"0.1\"} 0");
    expect_line("dflockd_lease_end_delay_seconds_bucket{le=\"1\"} 1");
    expect_line("dflockd_lease_end_delay_seconds_bucket{le=\"10\"} 3");
    expect_line("dflockd_lease_end_delay_seconds_bucket{le=\"+Inf\"} 3");
    expect_line("dflockd_lease_end_delay_seconds_sum 5.000000000");
    expect_line("dflockd_lease_end_delay_seconds_count 3");
    expect_line("dflockd_leases_ended_total 3");
    end();
}

static void a_shortage_of_memory_fails_the_text(void **state)
{
    (void)state;
    start(defaults);
    metrics.memory.fail_after = 0;
    write_text();
    assert_true(metrics.text.failed);
    end();
}

static int print(void)
{
    struct peer *one;

    start(defaults);
    one = connect_peer();
    send_text(one, "l\nk\n0 30\nl\nk\n0 30\n");
    write_text();
    fwrite(metrics.text.bytes, 1, metrics.text.length, stdout);
    return 0;
}

int main(int count, char **arguments)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_server_has_zeros),
        cmocka_unit_test(a_draining_server_is_not_ready),
        cmocka_unit_test(requests_count_by_command_and_outcome),
        cmocka_unit_test(a_blocked_request_counts_when_it_is_answered),
        cmocka_unit_test(a_request_before_auth_counts_with_its_command),
        cmocka_unit_test(buckets_are_cumulative),
        cmocka_unit_test(a_shortage_of_memory_fails_the_text),
    };

    (void)arguments;
    return count > 1 ? print() : cmocka_run_group_tests(tests, NULL, NULL);
}
