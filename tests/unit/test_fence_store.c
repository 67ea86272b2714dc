/*
 * The keeper of fences, as its worker would drive it: nothing is handed out that is not stored
 * first, trouble of the disk is outlived, and the file is what other servers expect of it.
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

static char place[] = "/tmp/test-fence-keeper-XXXXXX";
static char path[sizeof(place) + 16];
static char log_path[sizeof(place) + 16];
static int stderr_kept;

static int make_place(void **state)
{
    (void)state;
    strcpy(place, "/tmp/test-fence-keeper-XXXXXX");
    if (!mkdtemp(place))
        return -1;
    snprintf(path, sizeof(path), "%s/fences", place);
    snprintf(log_path, sizeof(log_path), "%s/log", place);
    return 0;
}

static int remove_place(void **state)
{
    (void)state;
    unlink(path);
    unlink(log_path);
    return rmdir(place);
}

/* What the file holds, as a number of its 8 bytes. */
static uint64_t stored(void)
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

static void put(const void *bytes, size_t length)
{
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

    assert_true(file >= 0);
    assert_int_equal(write(file, bytes, length), length);
    close(file);
}

/* What it logs from here on goes to a file. */
static void log_begin(void)
{
    int file = open(log_path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND, 0600);

    assert_true(file >= 0);
    stderr_kept = dup(STDERR_FILENO);
    dup2(file, STDERR_FILENO);
    close(file);
}

/* How many lines of the log so far hold `text`. */
static int logged(const char *text)
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

static uint64_t open_at(struct fence_store *keeper, uint64_t wall_ns)
{
    char problem[FENCE_FILE_PROBLEM_MAX];
    uint64_t first;

    if (!fence_store_open(keeper, path, wall_ns, &first, problem))
        fail_msg("%s", problem);
    return first;
}

static void a_new_file_is_its_owners_and_holds_the_first_ceiling(void **state)
{
    struct fence_store keeper;
    struct stat status;

    (void)state;
    assert_int_equal(open_at(&keeper, 1000), 1000);
    assert_int_equal(keeper.ceiling, 1000 + FENCE_RANGE);
    assert_int_equal(stored(), 1000 + FENCE_RANGE);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    /* A write by the ring must not end where the device can't but wait. */
    assert_int_equal(fcntl(keeper.file, F_GETFL) & O_NONBLOCK, 0);
    close(keeper.file);
}

static void an_empty_file_counts_as_new(void **state)
{
    struct fence_store keeper;

    (void)state;
    put("", 0);
    assert_int_equal(open_at(&keeper, 1000), 1000);
    assert_int_equal(stored(), 1000 + FENCE_RANGE);
    close(keeper.file);
}

static void the_file_is_big_endian(void **state)
{
    const uint8_t bytes[FENCE_FILE_BYTES] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef};
    struct fence_store keeper;

    (void)state;
    put(bytes, sizeof(bytes));
    assert_true(open_at(&keeper, 1) == UINT64_C(0x0123456789abcdef));
    assert_true(stored() == UINT64_C(0x0123456789abcdef) + FENCE_RANGE);
    close(keeper.file);
}

static void fences_begin_at_the_later_of_ceiling_and_clock(void **state)
{
    struct fence_store keeper;

    (void)state;
    assert_int_equal(open_at(&keeper, 5000), 5000);
    close(keeper.file);
    assert_int_equal(open_at(&keeper, 1), 5000 + FENCE_RANGE);
    close(keeper.file);
    assert_int_equal(open_at(&keeper, 5000 + 9 * FENCE_RANGE), 5000 + 9 * FENCE_RANGE);
    close(keeper.file);
}

static void expect_refusal(const char *what, char problem[FENCE_FILE_PROBLEM_MAX])
{
    struct fence_store keeper;
    uint64_t first;

    assert_false(fence_store_open(&keeper, path, 1, &first, problem));
    if (!strstr(problem, path) || !strstr(problem, what) || strchr(problem, '\n'))
        fail_msg("expected %s and '%s' in: %s", path, what, problem);
}

