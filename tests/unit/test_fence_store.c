/*
 * The store of fences, driven as by its worker: fences are stored before they are handed out, the
 * store survives disk failures, and the file has the documented format.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/fence_store.h"

#define MS UINT64_C(1000000)

static char directory[] = "/tmp/test-fence-store-XXXXXX";
static char path[sizeof(directory) + 16];
static char log_path[sizeof(directory) + 16];
static int stderr_kept;

static int create_directory(void **state)
{
    (void)state;
    strcpy(directory, "/tmp/test-fence-store-XXXXXX");
    if (!mkdtemp(directory))
        return -1;
    snprintf(path, sizeof(path), "%s/fences", directory);
    snprintf(log_path, sizeof(log_path), "%s/log", directory);
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    unlink(path);
    unlink(log_path);
    return rmdir(directory);
}

/* Returns the number in the file. */
static uint64_t read_stored(void)
{
    uint8_t bytes[FENCE_FILE_BYTES + 1];
    uint64_t value = 0;
    int file = open(path, O_RDONLY);

    assert_true(file >= 0);
    assert_int_equal(read(file, bytes, sizeof(bytes)), FENCE_FILE_BYTES);
    close(file);
    for (int i = 0; i < FENCE_FILE_BYTES; i++)
        value = value << 8 | bytes[i];
    return value;
}

static void write_file(const void *bytes, size_t length)
{
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

    assert_true(file >= 0);
    assert_int_equal(write(file, bytes, length), length);
    close(file);
}

/* Redirects the log to a file. */
static void log_begin(void)
{
    int file = open(log_path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND, 0600);

    assert_true(file >= 0);
    stderr_kept = dup(STDERR_FILENO);
    dup2(file, STDERR_FILENO);
    close(file);
}

/* Returns how many log lines contain `text`. */
static int count_logged(const char *text)
{
    char line[1024];
    int count = 0;
    FILE *file = fopen(log_path, "r");

    assert_non_null(file);
    while (fgets(line, sizeof(line), file))
        count += strstr(line, text) != NULL;
    fclose(file);
    return count;
}

static void log_end(void)
{
    dup2(stderr_kept, STDERR_FILENO);
    close(stderr_kept);
}

/* ---- the file ---- */

static uint64_t open_at(struct fence_store *store, uint64_t wall_ns)
{
    char problem[FENCE_FILE_PROBLEM_MAX];
    uint64_t first;

    if (!fence_store_open(store, path, wall_ns, &first, problem))
        fail_msg("%s", problem);
    return first;
}

static void a_new_file_is_private_and_holds_the_first_ceiling(void **state)
{
    struct fence_store store;
    struct stat status;

    (void)state;
    assert_int_equal(open_at(&store, 1000), 1000);
    assert_int_equal(store.ceiling, 1000 + FENCE_RANGE);
    assert_int_equal(read_stored(), 1000 + FENCE_RANGE);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    /* With O_NONBLOCK, a write of the ring would fail on a slow device. */
    assert_int_equal(fcntl(store.file, F_GETFL) & O_NONBLOCK, 0);
    close(store.file);
}

static void an_empty_file_counts_as_new(void **state)
{
    struct fence_store store;

    (void)state;
    write_file("", 0);
    assert_int_equal(open_at(&store, 1000), 1000);
    assert_int_equal(read_stored(), 1000 + FENCE_RANGE);
    close(store.file);
}

static void the_file_is_big_endian(void **state)
{
    const uint8_t bytes[FENCE_FILE_BYTES] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef};
    struct fence_store store;

    (void)state;
    write_file(bytes, sizeof(bytes));
    assert_true(open_at(&store, 1) == UINT64_C(0x0123456789abcdef));
    assert_true(read_stored() == UINT64_C(0x0123456789abcdef) + FENCE_RANGE);
    close(store.file);
}

static void fences_start_at_the_later_of_ceiling_and_clock(void **state)
{
    struct fence_store store;

    (void)state;
    assert_int_equal(open_at(&store, 5000), 5000);
    close(store.file);
    assert_int_equal(open_at(&store, 1), 5000 + FENCE_RANGE);
    close(store.file);
    assert_int_equal(open_at(&store, 5000 + 9 * FENCE_RANGE), 5000 + 9 * FENCE_RANGE);
    close(store.file);
}

static void expect_refusal(const char *what, char problem[FENCE_FILE_PROBLEM_MAX])
{
    struct fence_store store;
    uint64_t first;

    assert_false(fence_store_open(&store, path, 1, &first, problem));
    if (!strstr(problem, path) || !strstr(problem, what) || strchr(problem, '\n'))
        fail_msg("expected %s and '%s' in: %s", path, what, problem);
}

