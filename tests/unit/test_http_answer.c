/*
 * Answers: the status and body of each outcome, and errors with any detail.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "http/answer.h"

#define TOKEN "0123456789abcdeffedcba9876543210"

static struct answer answer;

static void assert_answer(unsigned status, const char *text)
{
    assert_int_equal(answer.status, status);
    assert_int_equal(answer.length, strlen(text));
    assert_memory_equal(answer.text, text, strlen(text));
}

static void reply_to(enum route_endpoint endpoint, int outcome)
{
    const struct lock_answer given = {
        .outcome = outcome,
        .token = {.fence = 0x0123456789abcdef, .salt = 0xfedcba9876543210},
        .lease_s = 33,
    };

    memset(&answer, 0xd7, sizeof(answer));
    answer_outcome(&answer, endpoint, &given);
}

static void assert_error(enum route_endpoint endpoint, int outcome, unsigned status,
                         const char *start)
{
    reply_to(endpoint, outcome);
    assert_int_equal(answer.status, status);
    assert_memory_equal(answer.text, start, strlen(start));
    assert_true(answer.text[strlen(start)] == ',' || answer.text[strlen(start)] == '}');
    assert_memory_equal(answer.text + answer.length - 2, "}\n", 2);
}

static void grants_have_a_token_and_a_lease(void **state)
{
    (void)state;
    reply_to(ROUTE_ACQUIRE, DFLOCKD_OK);
    assert_answer(200, "{\"status\":\"ok\",\"token\":\"" TOKEN "\",\"lease_ttl_s\":33}\n");
    reply_to(ROUTE_WAIT, DFLOCKD_OK);
    assert_answer(200, "{\"status\":\"ok\",\"token\":\"" TOKEN "\",\"lease_ttl_s\":33}\n");
    reply_to(ROUTE_ENQUEUE, DFLOCKD_ACQUIRED);
    assert_answer(200, "{\"status\":\"acquired\",\"token\":\"" TOKEN "\",\"lease_ttl_s\":33}\n");
}

static void other_successes(void **state)
{
    (void)state;
    reply_to(ROUTE_ACQUIRE, DFLOCKD_TIMEOUT);
    assert_answer(200, "{\"status\":\"timeout\"}\n");
    reply_to(ROUTE_WAIT, DFLOCKD_TIMEOUT);
    assert_answer(200, "{\"status\":\"timeout\"}\n");
    reply_to(ROUTE_ENQUEUE, DFLOCKD_QUEUED);
    assert_answer(200, "{\"status\":\"queued\"}\n");
    reply_to(ROUTE_RENEW, DFLOCKD_OK);
    assert_answer(200, "{\"remaining_s\":33}\n");
    reply_to(ROUTE_RELEASE, DFLOCKD_OK);
    assert_answer(204, "");
    reply_to(ROUTE_OWN, DFLOCKD_OK);
    assert_answer(204, "");
    reply_to(ROUTE_REVOKE, DFLOCKD_OK);
    assert_answer(204, "");
}

static void refusals_have_their_status_and_code(void **state)
{
    static const struct {
        int outcome;
        unsigned status;
        const char *start;
    } cases[] = {
        {DFLOCKD_ERROR_MAX_LOCKS, 503, "{\"error\":\"max_locks\""},
        {DFLOCKD_ERROR_MAX_WAITERS, 503, "{\"error\":\"max_waiters\""},
        {DFLOCKD_ERROR_LIMIT_MISMATCH, 409, "{\"error\":\"limit_mismatch\""},
        {DFLOCKD_ERROR_NOT_ENQUEUED, 409, "{\"error\":\"not_enqueued\""},
        {DFLOCKD_ERROR_ALREADY_ENQUEUED, 409, "{\"error\":\"already_enqueued\""},
        {DFLOCKD_ERROR_LEASE_EXPIRED, 409, "{\"error\":\"lease_expired\""},
        {DFLOCKD_ERROR_DRAINING, 503, "{\"error\":\"draining\""},
        {DFLOCKD_ERROR_AUTH, 403, "{\"error\":\"forbidden\""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (int endpoint = ROUTE_ACQUIRE; endpoint <= ROUTE_REVOKE; endpoint++)
            assert_error((enum route_endpoint)endpoint, cases[i].outcome, cases[i].status,
                         cases[i].start);
    }
}

static void an_error_depends_on_the_endpoint(void **state)
{
    (void)state;
    assert_error(ROUTE_RELEASE, DFLOCKD_ERROR, 404, "{\"error\":\"not_held\"");
    assert_error(ROUTE_RENEW, DFLOCKD_ERROR, 404, "{\"error\":\"not_held\"");
    assert_error(ROUTE_OWN, DFLOCKD_ERROR, 404, "{\"error\":\"not_held\"");
    assert_error(ROUTE_REVOKE, DFLOCKD_ERROR, 404, "{\"error\":\"not_held\"");
    assert_error(ROUTE_SHOW, DFLOCKD_ERROR, 404, "{\"error\":\"not_found\"");
    assert_error(ROUTE_ACQUIRE, DFLOCKD_ERROR, 503, "{\"error\":\"unavailable\"");
    assert_error(ROUTE_ENQUEUE, DFLOCKD_ERROR, 503, "{\"error\":\"unavailable\"");
    assert_error(ROUTE_WAIT, DFLOCKD_ERROR, 503, "{\"error\":\"unavailable\"");
}

static void numbers_have_all_their_digits(void **state)
{
    const struct lock_answer given = {.outcome = DFLOCKD_OK, .lease_s = DFLOCKD_SECONDS_MAX};

    (void)state;
    answer_outcome(&answer, ROUTE_ACQUIRE, &given);
    assert_answer(200, "{\"status\":\"ok\",\"token\":\"00000000000000000000000000000000\","
                       "\"lease_ttl_s\":9223372036}\n");
    answer_session(&answer, TOKEN, UINT64_MAX);
    assert_answer(200, "{\"session_id\":\"" TOKEN "\",\"idle_timeout_s\":18446744073709551615}\n");
    answer_session(&answer, TOKEN, 0);
    assert_answer(200, "{\"session_id\":\"" TOKEN "\",\"idle_timeout_s\":0}\n");
}

static void an_error_may_have_a_detail(void **state)
{
    (void)state;
    answer_status(&answer, 503, "draining");
    assert_answer(503, "{\"status\":\"draining\"}\n");
    answer_error(&answer, 401, "unauthorized", NULL);
    assert_answer(401, "{\"error\":\"unauthorized\"}\n");
    answer_error(&answer, 400, "bad_request", "");
    assert_answer(400, "{\"error\":\"bad_request\",\"detail\":\"\"}\n");
    answer_error(&answer, 400, "bad_request", "a \"b\" \\ \n \x7f \xff \xc3\xa4");
    assert_answer(400, "{\"error\":\"bad_request\",\"detail\":\"a \\\"b\\\" \\\\ \\u000a \\u007f "
                       "\xef\xbf\xbd \xc3\xa4\"}\n");
}

static void a_long_detail_is_cut(void **state)
{
    char detail[ANSWER_DETAIL_MAX * 2];

    (void)state;
    for (int byte = 1; byte < 256; byte++) {
        memset(detail, byte, sizeof(detail));
        detail[sizeof(detail) - 1] = '\0';
        answer_error(&answer, 500, "12345678901234567890123456789012", detail);
        assert_true(answer.length <= ANSWER_MAX);
        assert_memory_equal(answer.text + answer.length - 3, "\"}\n", 3);
        if (byte == 'x')
            assert_int_equal(answer.length, 10 + 32 + 12 + ANSWER_DETAIL_MAX + 3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grants_have_a_token_and_a_lease),
        cmocka_unit_test(other_successes),
        cmocka_unit_test(refusals_have_their_status_and_code),
        cmocka_unit_test(an_error_depends_on_the_endpoint),
        cmocka_unit_test(numbers_have_all_their_digits),
        cmocka_unit_test(an_error_may_have_a_detail),
        cmocka_unit_test(a_long_detail_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
