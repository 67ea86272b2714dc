#include "server/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    LINE_MAX_BYTES = 1024 /* a longer line is cut */
};

struct line {
    char text[LINE_MAX_BYTES];
    size_t length;
};

static atomic_bool debug_enabled;

void log_set_debug(bool debug)
{
    atomic_store(&debug_enabled, debug);
}

bool log_enabled(enum log_level level)
{
    return level > LOG_DEBUG || atomic_load_explicit(&debug_enabled, memory_order_relaxed);
}

static void put(struct line *line, char byte)
{
    if (line->length < sizeof(line->text) - 1)
        line->text[line->length++] = byte;
}

static void put_text(struct line *line, const char *text)
{
    while (*text)
        put(line, *text++);
}

static bool needs_quotes(const char *value)
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

static void put_value(struct line *line, const char *value)
{
    static const char hex[] = "0123456789abcdef";

    if (!needs_quotes(value)) {
        put_text(line, value);
        return;
    }
    put(line, '"');
    for (; *value; value++) {
        uint8_t byte = (uint8_t)*value;

        if (byte == '"' || byte == '\\') {
            put(line, '\\');
            put(line, (char)byte);
        } else if (byte < ' ' || byte == 0x7f) {
            put_text(line, "\\x");
            put(line, hex[byte >> 4]);
            put(line, hex[byte & 15]);
        } else {
            put(line, (char)byte);
        }
    }
    put(line, '"');
}

static void put_time(struct line *line)
{
    struct timespec now;
    struct tm utc;
    char text[32];
    char millis[8];

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(millis, sizeof(millis), ".%03dZ", (int)(now.tv_nsec / 1000000));
    put_text(line, "time=");
    put_text(line, text);
    put_text(line, millis);
}

void log_line(enum log_level level, const char *message, ...)
{
    static const char *const names[] = {"DEBUG", "INFO", "WARN", "ERROR"};
    struct line line = {.length = 0};
    const char *key;
    va_list pairs;

    if (!log_enabled(level))
        return;
    put_time(&line);
    put_text(&line, " level=");
    put_text(&line, names[level]);
    /* Always quoted: a message reads as one however many words it has. */
    put_text(&line, " msg=\"");
    put_text(&line, message);
    put(&line, '"');
    va_start(pairs, message);
    while ((key = va_arg(pairs, const char *))) {
        put(&line, ' ');
        put_text(&line, key);
        put(&line, '=');
        put_value(&line, va_arg(pairs, const char *));
    }
    va_end(pairs);
    line.text[line.length++] = '\n';
    /* A log that can't be written is no reason to stop serving locks. */
    if (write(STDERR_FILENO, line.text, line.length) < 0)
        return;
}
