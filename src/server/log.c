/*
 * The calling thread formats its line and appends it to a ring of bytes, under a mutex that is
 * never held during write(2). The log thread takes whole lines from the ring, at most PIPE_BUF
 * bytes at a time, so that a pipe that several processes share gets whole lines.
 */
#include "server/log.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    LOG_BATCH_BYTES = PIPE_BUF,
    LOG_STACK_BYTES = 256 * 1024
};

static_assert((int)LOG_LINE_MAX <= (int)LOG_BATCH_BYTES, "a batch has room for a line");

struct line {
    char text[LOG_LINE_MAX];
    size_t length;
};

enum log_state {
    LOG_DIRECT,   /* there is no thread; log_line writes */
    LOG_BUFFERED, /* the thread writes */
    LOG_STOPPING, /* the thread writes the rest and ends */
    LOG_ABANDONED /* the thread could not write the rest in time: lines are lost */
};

/* Positions count bytes since the start; a byte lies in the ring at its position's remainder. */
struct log_writer {
    pthread_mutex_t mutex; /* of all but `cut` */
    pthread_cond_t filled; /* signalled on a new line or log_stop */
    pthread_cond_t ended;  /* signalled on `done` */
    enum log_state state;
    bool done; /* the thread has ended its writing */
    uint64_t put;
    uint64_t taken;
    uint64_t dropped;    /* lines lost since the last report */
    uint64_t dropped_at; /* position of the first of these lines */
    bool cut;            /* the last line was written only in part; for the thread */
    pthread_t thread;
    char ring[LOG_BUFFER_BYTES];
};

static atomic_bool debug_enabled;

static struct log_writer writer = {
    .mutex = PTHREAD_MUTEX_INITIALIZER,
    .filled = PTHREAD_COND_INITIALIZER,
};

void log_set_debug(bool debug)
{
    atomic_store(&debug_enabled, debug);
}

bool log_enabled(enum log_level level)
{
    return level > LOG_DEBUG || atomic_load_explicit(&debug_enabled, memory_order_relaxed);
}

/* ---- lines ---- */

static void log_put(struct line *line, char byte)
{
    if (line->length < sizeof(line->text) - 1)
        line->text[line->length++] = byte;
}

static void log_put_text(struct line *line, const char *text)
{
    while (*text)
        log_put(line, *text++);
}

static bool log_needs_quotes(const char *value)
{
    if (!*value)
        return true;
    for (; *value; value++) {
        uint8_t byte = (uint8_t)*value;

        if (byte <= ' ' || byte == '"' || byte == '=' || byte == '\\' || byte == 0x7f)
            return true;
    }
    return false;
}

static void log_put_escaped(struct line *line, uint8_t byte)
{
    static const char hex[] = "0123456789abcdef";

    log_put_text(line, "\\x");
    log_put(line, hex[byte >> 4]);
    log_put(line, hex[byte & 15]);
}

static void log_put_value(struct line *line, const char *value)
{
    if (!log_needs_quotes(value)) {
        log_put_text(line, value);
        return;
    }
    log_put(line, '"');
    for (; *value; value++) {
        uint8_t byte = (uint8_t)*value;

        if (byte == '"' || byte == '\\') {
            log_put(line, '\\');
            log_put(line, (char)byte);
        } else if (byte < ' ' || byte == 0x7f) {
            log_put_escaped(line, byte);
        } else {
            log_put(line, (char)byte);
        }
    }
    log_put(line, '"');
}

/* Writes only ASCII: invalid UTF-8 could spoil a journal or a terminal. */
static void log_put_bytes(struct line *line, const uint8_t *bytes, size_t length)
{
    bool quotes = length == 0;

    for (size_t i = 0; i < length && !quotes; i++)
        quotes = bytes[i] <= ' ' || bytes[i] >= 0x7f || bytes[i] == '"' || bytes[i] == '=' ||
                 bytes[i] == '\\';
    if (quotes)
        log_put(line, '"');
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] < ' ' || bytes[i] >= 0x7f) {
            log_put_escaped(line, bytes[i]);
            continue;
        }
        if (bytes[i] == '"' || bytes[i] == '\\')
            log_put(line, '\\');
        log_put(line, (char)bytes[i]);
    }
    if (quotes)
        log_put(line, '"');
}

static void log_put_time(struct line *line)
{
    struct timespec now;
    struct tm utc;
    char text[32];
    char millis[8];

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(millis, sizeof(millis), ".%03dZ", (int)(now.tv_nsec / 1000000));
    log_put_text(line, "time=");
    log_put_text(line, text);
    log_put_text(line, millis);
}

