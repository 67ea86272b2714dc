/*
 * Requests of the client library byte for byte, the statuses of their replies, and what replies
 * tell about a server.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client/claim_text.c"
#include "client/codec.c"
#include "client/extensions.c"
#include "client/name.c"
#include "client/status.c"

#define TOKEN "00112233445566778899aabbccddeeff"

const char *dflockd_connection_problem(const struct dflockd_connection *connection)
{
    (void)connection;
    return "";
}

static void assert_encoded(const struct dflockd_request *request, const char *expected)
{
    uint8_t bytes[512];
    size_t length;

    assert_true(codec_request_is_valid(request));
    assert_true(codec_request_size_max(request) <= sizeof(bytes));
    length = codec_encode_request(bytes, request);
    assert_true(length < codec_request_size_max(request));
    assert_int_equal(length, strlen(expected));
    assert_memory_equal(bytes, expected, length);
}

static void assert_claim_sends(const struct claim_terms *terms, enum dflockd_command command,
                               const char *expected)
{
    struct claim claim = {.terms = *terms, .lease.token = TOKEN};
    struct dflockd_request request = claim_request(&claim, command);

    request.timeout_s = 5;
    assert_encoded(&request, expected);
}

static enum dflockd_status parse(enum dflockd_command command, const char *line)
{
    struct dflockd_reply reply;

    assert_true(codec_parse_reply(&reply, command, line, strlen(line)));
    return reply.status;
}

/* ---- kinds of claims ---- */

static void only_a_shared_claim_sends_shared_requests(void **state)
{
    const struct claim_terms exclusive = {.key = "k", .lease_s = 9};
    const struct claim_terms shared = {.key = "k", .lease_s = 9, .shared = true};
    const struct claim_terms slot = {.key = "k", .lease_s = 9, .limit = 3};

    (void)state;
    assert_claim_sends(&exclusive, DFLOCKD_ACQUIRE, "l\nk\n5 9\n");
    assert_claim_sends(&exclusive, DFLOCKD_ENQUEUE, "e\nk\n9\n");
    assert_claim_sends(&shared, DFLOCKD_ACQUIRE, "rl\nk\n5 9\n");
    assert_claim_sends(&shared, DFLOCKD_ENQUEUE, "re\nk\n9\n");
    assert_claim_sends(&slot, DFLOCKD_ACQUIRE, "sl\nk\n5 3 9\n");
    assert_claim_sends(&slot, DFLOCKD_ENQUEUE, "se\nk\n3 9\n");
}

static void shared_claims_wait_renew_and_release_as_exclusive_ones(void **state)
{
    (void)state;
    for (int shared = 0; shared < 2; shared++) {
        const struct claim_terms terms = {.key = "k", .lease_s = 9, .shared = shared};

        assert_claim_sends(&terms, DFLOCKD_WAIT, "w\nk\n5\n");
        assert_claim_sends(&terms, DFLOCKD_RENEW, "n\nk\n" TOKEN " 9\n");
        assert_claim_sends(&terms, DFLOCKD_RELEASE, "r\nk\n" TOKEN "\n");
        assert_claim_sends(&terms, DFLOCKD_OWN, "own\nk\nl " TOKEN "\n");
    }
}

static void the_problem_names_shared_locks(void **state)
{
    struct claim claim = {.terms.shared = true, .server = "host:1"};

    (void)state;
    claim_note_problem(&claim, DFLOCKD_STATUS_UNSUPPORTED);
    assert_string_equal(claim.problem, "host:1: this server does not support shared locks");
}

/* ---- other requests ---- */

static void show_revoke_and_name_are_encoded(void **state)
{
    struct dflockd_request request = {.command = DFLOCKD_SHOW, .key = "k"};

    (void)state;
    assert_encoded(&request, "show\nk\nl\n");
    request.semaphore = true;
    assert_encoded(&request, "show\nk\ns\n");
    request.command = DFLOCKD_REVOKE;
    request.fence = 0xabc;
    assert_encoded(&request, "revoke\nk\ns 0000000000000abc\n");
    request.semaphore = false;
    request.fence = UINT64_MAX;
    assert_encoded(&request, "revoke\nk\nl ffffffffffffffff\n");
    request = (struct dflockd_request){.command = DFLOCKD_NAME, .text = "me@here a b"};
    assert_encoded(&request, "name\n_\nme@here a b\n");
}

