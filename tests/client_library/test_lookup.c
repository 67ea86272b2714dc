/*
 * The library looks up names in threads. This program replaces getaddrinfo(3), so that a test
 * decides when it returns.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <dlfcn.h>
#include <netdb.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "harness.h"

enum {
    LATE_MS = 300,
    TIMEOUT_MS = 300,
    LONG_TIMEOUT_MS = 60000,
    LOOKUPS_MAX = 64, /* LOOKUP_THREADS_MAX of the library */
    MORE = 8,
    RECONNECTS = 200
};

/* ---- names ---- */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool is_silent; /* of silent.test */
static int lookups;    /* running ones */

typedef int lookup_function(const char *host, const char *port, const struct addrinfo *hints,
                            struct addrinfo **found);

static int look_up_really(const char *host, const char *port, const struct addrinfo *hints,
                          struct addrinfo **found)
{
    void *symbol = dlsym(RTLD_NEXT, "getaddrinfo");
    lookup_function *real;

    memcpy(&real, &symbol, sizeof(real)); /* ISO C has no conversion from object to function */
    return real(host, port, hints, found);
}

/* The first address has no listener. Connecting to the second one fails. */
static int look_up_three(const char *port, const struct addrinfo *hints, struct addrinfo **found)
{
    static const char *const addresses[] = {"127.0.0.2", "255.255.255.255", "127.0.0.1"};

    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        int error = look_up_really(addresses[i], port, hints, found);

        if (error)
            return error;
        found = &(*found)->ai_next;
    }
    return 0;
}

static int look_up(const char *host, const char *port, const struct addrinfo *hints,
                   struct addrinfo **found)
{
    pthread_mutex_lock(&mutex);
    while (is_silent && strcmp(host, "silent.test") == 0)
        pthread_cond_wait(&changed, &mutex);
    pthread_mutex_unlock(&mutex);
    if (strcmp(host, "unknown.test") == 0)
        return EAI_NONAME;
    if (strcmp(host, "memory.test") == 0)
        return EAI_MEMORY;
    if (strcmp(host, "system.test") == 0) {
        errno = EIO;
        return EAI_SYSTEM;
    }
    if (strcmp(host, "late.test") == 0)
        sleep_ms(LATE_MS);
    if (strcmp(host, "three.test") == 0)
        return look_up_three(port, hints, found);
    return look_up_really("127.0.0.1", port, hints, found);
}

int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                struct addrinfo **found)
{
    int error;

    if (hints->ai_flags & AI_NUMERICHOST)
        return look_up_really(host, port, hints, found);
    pthread_mutex_lock(&mutex);
    lookups++;
    pthread_mutex_unlock(&mutex);
    error = look_up(host, port, hints, found);
    pthread_mutex_lock(&mutex);
    lookups--;
    pthread_mutex_unlock(&mutex);
    return error;
}

static void set_silent(bool value)
{
    pthread_mutex_lock(&mutex);
    is_silent = value;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
}

static int running_lookups(void)
{
    int count;

    pthread_mutex_lock(&mutex);
    count = lookups;
    pthread_mutex_unlock(&mutex);
    return count;
}

static int count_threads(void)
{
    DIR *tasks = opendir("/proc/self/task");
    int count = 0;

    assert_non_null(tasks);
    for (const struct dirent *entry; (entry = readdir(tasks));)
        count += entry->d_name[0] != '.';
    closedir(tasks);
    return count;
}

static void *do_nothing(void *argument)
{
    return argument;
}

/* A sanitizer starts its own thread with the first one. */
static int start_first_thread(void **state)
{
    pthread_t thread;

    (void)state;
    return pthread_create(&thread, NULL, do_nothing, NULL) || pthread_join(thread, NULL);
}

/* ---- fixtures ---- */

struct fixture {
    struct served served;
    int threads;
};

static int set_up(void **state)
{
    static struct fixture f;

    server_start(&f.served, FLAGS(NULL));
    f.threads = count_threads();
    set_silent(true);
    *state = &f;
    return 0;
}