/* The check reports the same problem as the start. */
static void expect_refusals(const char *what)
{
    char checked[FENCE_FILE_PROBLEM_MAX] = "";
    char opened[FENCE_FILE_PROBLEM_MAX] = "";

    assert_false(fence_store_check(path, checked));
    expect_refusal(what, opened);
    assert_string_equal(checked, opened);
}

static void a_check_neither_creates_nor_locks_nor_changes_the_file(void **state)
{
    char problem[FENCE_FILE_PROBLEM_MAX] = "";
    struct fence_store store;
    struct stat status;

    (void)state;
    assert_true(fence_store_check(path, problem));
    assert_int_equal(stat(path, &status), -1);
    write_file("", 0);
    assert_true(fence_store_check(path, problem));
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_size, 0);
    open_at(&store, 1000);
    /* While a server uses the file, and afterwards. */
    assert_true(fence_store_check(path, problem));
    assert_int_equal(read_stored(), 1000 + FENCE_RANGE);
    close(store.file);
    assert_true(fence_store_check(path, problem));
    open_at(&store, 1000);
    close(store.file);
    assert_string_equal(problem, "");
}

static void a_file_of_another_size_is_refused_and_unchanged(void **state)
{
    (void)state;
    for (size_t length = 1; length < 20; length++) {
        char bytes[20] = {0};
        struct stat status;

        if (length == FENCE_FILE_BYTES)
            continue;
        write_file(bytes, length);
        expect_refusals("bytes and not 8");
        assert_int_equal(stat(path, &status), 0);
        assert_int_equal(status.st_size, length);
    }
}

static void a_number_too_large_is_refused(void **state)
{
    (void)state;
    write_file("\xff\xff\xff\xff\xff\xff\xff\x00", FENCE_FILE_BYTES);
    expect_refusals("too large");
}

static void other_than_regular_files_are_refused(void **state)
{
    (void)state;
    assert_int_equal(mkdir(path, 0700), 0);
    expect_refusals("directory");
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_refusals("not a regular file");
}

static void a_second_server_is_refused_while_the_first_runs(void **state)
{
    char problem[FENCE_FILE_PROBLEM_MAX] = "";
    struct fence_store store;

    (void)state;
    open_at(&store, 1000);
    expect_refusal("in use by another server", problem);
    assert_int_equal(read_stored(), 1000 + FENCE_RANGE);
    close(store.file);
    open_at(&store, 1000);
    close(store.file);
}

/* ---- at work ---- */

struct fixture {
    struct fence_store store;
    struct fences fences;
    uint64_t now_ns;
};

static void fixture_start(struct fixture *fixture)
{
    uint64_t first = open_at(&fixture->store, 1000);

    fences_init(&fixture->fences, first, fixture->store.ceiling);
    fence_store_start(&fixture->store, &fixture->fences);
    fixture->now_ns = 50000 * MS;
    log_begin();
}

static void fixture_end(struct fixture *fixture)
{
    log_end();
    close(fixture->store.file);
}

static enum fence_store_io run_store(struct fixture *fixture, uint64_t after_ms)
{
    fixture->now_ns += after_ms * MS;
    return fence_store_step(&fixture->store, fixture->now_ns);
}

static enum fence_store_io finish_io(struct fixture *fixture, int32_t result)
{
    return fence_store_done(&fixture->store, fixture->now_ns, result);
}

static void use_fences(struct fixture *fixture, uint64_t count)
{
    for (; count > 0; count--) {
        assert_true(fences_promise(&fixture->fences));
        fences_take(&fixture->fences);
    }
}

static uint64_t number_of(const uint8_t bytes[FENCE_FILE_BYTES])
{
    uint64_t value = 0;

    for (int i = 0; i < FENCE_FILE_BYTES; i++)
        value = value << 8 | bytes[i];
    return value;
}

static void the_store_is_idle_until_half_of_a_range_is_used(void **state)
{
    struct fixture fixture;

    (void)state;
    fixture_start(&fixture);
    assert_int_equal(run_store(&fixture, 1), FENCE_STORE_NOTHING);
    assert_true(fence_store_deadline(&fixture.store) == UINT64_MAX);
    use_fences(&fixture, FENCE_RANGE / 2 - 1);
    assert_int_equal(run_store(&fixture, 1), FENCE_STORE_NOTHING);
    use_fences(&fixture, 1);
    assert_int_equal(run_store(&fixture, 1), FENCE_STORE_WRITE);
    assert_int_equal(run_store(&fixture, 1), FENCE_STORE_NOTHING);
    fixture_end(&fixture);
}