/* `error` to a shared request must not look like a failure that a caller may retry otherwise. */
static void error_has_a_status_for_each_command(void **state)
{
    static const enum dflockd_status statuses[DFLOCKD_COMMAND_COUNT] = {
        [DFLOCKD_ACQUIRE] = DFLOCKD_STATUS_FAILED,
        [DFLOCKD_ENQUEUE] = DFLOCKD_STATUS_FAILED,
        [DFLOCKD_WAIT] = DFLOCKD_STATUS_FAILED,
        [DFLOCKD_RELEASE] = DFLOCKD_STATUS_NOT_HELD,
        [DFLOCKD_RENEW] = DFLOCKD_STATUS_NOT_HELD,
        [DFLOCKD_SEMAPHORE_ACQUIRE] = DFLOCKD_STATUS_FAILED,
        [DFLOCKD_SEMAPHORE_ENQUEUE] = DFLOCKD_STATUS_FAILED,
        [DFLOCKD_SEMAPHORE_WAIT] = DFLOCKD_STATUS_FAILED,
        [DFLOCKD_SEMAPHORE_RELEASE] = DFLOCKD_STATUS_NOT_HELD,
        [DFLOCKD_SEMAPHORE_RENEW] = DFLOCKD_STATUS_NOT_HELD,
        [DFLOCKD_PING] = DFLOCKD_STATUS_FAILED,
        [DFLOCKD_STATS] = DFLOCKD_STATUS_FAILED,
        [DFLOCKD_AUTH] = DFLOCKD_STATUS_FAILED,
        [DFLOCKD_OWN] = DFLOCKD_STATUS_NOT_HELD,
        [DFLOCKD_ACQUIRE_SHARED] = DFLOCKD_STATUS_UNSUPPORTED,
        [DFLOCKD_ENQUEUE_SHARED] = DFLOCKD_STATUS_UNSUPPORTED,
        [DFLOCKD_NAME] = DFLOCKD_STATUS_UNSUPPORTED,
        [DFLOCKD_SHOW] = DFLOCKD_STATUS_NOT_HELD,
        [DFLOCKD_REVOKE] = DFLOCKD_STATUS_NOT_HELD,
    };

    (void)state;
    for (unsigned i = 0; i < DFLOCKD_COMMAND_COUNT; i++)
        assert_string_equal(dflockd_status_text(parse(i, "error")),
                            dflockd_status_text(statuses[i]));
}

/* ---- what a server understands ---- */

static void take_probe(struct extensions *extensions, const char *line)
{
    struct dflockd_reply reply;

    assert_true(codec_parse_reply(&reply, extensions_probe().command, line, strlen(line)));
    extensions_take_probe(extensions, &reply);
}

static void the_probe_holds_and_changes_nothing(void **state)
{
    const struct dflockd_request probe = extensions_probe();

    (void)state;
    assert_encoded(&probe, "w\ndflockd-probe\n0\n");
}

static void a_reply_to_the_probe_tells_whether_unknown_commands_are_safe(void **state)
{
    struct extensions extensions = {0};

    (void)state;
    take_probe(&extensions, "error_draining");
    assert_int_equal(extensions.survives, KNOWLEDGE_NONE);
    take_probe(&extensions, "error_not_enqueued");
    assert_int_equal(extensions.survives, KNOWLEDGE_YES);
    take_probe(&extensions, "error");
    assert_int_equal(extensions.survives, KNOWLEDGE_NO);
}

static void only_the_end_after_an_extension_makes_a_server_unknown(void **state)
{
    (void)state;
    for (unsigned i = 0; i < DFLOCKD_COMMAND_COUNT; i++) {
        struct extensions extensions = {.survives = KNOWLEDGE_YES};

        extensions_disconnected(&extensions, i);
        assert_int_equal(extensions.survives, i >= DFLOCKD_OWN ? KNOWLEDGE_NONE : KNOWLEDGE_YES);
    }
}

/* ---- names ---- */

static void a_name_is_cut_between_characters(void **state)
{
    char name[DFLOCKD_NAME_MAX + 1] = "";
    char part[DFLOCKD_NAME_MAX + 8];
    size_t length;

    (void)state;
    assert_int_equal(name_add(name, 0,
                              "a\n\x1b[1m\xff\xc3\xa4\xe2\x80\xae"
                              "b"),
                     7);
    assert_string_equal(name, "a[1m\xc3\xa4"
                              "b");
    assert_true(name_is_valid(name));
    memset(part, 'x', DFLOCKD_NAME_MAX - 1);
    memcpy(part + DFLOCKD_NAME_MAX - 1, "\xc3\xa4", sizeof("\xc3\xa4"));
    assert_false(name_is_valid(part));
    length = name_add(name, 0, part);
    assert_int_equal(length, DFLOCKD_NAME_MAX - 1);
    assert_true(name_is_valid(name));
    memcpy(part + DFLOCKD_NAME_MAX - 2, "\xc3\xa4", sizeof("\xc3\xa4"));
    assert_int_equal(name_add(name, 0, part), DFLOCKD_NAME_MAX);
    assert_true(name_is_valid(name));
}

static void the_built_name_is_valid(void **state)
{
    char name[DFLOCKD_NAME_MAX + 1];

    (void)state;
    name_build(name, "program");
    assert_true(name_is_valid(name));
    assert_non_null(strchr(name, '@'));
    assert_non_null(strstr(name, " program"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_a_shared_claim_sends_shared_requests),
        cmocka_unit_test(shared_claims_wait_renew_and_release_as_exclusive_ones),
        cmocka_unit_test(the_problem_names_shared_locks),
        cmocka_unit_test(show_revoke_and_name_are_encoded),
        cmocka_unit_test(error_has_a_status_for_each_command),
        cmocka_unit_test(the_probe_holds_and_changes_nothing),
        cmocka_unit_test(a_reply_to_the_probe_tells_whether_unknown_commands_are_safe),
        cmocka_unit_test(only_the_end_after_an_extension_makes_a_server_unknown),
        cmocka_unit_test(a_name_is_cut_between_characters),
        cmocka_unit_test(the_built_name_is_valid),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