/* The thread of an abandoned look-up still runs; none may outlive the test. */
static int tear_down(void **state)
{
    struct fixture *f = *state;

    set_silent(false);
    eventually(count_threads() == f->threads);
    server_kill(&f->served);
    return 0;
}

static enum dflockd_status open_name(struct dflockd_connection **connection,
                                     const struct fixture *f, const char *name, uint32_t timeout_ms,
                                     char problem[DFLOCKD_PROBLEM_MAX])
{
    char address[64];
    const char *server = address;
    struct dflockd_options options;

    snprintf(address, sizeof(address), "%s:%d", name, f->served.port);
    dflockd_options_init(&options);
    options.servers = &server;
    options.server_count = 1;
    options.connect_timeout_ms = timeout_ms;
    options.problem = problem;
    return dflockd_connection_open(connection, &options, 0);
}

static struct dflockd_connection *connect_by_name(const struct fixture *f, const char *name,
                                                  uint32_t timeout_ms)
{
    struct dflockd_connection *connection;

    assert_done(open_name(&connection, f, name, timeout_ms, NULL));
    return connection;
}

static enum dflockd_status send_ping(struct dflockd_connection *connection)
{
    const struct dflockd_request request = {.command = DFLOCKD_PING};
    struct dflockd_reply reply;
    enum dflockd_status status =
        dflockd_connection_ask(connection, &request, &reply, LONG_TIMEOUT_MS);

    return status == DFLOCKD_STATUS_DONE ? reply.status : status;
}

static void assert_ends(struct dflockd_connection *connection, enum dflockd_status status,
                        const char *problem)
{
    assert_status(send_ping(connection), status);
    if (!strstr(dflockd_connection_problem(connection), problem))
        fail_msg("problem: %s", dflockd_connection_problem(connection));
    dflockd_connection_close(connection);
}

/* ---- tests ---- */

static void opening_does_not_wait_for_the_look_up(void **state)
{
    struct dflockd_connection *connection = connect_by_name(*state, "silent.test", LONG_TIMEOUT_MS);
    struct dflockd_reply reply;
    struct pollfd watched = {.fd = dflockd_connection_descriptor(connection),
                             .events = dflockd_connection_events(connection)};

    assert_true(watched.fd >= 0);
    assert_int_equal(watched.events, POLLIN);
    assert_in_range(dflockd_connection_timeout(connection), 1, LONG_TIMEOUT_MS + 1);
    assert_int_equal(poll(&watched, 1, 100), 0);
    assert_status(dflockd_connection_receive(connection, &reply), DFLOCKD_STATUS_AGAIN);
    set_silent(false);
    assert_int_equal(poll(&watched, 1, WAIT_MS), 1);
    assert_done(send_ping(connection));
    dflockd_connection_close(connection);
}

static void the_connect_timeout_covers_the_look_up(void **state)
{
    int64_t begin = now_ms();

    assert_ends(connect_by_name(*state, "silent.test", TIMEOUT_MS), DFLOCKD_STATUS_UNREACHABLE,
                "cannot resolve the host: timed out");
    assert_in_range(now_ms() - begin, TIMEOUT_MS, WAIT_MS);
    eventually(running_lookups() == 1);
}

static void closing_does_not_wait_for_the_look_up(void **state)
{
    dflockd_connection_close(connect_by_name(*state, "silent.test", LONG_TIMEOUT_MS));
    eventually(running_lookups() == 1);
}

static void *cancel_later(void *lock)
{
    eventually(running_lookups() == 1);
    sleep_ms(50);
    dflockd_lock_cancel(lock);
    return NULL;
}

static void cancel_ends_an_acquire_during_the_look_up(void **state)
{
    struct dflockd_client *client;
    struct dflockd_lock *lock;
    pthread_t thread;

    (void)state;
    client = open_client("silent.test");
    lock = new_lock(client, "key", NULL);
    assert_int_equal(pthread_create(&thread, NULL, cancel_later, lock), 0);
    assert_status(dflockd_lock_acquire(lock, 100000), DFLOCKD_STATUS_CANCELLED);
    pthread_join(thread, NULL);
    assert_int_equal(running_lookups(), 1);
    dflockd_lock_free(lock);
    dflockd_client_close(client);
}