static void log_begin_line(struct line *line, enum log_level level, const char *message)
{
    static const char *const names[] = {"DEBUG", "INFO", "WARN", "ERROR"};

    line->length = 0;
    log_put_time(line);
    log_put_text(line, " level=");
    log_put_text(line, names[level]);
    /* Always quoted, so that all messages have one form. */
    log_put_text(line, " msg=\"");
    log_put_text(line, message);
    log_put(line, '"');
}

static void log_put_key(struct line *line, const char *key)
{
    log_put(line, ' ');
    log_put_text(line, key);
    log_put(line, '=');
}

static void log_put_pairs(struct line *line, va_list pairs)
{
    const char *key;

    while ((key = va_arg(pairs, const char *))) {
        log_put_key(line, key);
        log_put_value(line, va_arg(pairs, const char *));
    }
}

/* ---- writing ---- */

static bool log_wait_until_writable(void)
{
    struct pollfd pollfd = {.fd = STDERR_FILENO, .events = POLLOUT};

    return poll(&pollfd, 1, -1) > 0 || errno == EINTR;
}

/* Returns the number of bytes written: fewer than `length` only after an error. */
static size_t log_write(const char *bytes, size_t length)
{
    size_t written = 0;

    while (written < length) {
        ssize_t count = write(STDERR_FILENO, bytes + written, length - written);

        if (count > 0)
            written += (size_t)count;
        else if (count < 0 && errno == EAGAIN && log_wait_until_writable())
            continue;
        else if (count == 0 || errno != EINTR)
            break;
    }
    return written;
}

/* Returns the number of lines in `bytes` that end after the first `from` bytes. */
static uint64_t log_count_lines(const char *bytes, size_t from, size_t length)
{
    uint64_t count = 0;

    for (size_t i = from; i < length; i++)
        count += bytes[i] == '\n';
    return count;
}

/*
 * Writes whole lines from `bytes` + 1 on. The first byte has room for the end of a line that an
 * earlier error cut. Returns the number of lost lines.
 */
static uint64_t log_writer_write(struct log_writer *log, char *bytes, size_t length)
{
    size_t start = log->cut ? 0 : 1;
    size_t end = start;

    bytes[0] = '\n';
    end += log_write(bytes + start, length + 1 - start);
    if (end > start)
        log->cut = bytes[end - 1] != '\n';
    return log_count_lines(bytes, end > 0 ? end : 1, length + 1);
}

/* ---- the buffer; the mutex is held ---- */

static void log_writer_drop(struct log_writer *log, uint64_t lines, uint64_t at)
{
    if (log->dropped == 0)
        log->dropped_at = at;
    log->dropped += lines;
}

static void log_writer_put(struct log_writer *log, const struct line *line)
{
    size_t at = log->put % LOG_BUFFER_BYTES;
    size_t first = LOG_BUFFER_BYTES - at;

    if (log->put - log->taken + line->length > LOG_BUFFER_BYTES) {
        log_writer_drop(log, 1, log->put);
        return;
    }
    if (first > line->length)
        first = line->length;
    memcpy(log->ring + at, line->text, first);
    memcpy(log->ring, line->text + first, line->length - first);
    if (log->put == log->taken)
        pthread_cond_signal(&log->filled);
    log->put += line->length;
}

/*
 * Takes whole lines, up to LOG_BATCH_BYTES, and none from both sides of dropped ones: their report
 * comes between. Returns the lines' length; 0 only if there is no line.
 */
static size_t log_writer_take(struct log_writer *log, char *bytes)
{
    bool report_ahead = log->dropped > 0 && log->dropped_at > log->taken;
    size_t at = log->taken % LOG_BUFFER_BYTES;
    size_t length = (size_t)((report_ahead ? log->dropped_at : log->put) - log->taken);
    size_t first;

    if (length > LOG_BATCH_BYTES)
        length = LOG_BATCH_BYTES;
    first = LOG_BUFFER_BYTES - at < length ? LOG_BUFFER_BYTES - at : length;
    memcpy(bytes, log->ring + at, first);
    memcpy(bytes + first, log->ring, length - first);
    while (length > 0 && bytes[length - 1] != '\n')
        length--;
    log->taken += length;
    return length;
}

/* ---- the thread ---- */

/*
 * Reports the lost lines in their place among the others. The mutex is held before and after the
 * call. Returns false if the report cannot be written either.
 */
static bool log_writer_report_dropped(struct log_writer *log)
{
    char bytes[1 + LOG_LINE_MAX];
    uint64_t count = log->dropped;
    struct line line;
    char number[24];
    bool written;

    pthread_mutex_unlock(&log->mutex);
    snprintf(number, sizeof(number), "%llu", (unsigned long long)count);
    log_begin_line(&line, LOG_WARN, "log lines dropped");
    log_put_key(&line, "count");
    log_put_value(&line, number);
    log_put(&line, '\n');
    memcpy(bytes + 1, line.text, line.length);
    written = log_writer_write(log, bytes, line.length) == 0;
    pthread_mutex_lock(&log->mutex);
    if (written) {
        log->dropped -= count;
        log->dropped_at = log->put;
    }
    return written;
}