/* By a check, with the same words as by a start. */
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
    struct fence_store keeper;
    struct stat status;

    (void)state;
    assert_true(fence_store_check(path, problem));
    assert_int_equal(stat(path, &status), -1);
    put("", 0);
    assert_true(fence_store_check(path, problem));
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_size, 0);
    open_at(&keeper, 1000);
    /* While a server has it, and after. */
    assert_true(fence_store_check(path, problem));
    assert_int_equal(stored(), 1000 + FENCE_RANGE);
    close(keeper.file);
    assert_true(fence_store_check(path, problem));
    open_at(&keeper, 1000);
    close(keeper.file);
    assert_string_equal(problem, "");
}

static void another_size_is_refused_and_left_alone(void **state)
{
    (void)state;
    for (size_t length = 1; length < 20; length++) {
        char bytes[20] = {0};
        struct stat status;

        if (length == FENCE_FILE_BYTES)
            continue;
        put(bytes, length);
        expect_refusals("bytes and not 8");
        assert_int_equal(stat(path, &status), 0);
        assert_int_equal(status.st_size, length);
    }
}

static void a_number_too_large_is_refused(void **state)
{
    (void)state;
    put("\xff\xff\xff\xff\xff\xff\xff\x00", FENCE_FILE_BYTES);
    expect_refusals("too large");
}

static void what_is_no_file_is_refused(void **state)
{
    (void)state;
    assert_int_equal(mkdir(path, 0700), 0);
    expect_refusals("directory");
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_refusals("not a regular file");
}

static void a_second_server_is_refused_while_the_first_one_lives(void **state)
{
    char problem[FENCE_FILE_PROBLEM_MAX] = "";
    struct fence_store keeper;

    (void)state;
    open_at(&keeper, 1000);
    expect_refusal("in use by another server", problem);
    assert_int_equal(stored(), 1000 + FENCE_RANGE);
    close(keeper.file);
    open_at(&keeper, 1000);
    close(keeper.file);
}

/* ---- at work ---- */

struct bench {
    struct fence_store keeper;
    struct fences fences;
    uint64_t now_ns;
};

static void bench_start(struct bench *bench)
{
    uint64_t first = open_at(&bench->keeper, 1000);

    fences_init(&bench->fences, first, bench->keeper.ceiling);
    fence_store_start(&bench->keeper, &bench->fences);
    bench->now_ns = 50000 * MS;
    log_begin();
}

static void bench_end(struct bench *bench)
{
    log_end();
    close(bench->keeper.file);
}

static enum fence_store_io step(struct bench *bench, uint64_t after_ms)
{
    bench->now_ns += after_ms * MS;
    return fence_store_step(&bench->keeper, bench->now_ns);
}

static enum fence_store_io done(struct bench *bench, int32_t result)
{
    return fence_store_done(&bench->keeper, bench->now_ns, result);
}

static void use(struct bench *bench, uint64_t count)
{
    for (; count > 0; count--) {
        assert_true(fences_promise(&bench->fences));
        fences_take(&bench->fences);
    }
}

static uint64_t number_of(const uint8_t bytes[FENCE_FILE_BYTES])
{
    uint64_t value = 0;

    for (int i = 0; i < FENCE_FILE_BYTES; i++)
        value = value << 8 | bytes[i];
    return value;
}

static void it_rests_until_half_of_a_range_is_used(void **state)
{
    struct bench bench;

    (void)state;
    bench_start(&bench);
    assert_int_equal(step(&bench, 1), FENCE_STORE_NOTHING);
    assert_true(fence_store_deadline(&bench.keeper) == UINT64_MAX);
    use(&bench, FENCE_RANGE / 2 - 1);
    assert_int_equal(step(&bench, 1), FENCE_STORE_NOTHING);
    use(&bench, 1);
    assert_int_equal(step(&bench, 1), FENCE_STORE_WRITE);
    assert_int_equal(step(&bench, 1), FENCE_STORE_NOTHING);
    bench_end(&bench);
}