static void a_late_result_is_used(void **state)
{
    struct dflockd_connection *connection = connect_by_name(*state, "late.test", LONG_TIMEOUT_MS);

    assert_done(send_ping(connection));
    dflockd_connection_close(connection);
}

/* An event loop compares numbers to notice another descriptor. */
static void each_address_is_tried_on_a_descriptor_with_another_number(void **state)
{
    struct dflockd_connection *connection = connect_by_name(*state, "three.test", LONG_TIMEOUT_MS);
    const struct dflockd_request request = {.command = DFLOCKD_PING};
    struct dflockd_reply reply;
    enum dflockd_status status;
    int last = -1;
    ino_t last_inode = 0;

    assert_done(dflockd_connection_send(connection, &request));
    do {
        struct pollfd watched = {.fd = dflockd_connection_descriptor(connection),
                                 .events = dflockd_connection_events(connection)};
        struct stat found;

        assert_int_equal(fstat(watched.fd, &found), 0);
        if (watched.fd == last && S_ISSOCK(found.st_mode))
            assert_int_equal(found.st_ino, last_inode);
        last = watched.fd;
        last_inode = found.st_ino;
        assert_true(poll(&watched, 1, WAIT_MS) > 0);
        status = dflockd_connection_receive(connection, &reply);
    } while (status == DFLOCKD_STATUS_AGAIN);
    assert_done(status);
    dflockd_connection_close(connection);
}

static void a_failed_look_up_has_a_reason(void **state)
{
    const struct {
        const char *name;
        enum dflockd_status status;
        const char *problem;
    } cases[] = {
        {"unknown.test", DFLOCKD_STATUS_UNREACHABLE, gai_strerror(EAI_NONAME)},
        {"memory.test", DFLOCKD_STATUS_NO_MEMORY, gai_strerror(EAI_MEMORY)},
        {"system.test", DFLOCKD_STATUS_UNREACHABLE, strerror(EIO)},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char problem[128];

        snprintf(problem, sizeof(problem), "%s:%d: cannot resolve the host: %s", cases[i].name,
                 ((struct fixture *)*state)->served.port, cases[i].problem);
        assert_ends(connect_by_name(*state, cases[i].name, LONG_TIMEOUT_MS), cases[i].status,
                    problem);
    }
}

static void look_ups_beyond_the_limit_are_delayed(void **state)
{
    struct fixture *f = *state;
    struct dflockd_connection *connections[LOOKUPS_MAX + MORE];

    for (int i = 0; i < LOOKUPS_MAX + MORE; i++)
        connections[i] = connect_by_name(f, "silent.test", LONG_TIMEOUT_MS);
    eventually(running_lookups() == LOOKUPS_MAX);
    assert_ends(connect_by_name(f, "late.test", TIMEOUT_MS), DFLOCKD_STATUS_UNREACHABLE,
                "cannot resolve the host: timed out behind other look-ups");
    assert_int_equal(running_lookups(), LOOKUPS_MAX);
    set_silent(false);
    for (int i = 0; i < LOOKUPS_MAX + MORE; i++) {
        assert_done(send_ping(connections[i]));
        dflockd_connection_close(connections[i]);
    }
}

static void repeated_reconnecting_does_not_pile_up_threads(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < RECONNECTS; i++)
        dflockd_connection_close(connect_by_name(f, "silent.test", LONG_TIMEOUT_MS));
    eventually(running_lookups() == LOOKUPS_MAX);
    assert_true(count_threads() <= f->threads + LOOKUPS_MAX);
}

static void a_number_needs_no_look_up(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < LOOKUPS_MAX; i++)
        dflockd_connection_close(connect_by_name(f, "silent.test", LONG_TIMEOUT_MS));
    for (int i = 0; i < 2; i++) {
        struct dflockd_connection *connection =
            connect_by_name(f, i ? "[::ffff:127.0.0.1]" : "127.0.0.1", LONG_TIMEOUT_MS);

        assert_done(send_ping(connection));
        dflockd_connection_close(connection);
    }
}