static void *log_writer_run(void *context)
{
    static char bytes[1 + LOG_BATCH_BYTES];
    struct log_writer *log = context;
    bool writable = true; /* the last write succeeded */

    pthread_setname_np(pthread_self(), "dflockd-log");
    pthread_mutex_lock(&log->mutex);
    for (;;) {
        size_t length;
        uint64_t lost;

        if (writable && log->dropped > 0 && log->taken >= log->dropped_at)
            writable = log_writer_report_dropped(log);
        if (log->put == log->taken && log->state != LOG_BUFFERED)
            break;
        if (log->put == log->taken) {
            pthread_cond_wait(&log->filled, &log->mutex);
            continue;
        }
        length = log_writer_take(log, bytes + 1);
        pthread_mutex_unlock(&log->mutex);
        lost = log_writer_write(log, bytes, length);
        pthread_mutex_lock(&log->mutex);
        writable = lost == 0;
        log_writer_drop(log, lost, log->taken);
    }
    log->done = true;
    pthread_cond_signal(&log->ended);
    pthread_mutex_unlock(&log->mutex);
    return NULL;
}

/* The thread blocks all signals: those that the server waits for must not reach it. */
static int log_writer_create(struct log_writer *log)
{
    pthread_attr_t attributes;
    sigset_t all;
    sigset_t before;
    int error;

    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, LOG_STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&log->thread, &attributes, log_writer_run, log);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return -error;
}

int log_start(void)
{
    pthread_condattr_t attributes;
    int error;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&writer.ended, &attributes);
    pthread_condattr_destroy(&attributes);
    writer.done = false;
    writer.state = LOG_BUFFERED;
    error = log_writer_create(&writer);
    if (error)
        writer.state = LOG_DIRECT;
    return error;
}

static struct timespec log_deadline_in_ms(long ms)
{
    struct timespec deadline;

    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += ms / 1000;
    deadline.tv_nsec += ms % 1000 * 1000000;
    if (deadline.tv_nsec >= 1000000000) {
        deadline.tv_sec++;
        deadline.tv_nsec -= 1000000000;
    }
    return deadline;
}

bool log_stop(void)
{
    struct timespec deadline = log_deadline_in_ms(LOG_STOP_MS);
    bool done;
    int error = 0;

    pthread_mutex_lock(&writer.mutex);
    if (writer.state != LOG_BUFFERED) {
        done = writer.state == LOG_DIRECT;
        pthread_mutex_unlock(&writer.mutex);
        return done;
    }
    writer.state = LOG_STOPPING;
    pthread_cond_signal(&writer.filled);
    while (!writer.done && error == 0)
        error = pthread_cond_timedwait(&writer.ended, &writer.mutex, &deadline);
    done = writer.done;
    writer.state = done ? LOG_DIRECT : LOG_ABANDONED;
    pthread_mutex_unlock(&writer.mutex);
    /* A thread that hangs in write(2) ends with the process. */
    if (done)
        pthread_join(writer.thread, NULL);
    else
        pthread_detach(writer.thread);
    return done;
}

/* ---- for all threads ---- */

static void log_end_line(struct line *line)
{
    bool direct;

    line->text[line->length++] = '\n';
    pthread_mutex_lock(&writer.mutex);
    direct = writer.state == LOG_DIRECT;
    if (writer.state == LOG_BUFFERED)
        log_writer_put(&writer, line);
    pthread_mutex_unlock(&writer.mutex);
    if (direct)
        log_write(line->text, line->length);
}

void log_line(enum log_level level, const char *message, ...)
{
    struct line line;
    va_list pairs;

    if (!log_enabled(level))
        return;
    log_begin_line(&line, level, message);
    va_start(pairs, message);
    log_put_pairs(&line, pairs);
    va_end(pairs);
    log_end_line(&line);
}

void log_plain(const char *text)
{
    struct line line = {.length = 0};

    log_put_text(&line, text);
    log_end_line(&line);
}

void log_line_bytes(enum log_level level, const char *message, const char *key, const void *bytes,
                    size_t length, ...)
{
    struct line line;
    va_list pairs;

    if (!log_enabled(level))
        return;
    log_begin_line(&line, level, message);
    log_put_key(&line, key);
    log_put_bytes(&line, bytes, length);
    va_start(pairs, length);
    log_put_pairs(&line, pairs);
    va_end(pairs);
    log_end_line(&line);
}
