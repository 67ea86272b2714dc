/*
 * Who holds and who waits: names of connections, show and revoke.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pwd.h>

#include "harness.h"

enum {
    LOCKS = 8, /* more than those that keep their connections */
    LONG_NAME = 129
};

struct fixture {
    struct served served;
    struct dflockd_client *client;
    struct dflockd_client *administrator;
    struct dflockd_lock *lock;
    atomic_int losses;
};

static void note_loss(void *context, struct dflockd_lock *lock, enum dflockd_status why)
{
    struct fixture *f = context;

    (void)lock;
    assert_status(why, DFLOCKD_STATUS_NOT_HELD);
    f->losses++;
}

static struct dflockd_lock *watched_lock(struct fixture *f, bool shared)
{
    struct dflockd_lock_options options;

    dflockd_lock_options_init(&options);
    options.shared = shared;
    options.lost = note_loss;
    options.context = f;
    return new_lock(f->client, "key", &options);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    server_start(&f->served, FLAGS("--admin-token", "s3cret"));
    f->client = open_client_as(f->served.address, "reader one", NULL);
    f->administrator = open_client_as(f->served.address, NULL, "s3cret");
    f->lock = watched_lock(f, false);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    dflockd_lock_free(f->lock);
    dflockd_client_close(f->client);
    dflockd_client_close(f->administrator);
    server_kill(&f->served);
    free(f);
    return 0;
}

/* Returns whether `show` of the key contains the text. */
static bool shows(const struct fixture *f, const char *key, bool semaphore, const char *text)
{
    char *json;
    bool found;

    assert_done(dflockd_client_show(f->administrator, key, semaphore, &json));
    found = strstr(json, text) != NULL;
    free(json);
    return found;
}

/* ---- names ---- */

static void a_connection_has_the_name_of_its_program(void **state)
{
    struct fixture *f = *state;
    struct dflockd_connection *connection = connect_to(f->served.address);
    struct dflockd_lock *lock = new_lock(f->administrator, "by-client", NULL);
    const struct dflockd_request acquire = {.command = DFLOCKD_ACQUIRE, .key = "by-connection"};
    const struct passwd *user = getpwuid(geteuid());
    struct dflockd_reply reply;
    char host[128] = "";
    char name[512];

    assert_non_null(user);
    gethostname(host, sizeof(host) - 1);
    snprintf(name, sizeof(name), "\"name\":\"%s@%s test_show\"", user->pw_name, host);
    assert_done(dflockd_connection_ask(connection, &acquire, &reply, WAIT_MS));
    assert_done(dflockd_lock_acquire(lock, 0));
    assert_true(shows(f, "by-connection", false, name));
    assert_true(shows(f, "by-client", false, name));
    dflockd_connection_close(connection);
    dflockd_lock_free(lock);
}

/* The first connection probes; later ones send the name with their first request. */
static void every_connection_of_a_client_has_its_name(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *locks[LOCKS];
    char key[16];

    for (int i = 0; i < LOCKS; i++) {
        snprintf(key, sizeof(key), "key-%d", i);
        locks[i] = new_lock(f->client, key, NULL);
        assert_done(dflockd_lock_acquire(locks[i], 0));
        assert_true(shows(f, key, false, "\"name\":\"reader one\""));
    }
    /* Grants that move to the shared connection stay named. */
    sleep_ms(200);
    for (int i = 0; i < LOCKS; i++) {
        snprintf(key, sizeof(key), "key-%d", i);
        assert_true(shows(f, key, false, "\"name\":\"reader one\""));
        dflockd_lock_free(locks[i]);
    }
}

static void an_empty_name_is_not_sent(void **state)
{
    struct fixture *f = *state;
    struct dflockd_client *client = open_client_as(f->served.address, "", NULL);
    struct dflockd_lock *lock = new_lock(client, "key", NULL);

    assert_done(dflockd_lock_acquire(lock, 0));
    assert_true(shows(f, "key", false, "\"name\":\"\""));
    dflockd_lock_free(lock);
    dflockd_client_close(client);
}

static void a_connection_names_itself_later(void **state)
{
    struct fixture *f = *state;
    struct dflockd_connection *connection = connect_as(f->served.address, "");
    const struct dflockd_request acquire = {.command = DFLOCKD_ACQUIRE, .key = "key"};
    const struct dflockd_request name = {.command = DFLOCKD_NAME, .text = "l\xc3\xa4ter"};
    struct dflockd_reply reply;

    assert_done(dflockd_connection_ask(connection, &acquire, &reply, WAIT_MS));
    assert_done(dflockd_connection_ask(connection, &name, &reply, WAIT_MS));
    assert_done(reply.status);
    assert_true(shows(f, "key", false, "\"name\":\"l\xc3\xa4ter\""));
    dflockd_connection_close(connection);
}

