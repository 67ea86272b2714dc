/*
 * Programs that were compiled for another version of the library: other sizes of structures.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "harness.h"

/* Structures of a later version, with one more member. */
struct later_options {
    struct dflockd_options known;
    uint64_t unknown;
};

struct later_lock_options {
    struct dflockd_lock_options known;
    uint64_t unknown;
};

static struct served served;

static int set_up(void **state)
{
    (void)state;
    server_start(&served, FLAGS("--threads=1"));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    server_kill(&served);
    return 0;
}

static enum dflockd_status open_with(struct dflockd_options *options)
{
    const char *server = served.address;
    struct dflockd_connection *connection;
    struct dflockd_client *client;
    enum dflockd_status status;

    options->servers = &server;
    options->server_count = 1;
    status = dflockd_client_open(&client, options);
    assert_int_equal(client != NULL, status == DFLOCKD_STATUS_DONE);
    dflockd_client_close(client);
    assert_status(dflockd_connection_open(&connection, options, 0), status);
    dflockd_connection_close(connection);
    return status;
}

static enum dflockd_status make_with(const struct dflockd_lock_options *options)
{
    struct dflockd_client *client = open_client(served.address);
    struct dflockd_lock *lock;
    enum dflockd_status status = dflockd_lock_new(&lock, client, "key", options);

    dflockd_lock_free(lock);
    dflockd_client_close(client);
    return status;
}

static void the_version_is_that_of_the_header(void **state)
{
    (void)state;
    assert_string_equal(dflockd_version(), DFLOCKD_VERSION);
}

static void options_without_a_size_are_refused(void **state)
{
    char problem[DFLOCKD_PROBLEM_MAX] = "untouched";
    struct dflockd_options options = {.connect_timeout_ms = 1, .reply_timeout_ms = 1};
    struct dflockd_lock_options lock_options = {.renew = true, .renew_ratio = 0.5};

    (void)state;
    options.problem = problem;
    for (int i = 0; i < 3; i++) {
        size_t sizes[] = {0, sizeof(size_t) - 1, SIZE_MAX};

        options.size = lock_options.size = sizes[i];
        assert_status(open_with(&options), DFLOCKD_STATUS_INVALID);
        assert_status(make_with(&lock_options), DFLOCKD_STATUS_INVALID);
    }
    assert_string_equal(problem, "untouched");
}

/* Bytes after the size of the program's structure do not count. */
static void an_older_program_gets_the_defaults_of_new_members(void **state)
{
    struct dflockd_options options;
    struct dflockd_lock_options lock_options;

    (void)state;
    memset(&options, 0xee, sizeof(options));
    dflockd_options_init_sized(&options, offsetof(struct dflockd_options, connect_timeout_ms));
    assert_int_equal(options.connect_timeout_ms, 0xeeeeeeee);
    options.reply_timeout_ms = 0;
    assert_done(open_with(&options));
    memset(&lock_options, 0xee, sizeof(lock_options));
    dflockd_lock_options_init_sized(&lock_options,
                                    offsetof(struct dflockd_lock_options, renew_ratio));
    lock_options.renew_ratio = 7;
    assert_done(make_with(&lock_options));
}

static void a_newer_program_may_not_set_a_member_that_the_library_lacks(void **state)
{
    struct later_options options;
    struct later_lock_options lock_options;
    char problem[DFLOCKD_PROBLEM_MAX] = "";

    (void)state;
    dflockd_options_init_sized(&options.known, sizeof(options));
    options.known.problem = problem;
    dflockd_lock_options_init_sized(&lock_options.known, sizeof(lock_options));
    assert_int_equal(options.known.size, sizeof(options));
    assert_int_equal(options.unknown, 0);
    assert_done(open_with(&options.known));
    assert_done(make_with(&lock_options.known));
    options.unknown = UINT64_C(1) << 63;
    lock_options.unknown = 1;
    assert_status(open_with(&options.known), DFLOCKD_STATUS_INVALID);
    assert_status(make_with(&lock_options.known), DFLOCKD_STATUS_INVALID);
    assert_non_null(strstr(problem, "options: a member is set that version " DFLOCKD_VERSION));
}

static void a_request_with_a_reserved_member_is_refused(void **state)
{
    struct dflockd_connection *connection = connect_to(served.address);
    struct dflockd_request request = {.command = DFLOCKD_PING};

    (void)state;
    assert_done(dflockd_connection_send(connection, &request));
    for (size_t i = 0; i < sizeof(request.reserved) / sizeof(request.reserved[0]); i++) {
        request.reserved[i] = 1;
        assert_status(dflockd_connection_send(connection, &request), DFLOCKD_STATUS_INVALID);
        request.reserved[i] = 0;
    }
    dflockd_connection_close(connection);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_version_is_that_of_the_header),
        cmocka_unit_test(options_without_a_size_are_refused),
        cmocka_unit_test(an_older_program_gets_the_defaults_of_new_members),
        cmocka_unit_test(a_newer_program_may_not_set_a_member_that_the_library_lacks),
        cmocka_unit_test(a_request_with_a_reserved_member_is_refused),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
