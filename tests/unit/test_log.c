/*
 * Lines of the log as stderr gets them. It is a socket here that keeps writes apart, so a line that
 * is not written in one go is seen as two.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <regex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "server/log.h"

#define LINE_PATTERN \
    "^time=([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})\\.[0-9]{3}Z level=(.*)\n$"

enum {
    LINE_MAX_BYTES = LOG_LINE_MAX,
    WRITERS = 4,
    LINES_PER_WRITER = 200,
    FLOOD_LINES = 20000, /* more than the buffer and a pipe hold */
    PIPE_LINES = 2000,   /* more than a pipe holds, fewer than the buffer */
    PAUSE_LINES = 1000,
    LAST_LINES = 250, /* tries, within the child's alarm */
    PAUSE_US = 100000,
    DEADLINE_MS = 10000 /* for an action of some milliseconds */
};

/* The former stderr, and the read end of the pipe that replaces it. */
struct capture {
    int stderr_before;
    int reader;
};

/* A line without its time. */
struct line {
    char text[2 * LINE_MAX_BYTES];
    size_t length;
    time_t time;
    char behind_time[2 * LINE_MAX_BYTES]; /* from the level on, without the '\n' */
};

static struct capture capture_begin(void)
{
    struct capture capture;
    int ends[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
    capture.stderr_before = dup(STDERR_FILENO);
    capture.reader = ends[0];
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    return capture;
}

static void capture_end(const struct capture *capture)
{
    dup2(capture->stderr_before, STDERR_FILENO);
    close(capture->stderr_before);
    close(capture->reader);
}

/* Whether there was a line, and it has the shape of one. */
static bool read_line(const struct capture *capture, int flags, struct line *line)
{
    regex_t pattern;
    regmatch_t matches[3];
    struct tm utc = {.tm_sec = 0};
    bool fits;
    ssize_t length = recv(capture->reader, line->text, sizeof(line->text) - 1, flags);

    if (length <= 0)
        return false;
    line->length = (size_t)length;
    line->text[length] = '\0';
    if (regcomp(&pattern, LINE_PATTERN, REG_EXTENDED) != 0)
        return false;
    fits = regexec(&pattern, line->text, 3, matches, 0) == 0 &&
           strlen(line->text) == line->length &&
           strptime(line->text + matches[1].rm_so, "%Y-%m-%dT%H:%M:%S", &utc);
    regfree(&pattern);
    if (!fits)
        return false;
    line->time = timegm(&utc);
    snprintf(line->behind_time, sizeof(line->behind_time), "%.*s",
             (int)(matches[2].rm_eo - matches[2].rm_so), line->text + matches[2].rm_so);
    return true;
}

/* Logs a line of level INFO with one pair, and reads it. */
static bool log_value(const char *value, struct line *line)
{
    struct capture capture = capture_begin();
    bool fits;

    log_line(LOG_INFO, "message", "key", value, NULL);
    fits = read_line(&capture, MSG_DONTWAIT, line);
    capture_end(&capture);
    return fits;
}

static void assert_value_reads(const char *value, const char *text)
{
    struct line line;
    char expected[2 * LINE_MAX_BYTES];

    assert_true(log_value(value, &line));
    snprintf(expected, sizeof(expected), "INFO msg=\"message\" key=%s", text);
    assert_string_equal(line.behind_time, expected);
}

static void a_line_has_time_level_message_and_pairs(void **state)
{
    static const struct {
        enum log_level level;
        const char *name;
    } levels[] = {{LOG_INFO, "INFO"}, {LOG_WARN, "WARN"}, {LOG_ERROR, "ERROR"}};

    (void)state;
    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
        struct capture capture = capture_begin();
        struct line line;
        char expected[256];
        bool fits;
        bool another;

        log_line(levels[i].level, "listening", "addr", "127.0.0.1:6388", "threads", "4", NULL);
        fits = read_line(&capture, MSG_DONTWAIT, &line);
        another = recv(capture.reader, expected, 1, MSG_DONTWAIT) >= 0;
        capture_end(&capture);
        assert_true(fits);
        assert_false(another);
        snprintf(expected, sizeof(expected), "%s msg=\"listening\" addr=127.0.0.1:6388 threads=4",
                 levels[i].name);
        assert_string_equal(line.behind_time, expected);
    }
}