static void the_ceiling_rises_only_when_it_is_on_disk(void **state)
{
    struct fixture fixture;
    uint64_t first = 1000 + FENCE_RANGE;

    (void)state;
    fixture_start(&fixture);
    for (uint64_t range = 0; range < 5; range++) {
        uint64_t before = first + range * FENCE_RANGE;

        use_fences(&fixture, range == 0 ? FENCE_RANGE / 2 : FENCE_RANGE);
        assert_int_equal(run_store(&fixture, 1), FENCE_STORE_WRITE);
        assert_int_equal(number_of(fixture.store.bytes), before + FENCE_RANGE);
        assert_int_equal(fences_ceiling(&fixture.fences), before);
        assert_int_equal(finish_io(&fixture, FENCE_FILE_BYTES), FENCE_STORE_SYNC);
        assert_int_equal(fences_ceiling(&fixture.fences), before);
        assert_int_equal(finish_io(&fixture, 0), FENCE_STORE_NOTHING);
        assert_int_equal(fences_ceiling(&fixture.fences), before + FENCE_RANGE);
    }
    assert_int_equal(count_logged(""), 0);
    fixture_end(&fixture);
}

static void a_second_range_is_stored_at_once_if_the_first_was_slow(void **state)
{
    struct fixture fixture;

    (void)state;
    fixture_start(&fixture);
    use_fences(&fixture, FENCE_RANGE / 2);
    assert_int_equal(run_store(&fixture, 1), FENCE_STORE_WRITE);
    assert_int_equal(finish_io(&fixture, FENCE_FILE_BYTES), FENCE_STORE_SYNC);
    use_fences(&fixture, FENCE_RANGE / 2);
    assert_int_equal(finish_io(&fixture, 0), FENCE_STORE_NOTHING);
    use_fences(&fixture, FENCE_RANGE / 2);
    assert_int_equal(run_store(&fixture, 1), FENCE_STORE_WRITE);
    assert_int_equal(finish_io(&fixture, FENCE_FILE_BYTES), FENCE_STORE_SYNC);
    use_fences(&fixture, FENCE_RANGE / 2);
    for (uint64_t i = 0; i < FENCE_RANGE / 4; i++)
        assert_false(fences_promise(&fixture.fences));
    assert_int_equal(finish_io(&fixture, 0), FENCE_STORE_NOTHING);
    fixture_end(&fixture);
}