static void the_ceiling_rises_only_when_it_is_on_disk(void **state)
{
    struct bench bench;
    uint64_t first = 1000 + FENCE_RANGE;

    (void)state;
    bench_start(&bench);
    for (uint64_t range = 0; range < 5; range++) {
        uint64_t before = first + range * FENCE_RANGE;

        use(&bench, range == 0 ? FENCE_RANGE / 2 : FENCE_RANGE);
        assert_int_equal(step(&bench, 1), FENCE_STORE_WRITE);
        assert_int_equal(number_of(bench.keeper.bytes), before + FENCE_RANGE);
        assert_int_equal(fences_ceiling(&bench.fences), before);
        assert_int_equal(done(&bench, FENCE_FILE_BYTES), FENCE_STORE_SYNC);
        assert_int_equal(fences_ceiling(&bench.fences), before);
        assert_int_equal(done(&bench, 0), FENCE_STORE_NOTHING);
        assert_int_equal(fences_ceiling(&bench.fences), before + FENCE_RANGE);
    }
    assert_int_equal(logged(""), 0);
    bench_end(&bench);
}

static void after_a_long_wait_it_goes_on_at_once_until_there_are_enough(void **state)
{
    struct bench bench;

    (void)state;
    bench_start(&bench);
    use(&bench, FENCE_RANGE / 2);
    assert_int_equal(step(&bench, 1), FENCE_STORE_WRITE);
    assert_int_equal(done(&bench, FENCE_FILE_BYTES), FENCE_STORE_SYNC);
    use(&bench, FENCE_RANGE / 2);
    assert_int_equal(done(&bench, 0), FENCE_STORE_NOTHING);
    use(&bench, FENCE_RANGE / 2);
    assert_int_equal(step(&bench, 1), FENCE_STORE_WRITE);
    assert_int_equal(done(&bench, FENCE_FILE_BYTES), FENCE_STORE_SYNC);
    use(&bench, FENCE_RANGE / 2);
    for (uint64_t i = 0; i < FENCE_RANGE / 4; i++)
        assert_false(fences_promise(&bench.fences));
    assert_int_equal(done(&bench, 0), FENCE_STORE_NOTHING);
    bench_end(&bench);
}

