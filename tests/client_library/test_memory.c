/*
 * A lack of memory at each allocation of the library: each one fails in its turn, alone or with all
 * later ones. The call succeeds or returns NO_MEMORY, leaks nothing, and leaves no lock held.
 *
 * This test links the library's objects, whose calls of the allocator come here. GnuTLS and the C
 * library use the real allocator.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "harness.h"
#include "tls_files.h"

enum {
    NEVER = INT32_MAX,
    LONG_KEYS = 40, /* their requests need more than the first buffer */
    LONG_KEY = 200,
    WAIT_S = 10
};

static const char key[] = "short";

/* ---- the allocator ---- */

static _Atomic int32_t failing = NEVER; /* number of the allocation that fails */
static atomic_bool lasting;             /* all later ones fail too */
static _Atomic int32_t allocations;
static _Atomic int32_t live;

static bool take_failure(void)
{
    int32_t number = atomic_fetch_add(&allocations, 1);
    bool failed = lasting ? number >= failing : number == failing;

    if (failed)
        errno = ENOMEM;
    return failed;
}

static void *count_block(void *block)
{
    live += block != NULL;
    return block;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
char *__real_strdup(const char *text);
int __real_posix_memalign(void **block, size_t alignment, size_t size);
void __real_free(void *block);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
char *__wrap_strdup(const char *text);
int __wrap_posix_memalign(void **block, size_t alignment, size_t size);
void __wrap_free(void *block);

void *__wrap_malloc(size_t size)
{
    return take_failure() ? NULL : count_block(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size)
{
    return take_failure() ? NULL : count_block(__real_calloc(count, size));
}

char *__wrap_strdup(const char *text)
{
    return take_failure() ? NULL : count_block(__real_strdup(text));
}

int __wrap_posix_memalign(void **block, size_t alignment, size_t size)
{
    int error = take_failure() ? ENOMEM : __real_posix_memalign(block, alignment, size);

    if (error == 0)
        count_block(*block);
    return error;
}

void __wrap_free(void *block)
{
    live -= block != NULL;
    __real_free(block);
}

/* ---- servers ---- */

struct fixture {
    struct served plain;
    struct served sealed;
    struct tls_made made;
};

static int set_up(void **state)
{
    static struct fixture f;

    tls_made_make(&f.made, -TLS_FILES_DAY_S, TLS_FILES_DAY_S);
    server_start(&f.plain, FLAGS("--default-lease-ttl=1"));
    server_start(&f.sealed, FLAGS("--default-lease-ttl=1", "--tls-cert", f.made.certificate,
                                  "--tls-key", f.made.key));
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    server_kill(&f->plain);
    server_kill(&f->sealed);
    tls_made_remove(&f->made);
    return 0;
}

static struct dflockd_options options_for(const struct fixture *f, bool tls)
{
    static const char *server;
    struct dflockd_options options;

    server = tls ? f->sealed.address : f->plain.address;
    dflockd_options_init(&options);
    options.servers = &server;
    options.server_count = 1;
    options.tls = tls;
    options.tls_ca_file = tls ? f->made.certificate : NULL;
    options.tls_server_name = tls ? "localhost" : NULL;
    return options;
}

/* ---- uses ---- */

/* Returns whether it was DONE. Other statuses must come from the lack of memory. */
static bool is_done(enum dflockd_status status)
{
    bool short_of_memory = status == DFLOCKD_STATUS_NO_MEMORY || status == DFLOCKD_STATUS_LOST;

    if (short_of_memory)
        assert_true(atomic_load(&allocations) > atomic_load(&failing));
    else
        assert_done(status);
    return !short_of_memory;
}

/* Two locks of a client; one waits for the other. */
static void hold_locks(const struct dflockd_options *options)
{
    struct dflockd_client *client = NULL;
    struct dflockd_lock *first = NULL;
    struct dflockd_lock *second = NULL;
    char *json = NULL;

    if (!is_done(dflockd_client_open(&client, options)))
        return;
    if (is_done(dflockd_lock_new(&first, client, key, NULL)) &&
        is_done(dflockd_lock_new(&second, client, key, NULL)) &&
        is_done(dflockd_lock_acquire(first, WAIT_S * 1000)) &&
        is_done(dflockd_lock_renew(first, 0))) {
        enum dflockd_status queued = dflockd_lock_enqueue(second);

        if (queued == DFLOCKD_STATUS_WAITING && is_done(dflockd_client_stats(client, 0, &json)) &&
            is_done(dflockd_lock_release(first)))
            is_done(dflockd_lock_wait(second, WAIT_S * 1000));
        else if (queued != DFLOCKD_STATUS_WAITING)
            assert_false(is_done(queued));
        dflockd_lock_release(first);
        dflockd_lock_release(second);
        is_done(dflockd_locks_acquire(&second, 1, WAIT_S * 1000, NULL));
    }
    free(json);
    dflockd_lock_free(first);
    dflockd_lock_free(second);
    dflockd_client_close(client);
}

static bool receive_reply(struct dflockd_connection *connection, struct dflockd_reply *reply)
{
    enum dflockd_status status;

    while ((status = dflockd_connection_receive(connection, reply)) == DFLOCKD_STATUS_AGAIN) {
        struct pollfd watched = {.fd = dflockd_connection_descriptor(connection),
                                 .events = dflockd_connection_events(connection)};

        assert_true(poll(&watched, 1, WAIT_MS) > 0);
    }
    return is_done(status);
}

/* Many pending requests on a connection, and a long reply. */
static void exchange_requests(const struct dflockd_options *options)
{
    struct dflockd_connection *connection = NULL;
    struct dflockd_request request = {.command = DFLOCKD_ACQUIRE, .timeout_s = WAIT_S};
    struct dflockd_reply reply;
    char long_key[LONG_KEY + 1];
    int sent = 0;

    if (!is_done(dflockd_connection_open(&connection, options, 0)))
        return;
    memset(long_key, 'k', LONG_KEY);
    long_key[LONG_KEY] = '\0';
    request.key = long_key;
    for (; sent < LONG_KEYS; sent++) {
        long_key[0] = (char)('A' + sent);
        if (!is_done(dflockd_connection_send(connection, &request)))
            break;
    }
    request = (struct dflockd_request){.command = DFLOCKD_STATS};
    if (sent == LONG_KEYS && is_done(dflockd_connection_send(connection, &request))) {
        while (sent > 0 && receive_reply(connection, &reply)) {
            assert_done(reply.status);
            sent--;
        }
        if (sent == 0 && receive_reply(connection, &reply))
            assert_non_null(strstr(reply.text, long_key));
    }
    dflockd_connection_close(connection);
}

/* ---- tests ---- */

static void each_allocation_fails(const struct dflockd_options *options,
                                  void (*use)(const struct dflockd_options *), bool all_after)
{
    int32_t number = 0;
    bool met;

    lasting = all_after;
    do {
        allocations = 0;
        failing = number++;
        use(options);
        met = allocations > failing;
        failing = NEVER;
        /* The thread of an abandoned look-up frees its memory later. */
        eventually(live == 0);
    } while (met);
    assert_true(number > 5); /* the library calls these allocators */
    use(options);
}

static void locks_report_a_lack_of_memory_and_leak_nothing(void **state)
{
    for (int i = 0; i < 4; i++) {
        struct dflockd_options options = options_for(*state, i & 1);

        each_allocation_fails(&options, hold_locks, i & 2);
    }
}

static void connections_report_a_lack_of_memory_and_leak_nothing(void **state)
{
    for (int i = 0; i < 4; i++) {
        struct dflockd_options options = options_for(*state, i & 1);

        each_allocation_fails(&options, exchange_requests, i & 2);
    }
}

/* The thread of a look-up returns its result in memory of the library. */
static void look_ups_report_a_lack_of_memory_and_leak_nothing(void **state)
{
    const struct fixture *f = *state;
    char name[64];
    const char *server = name;

    snprintf(name, sizeof(name), "localhost:%d", f->plain.port);
    for (int i = 0; i < 4; i++) {
        struct dflockd_options options = options_for(f, false);

        options.servers = &server;
        each_allocation_fails(&options, i & 1 ? hold_locks : exchange_requests, i & 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(locks_report_a_lack_of_memory_and_leak_nothing),
        cmocka_unit_test(connections_report_a_lack_of_memory_and_leak_nothing),
        cmocka_unit_test(look_ups_report_a_lack_of_memory_and_leak_nothing),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