static void an_unprintable_name_is_invalid(void **state)
{
    static const char *const names[] = {"\n",   "a\tb",     "\x7f",        "\xff",
                                        "\xc3", "\xc0\xaf", "\xe2\x80\xae"};
    struct fixture *f = *state;
    struct dflockd_connection *connection = connect_as(f->served.address, "");
    char long_name[LONG_NAME + 1];
    char problem[DFLOCKD_PROBLEM_MAX] = "";
    struct dflockd_options options;
    struct dflockd_client *client;
    struct dflockd_request request = {.command = DFLOCKD_NAME};

    assert_status(dflockd_connection_send(connection, &request), DFLOCKD_STATUS_INVALID);
    request.text = "";
    assert_status(dflockd_connection_send(connection, &request), DFLOCKD_STATUS_INVALID);
    memset(long_name, 'x', LONG_NAME);
    long_name[LONG_NAME] = '\0';
    dflockd_options_init(&options);
    options.problem = problem;
    for (size_t i = 0; i <= sizeof(names) / sizeof(names[0]); i++) {
        request.text = options.name = i == 0 ? long_name : names[i - 1];
        assert_status(dflockd_client_open(&client, &options), DFLOCKD_STATUS_INVALID);
        assert_string_equal(problem, "name: must be up to 128 bytes of printable UTF-8");
        assert_status(dflockd_connection_send(connection, &request), DFLOCKD_STATUS_INVALID);
    }
    request.text = long_name + 1;
    assert_done(dflockd_connection_send(connection, &request));
    dflockd_connection_close(connection);
}

/* ---- show ---- */

static void show_has_holders_and_waiters(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *reader = watched_lock(f, true);
    struct dflockd_lock_options options;
    struct dflockd_lock *slot;
    char fence[32];

    dflockd_lock_options_init(&options);
    options.limit = 3;
    slot = new_lock(f->client, "key", &options);
    assert_done(dflockd_lock_acquire(reader, 0));
    assert_status(dflockd_lock_enqueue(f->lock), DFLOCKD_STATUS_WAITING);
    snprintf(fence, sizeof(fence), "\"fence\":\"%016llx\"",
             (unsigned long long)dflockd_lock_fence(reader));
    assert_true(shows(f, "key", false, fence));
    assert_true(shows(f, "key", false, "\"mode\":\"shared\""));
    assert_true(shows(f, "key", false, "\"waiters\":[{\"position\":1,\"mode\":\"exclusive\""));
    assert_done(dflockd_lock_acquire(slot, 0));
    assert_true(shows(f, "key", true, "\"limit\":3"));
    dflockd_lock_free(slot);
    dflockd_lock_free(reader);
}

static void show_of_an_unknown_key_is_not_held(void **state)
{
    struct fixture *f = *state;
    struct dflockd_client *client = open_client_as(f->served.address, "", NULL);
    char *json;

    assert_status(dflockd_client_show(f->client, "key", false, &json), DFLOCKD_STATUS_NOT_HELD);
    assert_null(json);
    assert_status(dflockd_client_show(f->client, "a b", false, &json), DFLOCKD_STATUS_INVALID);
    /* A client without a name finds out that the server knows `show`. */
    assert_status(dflockd_client_show(client, "key", true, &json), DFLOCKD_STATUS_NOT_HELD);
    dflockd_client_close(client);
}

struct streamed {
    size_t length;
    char first;
};

static void add_part(void *context, const char *part, size_t length)
{
    struct streamed *streamed = context;

    if (streamed->length == 0)
        streamed->first = part[0];
    streamed->length += length;
}

static void a_long_show_is_streamed(void **state)
{
    struct fixture *f = *state;
    struct dflockd_connection *connection = connect_to(f->served.address);
    const struct dflockd_request show = {.command = DFLOCKD_SHOW, .key = "key"};
    struct streamed streamed = {0};
    struct dflockd_reply reply;

    assert_done(dflockd_lock_acquire(f->lock, 0));
    assert_done(dflockd_connection_ask(connection, &show, &reply, WAIT_MS));
    assert_int_equal(reply.text_length, strlen(reply.text));
    assert_int_equal(reply.text[reply.text_length - 1], '}');
    dflockd_connection_stream_text(connection, add_part, &streamed);
    assert_done(dflockd_connection_ask(connection, &show, &reply, WAIT_MS));
    assert_null(reply.text);
    assert_int_equal(streamed.length, reply.text_length);
    assert_int_equal(streamed.first, '{');
    dflockd_connection_close(connection);
}