static void what_fails_is_tried_again_after_a_pause(void **state)
{
    static const struct {
        int32_t write;
        int32_t sync;
        const char *told;
    } ways[] = {
        {-ENOSPC, 0, "No space left on device"},
        {-EIO, 0, "Input/output error"},
        {3, 0, "No space left on device"},
        {FENCE_FILE_BYTES, -EIO, "Input/output error"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        struct bench bench;
        uint64_t before;

        bench_start(&bench);
        before = bench.keeper.ceiling;
        use(&bench, FENCE_RANGE / 2);
        assert_int_equal(step(&bench, 1), FENCE_STORE_WRITE);
        if (done(&bench, ways[i].write) == FENCE_STORE_SYNC)
            assert_int_equal(done(&bench, ways[i].sync), FENCE_STORE_NOTHING);
        assert_int_equal(fences_ceiling(&bench.fences), before);
        assert_int_equal(logged(ways[i].told), 1);
        assert_int_equal(logged("level=WARN"), 1);
        assert_true(fence_store_deadline(&bench.keeper) == bench.now_ns + 250 * MS);
        assert_int_equal(step(&bench, 249), FENCE_STORE_NOTHING);
        assert_int_equal(step(&bench, 1), FENCE_STORE_WRITE);
        assert_int_equal(number_of(bench.keeper.bytes), before + FENCE_RANGE);
        assert_int_equal(done(&bench, FENCE_FILE_BYTES), FENCE_STORE_SYNC);
        assert_int_equal(done(&bench, 0), FENCE_STORE_NOTHING);
        assert_int_equal(fences_ceiling(&bench.fences), before + FENCE_RANGE);
        assert_int_equal(logged("stored again"), 1);
        bench_end(&bench);
        remove_place(NULL);
        make_place(NULL);
    }
}

/* Fails for so long, as a disk that is full does. */
static void fail_for(struct bench *bench, uint64_t seconds)
{
    for (uint64_t i = 0; i < seconds * 4; i++) {
        assert_int_equal(step(bench, 250), FENCE_STORE_WRITE);
        assert_int_equal(done(bench, -ENOSPC), FENCE_STORE_NOTHING);
    }
}

static void lasting_trouble_is_told_now_and_then_and_loudly_at_the_end(void **state)
{
    struct bench bench;

    (void)state;
    bench_start(&bench);
    use(&bench, FENCE_RANGE / 2);
    assert_int_equal(step(&bench, 1), FENCE_STORE_WRITE);
    assert_int_equal(done(&bench, -ENOSPC), FENCE_STORE_NOTHING);
    fail_for(&bench, 19);
    assert_int_equal(logged("level=WARN"), 4);
    use(&bench, FENCE_RANGE / 2);
    assert_false(fences_promise(&bench.fences));
    fail_for(&bench, 1);
    assert_int_equal(logged("level=WARN"), 4);
    assert_int_equal(logged("level=ERROR"), 1);
    assert_int_equal(step(&bench, 250), FENCE_STORE_WRITE);
    assert_int_equal(done(&bench, FENCE_FILE_BYTES), FENCE_STORE_SYNC);
    assert_int_equal(done(&bench, 0), FENCE_STORE_NOTHING);
    assert_int_equal(logged("level=INFO"), 1);
    use(&bench, FENCE_RANGE / 2 - 1);
    bench_end(&bench);
}

static void a_disk_that_does_not_answer_is_told(void **state)
{
    struct bench bench;

    (void)state;
    bench_start(&bench);
    use(&bench, FENCE_RANGE / 2);
    assert_int_equal(step(&bench, 1), FENCE_STORE_WRITE);
    assert_true(fence_store_deadline(&bench.keeper) == bench.now_ns + 2000 * MS);
    assert_int_equal(step(&bench, 1999), FENCE_STORE_NOTHING);
    assert_int_equal(logged(""), 0);
    assert_int_equal(step(&bench, 1), FENCE_STORE_NOTHING);
    assert_int_equal(logged("slow"), 1);
    assert_int_equal(done(&bench, FENCE_FILE_BYTES), FENCE_STORE_SYNC);
    assert_int_equal(done(&bench, 0), FENCE_STORE_NOTHING);
    assert_int_equal(logged("level=INFO"), 1);
    bench_end(&bench);
}

static void who_asked_and_gave_back_is_not_forgotten(void **state)
{
    struct bench bench;

    (void)state;
    bench_start(&bench);
    use(&bench, FENCE_RANGE / 2 - 1);
    assert_true(fences_promise(&bench.fences));
    assert_true(fences_request(&bench.fences));
    fences_return(&bench.fences);
    assert_int_equal(step(&bench, 1), FENCE_STORE_WRITE);
    assert_int_equal(done(&bench, -EIO), FENCE_STORE_NOTHING);
    assert_int_equal(step(&bench, 250), FENCE_STORE_WRITE);
    bench_end(&bench);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_place, remove_place)
    const struct CMUnitTest tests[] = {
        TEST(a_new_file_is_its_owners_and_holds_the_first_ceiling),
        TEST(an_empty_file_counts_as_new),
        TEST(the_file_is_big_endian),
        TEST(fences_begin_at_the_later_of_ceiling_and_clock),
        TEST(another_size_is_refused_and_left_alone),
        TEST(a_number_too_large_is_refused),
        TEST(a_check_neither_creates_nor_locks_nor_changes_the_file),
        TEST(what_is_no_file_is_refused),
        TEST(a_second_server_is_refused_while_the_first_one_lives),
        TEST(it_rests_until_half_of_a_range_is_used),
        TEST(the_ceiling_rises_only_when_it_is_on_disk),
        TEST(after_a_long_wait_it_goes_on_at_once_until_there_are_enough),
        TEST(what_fails_is_tried_again_after_a_pause),
        TEST(lasting_trouble_is_told_now_and_then_and_loudly_at_the_end),
        TEST(a_disk_that_does_not_answer_is_told),
        TEST(who_asked_and_gave_back_is_not_forgotten),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