static void a_message_needs_no_pairs(void **state)
{
    struct capture capture = capture_begin();
    struct line line;
    bool fits;

    (void)state;
    log_line(LOG_WARN, "two words", NULL);
    fits = read_line(&capture, MSG_DONTWAIT, &line);
    capture_end(&capture);
    assert_true(fits);
    assert_string_equal(line.behind_time, "WARN msg=\"two words\"");
}

/* By the clock that the log reads: that of time() may be a tick behind it. */
static time_t wall_clock_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec;
}

static void the_time_is_the_wall_clock_in_utc(void **state)
{
    struct line line;
    time_t before = wall_clock_s();

    (void)state;
    setenv("TZ", "WEST+5", 1); /* not that of here */
    tzset();
    assert_true(log_value("value", &line));
    unsetenv("TZ");
    tzset();
    assert_in_range(line.time, before, wall_clock_s());
}

static void values_are_quoted_if_needed(void **state)
{
    static const struct {
        const char *value;
        const char *text;
    } cases[] = {
        {"plain", "plain"},
        {"127.0.0.1:6388", "127.0.0.1:6388"},
        {"[::1]:6388", "[::1]:6388"},
        {"/run/a-b_c.sock,1", "/run/a-b_c.sock,1"},
        {"", "\"\""},
        {" ", "\" \""},
        {"two words", "\"two words\""},
        {"a=b", "\"a=b\""},
        {"say \"so\"", "\"say \\\"so\\\"\""},
        {"\"", "\"\\\"\""},
        {"back\\slash", "\"back\\\\slash\""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_value_reads(cases[i].value, cases[i].text);
}

/* A value of any bytes can end neither its line nor its quotes. */
static void a_value_cannot_break_its_line(void **state)
{
    (void)state;
    for (uint32_t byte = 1; byte < 256; byte++) {
        char value[] = {'a', (char)byte, 'b', '\0'};
        struct line line;
        const char *shown;
        size_t length;

        assert_true(log_value(value, &line));
        for (size_t i = 0; i + 1 < line.length; i++)
            assert_true((uint8_t)line.text[i] >= ' ' && line.text[i] != 0x7f);
        shown = strstr(line.behind_time, "key=") + 4;
        length = strlen(shown);
        if (byte > ' ' && byte < 0x7f && byte != '"' && byte != '=' && byte != '\\') {
            assert_string_equal(shown, value);
            continue;
        }
        if (byte >= 0x80)
            continue; /* may stand without quotes */
        assert_int_equal(shown[0], '"');
        assert_int_equal(shown[length - 1], '"');
        assert_true(length >= strlen(value) + 2);
    }
}

static void a_line_that_is_too_long_is_cut_and_ended(void **state)
{
    static char value[3 * LINE_MAX_BYTES];

    (void)state;
    for (size_t length = LINE_MAX_BYTES - 100; length < sizeof(value); length += 13) {
        struct line line;

        memset(value, 'x', length);
        value[length] = '\0';
        assert_true(log_value(value, &line));
        assert_in_range(line.length, LINE_MAX_BYTES - 100, LINE_MAX_BYTES);
    }
}

static void debug_lines_are_written_only_if_enabled(void **state)
{
    struct capture capture = capture_begin();
    bool enabled[3];
    bool written[3];
    struct line line = {.length = 0};

    (void)state;
    for (int i = 0; i < 3; i++) {
        if (i > 0)
            log_set_debug(i == 1);
        enabled[i] = log_enabled(LOG_DEBUG);
        log_line(LOG_DEBUG, "detail", NULL);
        written[i] = read_line(&capture, MSG_DONTWAIT, &line);
    }
    capture_end(&capture);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(enabled[i], i == 1);
        assert_int_equal(written[i], i == 1);
    }
    assert_string_equal(line.behind_time, "DEBUG msg=\"detail\"");
    assert_true(log_enabled(LOG_INFO) && log_enabled(LOG_WARN) && log_enabled(LOG_ERROR));
}

static void a_closed_stderr_stops_no_caller(void **state)
{
    struct capture capture = capture_begin();
    struct line line;

    (void)state;
    close(STDERR_FILENO);
    log_line(LOG_ERROR, "to nobody", NULL);
    capture_end(&capture);
    assert_true(log_value("value", &line)); /* logging works again later */
}

static void *write_lines(void *context)
{
    for (int i = 0; i < LINES_PER_WRITER; i++)
        log_line(LOG_INFO, "from a thread", "writer", context, "again", context, NULL);
    return NULL;
}

static void lines_of_several_threads_do_not_mix(void **state)
{
    static char names[WRITERS][8] = {"one", "two", "three", "four"};
    struct capture capture = capture_begin();
    pthread_t threads[WRITERS];
    uint32_t counts[WRITERS] = {0};
    uint32_t total = 0;
    bool fits = true;

    (void)state;
    for (int i = 0; i < WRITERS; i++)
        pthread_create(&threads[i], NULL, write_lines, names[i]);
    for (; fits && total < WRITERS * LINES_PER_WRITER; total++) {
        struct line line;

        fits = read_line(&capture, 0, &line);
        if (!fits)
            shutdown(capture.reader, SHUT_RDWR); /* so that no writer waits for room */
        for (int i = 0; fits && i < WRITERS; i++) {
            char expected[128];

            snprintf(expected, sizeof(expected), "INFO msg=\"from a thread\" writer=%s again=%s",
                     names[i], names[i]);
            counts[i] += strcmp(line.behind_time, expected) == 0;
        }
    }
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    capture_end(&capture);
    assert_true(fits);
    for (int i = 0; i < WRITERS; i++)
        assert_int_equal(counts[i], LINES_PER_WRITER);
}

static void any_bytes_are_logged_as_ascii(void **state)
{
    static const struct {
        const char *bytes;
        size_t length;
        const char *text;
    } cases[] = {
        {"plain-key_1", 11, "plain-key_1"},
        {"", 0, "\"\""},
        {"a\0b", 3, "\"a\\x00b\""},
        {"gr\xc3\xbcn", 5, "\"gr\\xc3\\xbcn\""},
        {"\xff\n", 2, "\"\\xff\\x0a\""},
        {"x\" msg=\"y", 9, "\"x\\\" msg=\\\"y\""},
        {"a=b", 3, "\"a=b\""},
        {"\\", 1, "\"\\\\\""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct capture capture = capture_begin();
        struct line line;
        char expected[256];
        bool fits;

        log_line_bytes(LOG_INFO, "message", "key", cases[i].bytes, cases[i].length, "kind", "lock",
                       NULL);
        fits = read_line(&capture, MSG_DONTWAIT, &line);
        capture_end(&capture);
        assert_true(fits);
        snprintf(expected, sizeof(expected), "INFO msg=\"message\" key=%s kind=lock",
                 cases[i].text);
        assert_string_equal(line.behind_time, expected);
    }
}

static void the_longest_key_leaves_room_for_the_other_pairs(void **state)
{
    char key[256];
    struct capture capture = capture_begin();
    struct line line;
    bool fits;

    (void)state;
    memset(key, 0xff, sizeof(key));
    log_line_bytes(LOG_INFO, "lease expired", "key", key, sizeof(key), "kind", "semaphore", "conn",
                   "18446744073709551615", "suppressed", "18446744073709551615", NULL);
    fits = read_line(&capture, MSG_DONTWAIT, &line);
    capture_end(&capture);
    assert_true(fits);
    assert_non_null(strstr(line.behind_time, "kind=semaphore conn=18446744073709551615"));
}

/* ---- the thread: each test is a process of its own, since a log that is stuck stays so ---- */

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Runs `act` in a child whose stderr is `descriptor`. Returns whether its checks passed. */
static bool in_child(int descriptor, bool (*act)(int, int), int argument)
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        dup2(descriptor, STDERR_FILENO);
        alarm(DEADLINE_MS / 1000 * 3);
        _exit(act(descriptor, argument) ? 0 : 1);
    }
    return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool flood_log(int lines)
{
    uint64_t start_ms = now_ms();

    for (int i = 0; i < lines; i++)
        log_line(LOG_INFO, "flood", "value", "x", NULL);
    return now_ms() - start_ms < DEADLINE_MS;
}

static bool flood_an_unread_pipe(int descriptor, int nonblocking)
{
    uint64_t start_ms;
    bool fast;

    if (nonblocking)
        fcntl(descriptor, F_SETFL, O_NONBLOCK);
    if (log_start() != 0)
        return false;
    fast = flood_log(FLOOD_LINES);
    start_ms = now_ms();
    /* It cannot write all lines, and returns in time. */
    return fast && !log_stop() && now_ms() - start_ms < LOG_STOP_MS + DEADLINE_MS &&
           now_ms() - start_ms >= LOG_STOP_MS / 2;
}

static void a_full_pipe_delays_no_caller(void **state)
{
    (void)state;
    for (int nonblocking = 0; nonblocking < 2; nonblocking++) {
        int ends[2];

        assert_int_equal(pipe(ends), 0);
        assert_true(in_child(ends[1], flood_an_unread_pipe, nonblocking));
        close(ends[0]);
        close(ends[1]);
    }
}

/* The lines in a pipe up to `last`, and the sum of the reported counts of dropped lines. */
struct tally {
    uint64_t written;
    uint64_t dropped;
    bool ended;
    bool whole; /* each line is complete */
};

/* Pauses after the first lines, so that new ones enter the log's buffer before it is empty. */
static struct tally tally_lines(int descriptor)
{
    FILE *file = fdopen(dup(descriptor), "r");
    struct tally tally = {.whole = true};
    char text[2 * LINE_MAX_BYTES];

    while (!tally.ended && fgets(text, sizeof(text), file)) {
        const char *count = strstr(text, "level=WARN msg=\"log lines dropped\" count=");

        tally.whole = tally.whole && strncmp(text, "time=", 5) == 0 && strchr(text, '\n') &&
                      !strstr(text + 1, "time=");
        if (count)
            tally.dropped += strtoull(strrchr(count, '=') + 1, NULL, 10);
        else if (strstr(text, "msg=\"flood\""))
            tally.written++;
        if (tally.written == PAUSE_LINES)
            usleep(5 * PAUSE_US);
        tally.ended = strstr(text, "msg=\"last\"") != NULL;
    }
    fclose(file);
    return tally;
}

/*
 * This process also has the pipe's read end; a child reads it after the flood. The pipe is full
 * before the buffer is, so that the last lines in the buffer lie directly before the lost ones.
 */
static bool flood_then_read(int descriptor, int reader)
{
    struct tally tally;
    pid_t child;
    int status = -1;
    bool fast;

    (void)descriptor;
    if (log_start() != 0)
        return false;
    flood_log(PIPE_LINES);
    usleep(PAUSE_US); /* for the thread to fill the pipe */
    fast = flood_log(FLOOD_LINES - PIPE_LINES);
    child = fork();
    if (child == 0) {
        tally = tally_lines(reader);
        _exit(tally.whole && tally.ended && tally.dropped > 0 &&
                      tally.written + tally.dropped >= FLOOD_LINES &&
                      tally.written + tally.dropped <= FLOOD_LINES + LAST_LINES
                  ? 0
                  : 1);
    }
    /* Until the buffer has room, the last line is lost too. */
    for (int i = 0; i < LAST_LINES && waitpid(child, &status, WNOHANG) == 0; i++) {
        log_line(LOG_INFO, "last", NULL);
        usleep(PAUSE_US);
    }
    return log_stop() && fast && status == 0;
}

static void lines_that_find_the_buffer_full_are_counted_and_reported(void **state)
{
    int ends[2];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_true(in_child(ends[1], flood_then_read, ends[0]));
    close(ends[0]);
    close(ends[1]);
}

/* stderr fails for some lines, then works: none of the lines before is shown, all are counted. */
static bool write_to_a_full_disk_first(int descriptor, int unused)
{
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

    (void)unused;
    dup2(full, STDERR_FILENO);
    if (log_start() != 0)
        return false;
    for (int i = 0; i < 100; i++)
        log_line(LOG_INFO, "flood", NULL);
    usleep(10 * PAUSE_US); /* for the thread to fail */
    dup2(descriptor, STDERR_FILENO);
    log_line(LOG_INFO, "flood", NULL);
    return log_stop();
}

static void lines_that_cannot_be_written_are_counted_and_reported(void **state)
{
    int ends[2];
    struct tally tally;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_true(in_child(ends[1], write_to_a_full_disk_first, 0));
    close(ends[1]);
    tally = tally_lines(ends[0]);
    close(ends[0]);
    assert_true(tally.whole);
    assert_int_equal(tally.written + tally.dropped, 101);
    assert_true(tally.written >= 1 && tally.dropped >= 1);
}

static bool log_from_threads(int descriptor, int unused)
{
    static char name[] = "one";
    pthread_t threads[WRITERS];
    bool stopped;

    (void)descriptor;
    (void)unused;
    if (log_start() != 0)
        return false;
    for (int i = 0; i < WRITERS; i++)
        pthread_create(&threads[i], NULL, write_lines, name);
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    stopped = log_stop();
    log_line(LOG_INFO, "last", NULL); /* is written at once */
    return stopped && log_stop();
}

static void the_thread_writes_whole_lines_and_ends_when_all_are_written(void **state)
{
    char name[] = "/tmp/dflockd-test-log-XXXXXX";
    int file = mkstemp(name);
    char text[2 * LINE_MAX_BYTES];
    uint32_t count = 0;
    FILE *lines;

    (void)state;
    assert_true(file >= 0);
    unlink(name);
    assert_true(in_child(file, log_from_threads, 0));
    lseek(file, 0, SEEK_SET);
    lines = fdopen(file, "r");
    while (fgets(text, sizeof(text), lines)) {
        assert_memory_equal(text, "time=", 5);
        count++;
        if (count <= WRITERS * LINES_PER_WRITER)
            assert_non_null(strstr(text, "msg=\"from a thread\" writer=one again=one\n"));
        else
            assert_non_null(strstr(text, "msg=\"last\"\n"));
    }
    fclose(lines);
    assert_int_equal(count, WRITERS * LINES_PER_WRITER + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(debug_lines_are_written_only_if_enabled),
        cmocka_unit_test(a_line_has_time_level_message_and_pairs),
        cmocka_unit_test(a_message_needs_no_pairs),
        cmocka_unit_test(the_time_is_the_wall_clock_in_utc),
        cmocka_unit_test(values_are_quoted_if_needed),
        cmocka_unit_test(a_value_cannot_break_its_line),
        cmocka_unit_test(a_line_that_is_too_long_is_cut_and_ended),
        cmocka_unit_test(a_closed_stderr_stops_no_caller),
        cmocka_unit_test(lines_of_several_threads_do_not_mix),
        cmocka_unit_test(any_bytes_are_logged_as_ascii),
        cmocka_unit_test(the_longest_key_leaves_room_for_the_other_pairs),
        cmocka_unit_test(a_full_pipe_delays_no_caller),
        cmocka_unit_test(lines_that_find_the_buffer_full_are_counted_and_reported),
        cmocka_unit_test(lines_that_cannot_be_written_are_counted_and_reported),
        cmocka_unit_test(the_thread_writes_whole_lines_and_ends_when_all_are_written),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