/* ---- revoke ---- */

static void a_revoked_holder_loses_its_lock(void **state)
{
    struct fixture *f = *state;
    uint64_t fence;

    assert_done(dflockd_lock_acquire(f->lock, 0));
    fence = dflockd_lock_fence(f->lock);
    assert_done(dflockd_client_revoke(f->administrator, "key", false, fence));
    assert_true(is_free(f->served.address, "key"));
    assert_status(dflockd_lock_renew(f->lock, 0), DFLOCKD_STATUS_LOST);
    eventually(f->losses == 1);
    assert_true(dflockd_lock_lost(f->lock));
    assert_false(dflockd_lock_held(f->lock));
    assert_status(dflockd_lock_release(f->lock), DFLOCKD_STATUS_LOST);
    assert_done(dflockd_lock_acquire(f->lock, 0));
}

static void a_revoked_reader_is_lost_alone(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *readers[LOCKS];

    for (int i = 0; i < LOCKS; i++) {
        readers[i] = watched_lock(f, true);
        assert_done(dflockd_lock_acquire(readers[i], 0));
    }
    sleep_ms(200); /* the last ones have moved to the shared connection */
    for (int i = 0; i < LOCKS; i += LOCKS - 1)
        assert_done(
            dflockd_client_revoke(f->administrator, "key", false, dflockd_lock_fence(readers[i])));
    for (int i = 0; i < LOCKS; i++) {
        bool revoked = i == 0 || i == LOCKS - 1;

        assert_status(dflockd_lock_renew(readers[i], 0),
                      revoked ? DFLOCKD_STATUS_LOST : DFLOCKD_STATUS_DONE);
    }
    eventually(f->losses == 2);
    for (int i = 0; i < LOCKS; i++)
        dflockd_lock_free(readers[i]);
}

/* The server granted it while it was enqueued, and nothing was sent to the client. */
static void a_revoked_grant_of_a_waiter_is_lost(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *holder = watched_lock(f, false);
    uint64_t fence;

    assert_done(dflockd_lock_acquire(holder, 0));
    assert_status(dflockd_lock_enqueue(f->lock), DFLOCKD_STATUS_WAITING);
    fence = dflockd_lock_fence(holder);
    assert_done(dflockd_lock_release(holder));
    eventually(shows(f, "key", false, "\"holder_count\":1,\"waiter_count\":0"));
    assert_done(dflockd_client_revoke(f->administrator, "key", false, fence + 1));
    assert_status(dflockd_lock_wait(f->lock, WAIT_MS), DFLOCKD_STATUS_LOST);
    assert_false(dflockd_lock_held(f->lock));
    assert_true(is_free(f->served.address, "key"));
    dflockd_lock_free(holder);
}

static void only_an_administrator_revokes_a_grant_that_there_is(void **state)
{
    struct fixture *f = *state;
    uint64_t fence;

    assert_done(dflockd_lock_acquire(f->lock, 0));
    fence = dflockd_lock_fence(f->lock);
    assert_status(dflockd_client_revoke(f->client, "key", false, fence), DFLOCKD_STATUS_NOT_HELD);
    assert_status(dflockd_client_revoke(f->administrator, "key", false, fence + 1),
                  DFLOCKD_STATUS_NOT_HELD);
    assert_status(dflockd_client_revoke(f->administrator, "key", true, fence),
                  DFLOCKD_STATUS_NOT_HELD);
    assert_status(dflockd_client_revoke(f->administrator, "other", false, fence),
                  DFLOCKD_STATUS_NOT_HELD);
    assert_status(dflockd_client_revoke(f->administrator, "a b", false, fence),
                  DFLOCKD_STATUS_INVALID);
    assert_done(dflockd_lock_renew(f->lock, 0));
    assert_done(dflockd_client_revoke(f->administrator, "key", false, fence));
    assert_status(dflockd_client_revoke(f->administrator, "key", false, fence),
                  DFLOCKD_STATUS_NOT_HELD);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_connection_has_the_name_of_its_program),
        TEST(every_connection_of_a_client_has_its_name),
        TEST(an_empty_name_is_not_sent),
        TEST(a_connection_names_itself_later),
        TEST(an_unprintable_name_is_invalid),
        TEST(show_has_holders_and_waiters),
        TEST(show_of_an_unknown_key_is_not_held),
        TEST(a_long_show_is_streamed),
        TEST(a_revoked_holder_loses_its_lock),
        TEST(a_revoked_reader_is_lost_alone),
        TEST(a_revoked_grant_of_a_waiter_is_lost),
        TEST(only_an_administrator_revokes_a_grant_that_there_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