static void a_failed_operation_is_repeated_after_a_pause(void **state)
{
    static const struct {
        int32_t write;
        int32_t sync;
        const char *logged_text;
    } ways[] = {
        {-ENOSPC, 0, "No space left on device"},
        {-EIO, 0, "Input/output error"},
        {3, 0, "No space left on device"},
        {FENCE_FILE_BYTES, -EIO, "Input/output error"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        struct fixture fixture;
        uint64_t before;

        fixture_start(&fixture);
        before = fixture.store.ceiling;
        use_fences(&fixture, FENCE_RANGE / 2);
        assert_int_equal(run_store(&fixture, 1), FENCE_STORE_WRITE);
        if (finish_io(&fixture, ways[i].write) == FENCE_STORE_SYNC)
            assert_int_equal(finish_io(&fixture, ways[i].sync), FENCE_STORE_NOTHING);
        assert_int_equal(fences_ceiling(&fixture.fences), before);
        assert_int_equal(count_logged(ways[i].logged_text), 1);
        assert_int_equal(count_logged("level=WARN"), 1);
        assert_true(fence_store_deadline(&fixture.store) == fixture.now_ns + 250 * MS);
        assert_int_equal(run_store(&fixture, 249), FENCE_STORE_NOTHING);
        assert_int_equal(run_store(&fixture, 1), FENCE_STORE_WRITE);
        assert_int_equal(number_of(fixture.store.bytes), before + FENCE_RANGE);
        assert_int_equal(finish_io(&fixture, FENCE_FILE_BYTES), FENCE_STORE_SYNC);
        assert_int_equal(finish_io(&fixture, 0), FENCE_STORE_NOTHING);
        assert_int_equal(fences_ceiling(&fixture.fences), before + FENCE_RANGE);
        assert_int_equal(count_logged("stored again"), 1);
        fixture_end(&fixture);
        remove_directory(NULL);
        create_directory(NULL);
    }
}

/* Writes fail for this many seconds, as on a full disk. */
static void fail_for(struct fixture *fixture, uint64_t seconds)
{
    for (uint64_t i = 0; i < seconds * 4; i++) {
        assert_int_equal(run_store(fixture, 250), FENCE_STORE_WRITE);
        assert_int_equal(finish_io(fixture, -ENOSPC), FENCE_STORE_NOTHING);
    }
}

static void
a_lasting_failure_is_logged_at_intervals_and_as_an_error_when_no_fence_is_left(void **state)
{
    struct fixture fixture;

    (void)state;
    fixture_start(&fixture);
    use_fences(&fixture, FENCE_RANGE / 2);
    assert_int_equal(run_store(&fixture, 1), FENCE_STORE_WRITE);
    assert_int_equal(finish_io(&fixture, -ENOSPC), FENCE_STORE_NOTHING);
    fail_for(&fixture, 19);
    assert_int_equal(count_logged("level=WARN"), 4);
    use_fences(&fixture, FENCE_RANGE / 2);
    assert_false(fences_promise(&fixture.fences));
    fail_for(&fixture, 1);
    assert_int_equal(count_logged("level=WARN"), 4);
    assert_int_equal(count_logged("level=ERROR"), 1);
    assert_int_equal(run_store(&fixture, 250), FENCE_STORE_WRITE);
    assert_int_equal(finish_io(&fixture, FENCE_FILE_BYTES), FENCE_STORE_SYNC);
    assert_int_equal(finish_io(&fixture, 0), FENCE_STORE_NOTHING);
    assert_int_equal(count_logged("level=INFO"), 1);
    use_fences(&fixture, FENCE_RANGE / 2 - 1);
    fixture_end(&fixture);
}

static void a_disk_that_does_not_respond_is_logged(void **state)
{
    struct fixture fixture;

    (void)state;
    fixture_start(&fixture);
    use_fences(&fixture, FENCE_RANGE / 2);
    assert_int_equal(run_store(&fixture, 1), FENCE_STORE_WRITE);
    assert_true(fence_store_deadline(&fixture.store) == fixture.now_ns + 2000 * MS);
    assert_int_equal(run_store(&fixture, 1999), FENCE_STORE_NOTHING);
    assert_int_equal(count_logged(""), 0);
    assert_int_equal(run_store(&fixture, 1), FENCE_STORE_NOTHING);
    assert_int_equal(count_logged("slow"), 1);
    assert_int_equal(finish_io(&fixture, FENCE_FILE_BYTES), FENCE_STORE_SYNC);
    assert_int_equal(finish_io(&fixture, 0), FENCE_STORE_NOTHING);
    assert_int_equal(count_logged("level=INFO"), 1);
    fixture_end(&fixture);
}

static void a_request_counts_after_its_promise_is_returned(void **state)
{
    struct fixture fixture;

    (void)state;
    fixture_start(&fixture);
    use_fences(&fixture, FENCE_RANGE / 2 - 1);
    assert_true(fences_promise(&fixture.fences));
    assert_true(fences_request(&fixture.fences));
    fences_return(&fixture.fences);
    assert_int_equal(run_store(&fixture, 1), FENCE_STORE_WRITE);
    assert_int_equal(finish_io(&fixture, -EIO), FENCE_STORE_NOTHING);
    assert_int_equal(run_store(&fixture, 250), FENCE_STORE_WRITE);
    fixture_end(&fixture);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, create_directory, remove_directory)
    const struct CMUnitTest tests[] = {
        TEST(a_new_file_is_private_and_holds_the_first_ceiling),
        TEST(an_empty_file_counts_as_new),
        TEST(the_file_is_big_endian),
        TEST(fences_start_at_the_later_of_ceiling_and_clock),
        TEST(a_file_of_another_size_is_refused_and_unchanged),
        TEST(a_number_too_large_is_refused),
        TEST(a_check_neither_creates_nor_locks_nor_changes_the_file),
        TEST(other_than_regular_files_are_refused),
        TEST(a_second_server_is_refused_while_the_first_runs),
        TEST(the_store_is_idle_until_half_of_a_range_is_used),
        TEST(the_ceiling_rises_only_when_it_is_on_disk),
        TEST(a_second_range_is_stored_at_once_if_the_first_was_slow),
        TEST(a_failed_operation_is_repeated_after_a_pause),
        TEST(a_lasting_failure_is_logged_at_intervals_and_as_an_error_when_no_fence_is_left),
        TEST(a_disk_that_does_not_respond_is_logged),
        TEST(a_request_counts_after_its_promise_is_returned),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