#ifndef __SANITIZE_THREAD__ /* ThreadSanitizer forbids threads in a child */
/* The threads of the parent do not count in a child. */
static void a_child_can_look_up_while_its_parent_does(void **state)
{
    struct fixture *f = *state;
    struct dflockd_connection *connection;
    int status;
    pid_t child;

    for (int i = 0; i < LOOKUPS_MAX; i++)
        dflockd_connection_close(connect_by_name(f, "silent.test", LONG_TIMEOUT_MS));
    eventually(running_lookups() == LOOKUPS_MAX);
    child = fork();
    if (child == 0) {
        if (open_name(&connection, f, "late.test", LONG_TIMEOUT_MS, NULL) == DFLOCKD_STATUS_DONE &&
            send_ping(connection) == DFLOCKD_STATUS_DONE)
            /* Not _exit: valgrind would report the memory of the parent's threads. */
            execl("/bin/true", "true", (char *)NULL);
        _exit(1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}
#endif

static void a_failed_thread_returns_no_memory(void **state)
{
    struct dflockd_connection *connection;
    pthread_attr_t usual;
    pthread_attr_t huge;
    char problem[DFLOCKD_PROBLEM_MAX] = "";
    enum dflockd_status status;

    assert_int_equal(pthread_getattr_default_np(&usual), 0);
    pthread_attr_init(&huge);
    pthread_attr_setstacksize(&huge, (size_t)1 << 50);
    assert_int_equal(pthread_setattr_default_np(&huge), 0);
    status = open_name(&connection, *state, "late.test", LONG_TIMEOUT_MS, problem);
    assert_int_equal(pthread_setattr_default_np(&usual), 0);
    pthread_attr_destroy(&usual);
    pthread_attr_destroy(&huge);
    assert_status(status, DFLOCKD_STATUS_NO_MEMORY);
    assert_null(connection);
    assert_non_null(strstr(problem, "cannot resolve the host: cannot start a thread"));
    assert_done(open_name(&connection, *state, "late.test", LONG_TIMEOUT_MS, problem));
    assert_done(send_ping(connection));
    dflockd_connection_close(connection);
}

static void a_lack_of_descriptors_returns_no_memory(void **state)
{
    struct dflockd_connection *connection;
    struct rlimit before;
    struct rlimit none;
    char problem[DFLOCKD_PROBLEM_MAX] = "";
    enum dflockd_status status;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    status = open_name(&connection, *state, "late.test", LONG_TIMEOUT_MS, problem);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_status(status, DFLOCKD_STATUS_NO_MEMORY);
    assert_non_null(strstr(problem, strerror(EMFILE)));
}

/* A signal to the process must reach a thread of the program. */
static void a_look_ups_thread_blocks_all_signals(void **state)
{
    struct dflockd_connection *connection = connect_by_name(*state, "silent.test", LONG_TIMEOUT_MS);
    sigset_t all;
    sigset_t before;
    sigset_t pending;

    eventually(running_lookups() == 1);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    kill(getpid(), SIGUSR2);
    sleep_ms(100);
    sigpending(&pending);
    assert_true(sigismember(&pending, SIGUSR2));
    signal(SIGUSR2, SIG_IGN);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    dflockd_connection_close(connection);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(opening_does_not_wait_for_the_look_up),
        TEST(the_connect_timeout_covers_the_look_up),
        TEST(closing_does_not_wait_for_the_look_up),
        TEST(cancel_ends_an_acquire_during_the_look_up),
        TEST(a_late_result_is_used),
        TEST(each_address_is_tried_on_a_descriptor_with_another_number),
        TEST(a_failed_look_up_has_a_reason),
        TEST(look_ups_beyond_the_limit_are_delayed),
        TEST(repeated_reconnecting_does_not_pile_up_threads),
        TEST(a_number_needs_no_look_up),
#ifndef __SANITIZE_THREAD__
        TEST(a_child_can_look_up_while_its_parent_does),
#endif
        TEST(a_failed_thread_returns_no_memory),
        TEST(a_lack_of_descriptors_returns_no_memory),
        TEST(a_look_ups_thread_blocks_all_signals),
    };

    return cmocka_run_group_tests(tests, start_first_thread, NULL);
}
