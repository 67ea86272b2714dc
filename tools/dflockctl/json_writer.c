#include "dflockctl/json_writer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "dflockctl/text.h"

enum {
    JSON_INDENT = 2 /* columns */
};

struct json_writer json_writer_new(void)
{
    return (struct json_writer){.indented = text_on_terminal()};
}

static void json_begin_line(const struct json_writer *writer)
{
    if (writer->indented)
        printf("\n%*s", (int)writer->depth * JSON_INDENT, "");
}

/* Precedes each name, and each value that has none. */
static void json_separate(struct json_writer *writer)
{
    if (writer->named) {
        writer->named = false;
        return;
    }
    if (writer->more)
        putchar(',');
    if (writer->depth > 0)
        json_begin_line(writer);
    writer->more = true;
}

void json_begin(struct json_writer *writer, char bracket)
{
    json_separate(writer);
    putchar(bracket);
    writer->depth++;
    writer->more = false;
}

void json_end(struct json_writer *writer, char bracket)
{
    writer->depth--;
    if (writer->more)
        json_begin_line(writer);
    putchar(bracket);
    writer->more = true;
    if (writer->depth == 0)
        putchar('\n');
}

static void json_print_escaped(uint32_t point)
{
    static const char letters[] = "\b\t\n\f\r\"\\";
    static const char *const escapes[] = {"\\b", "\\t", "\\n", "\\f", "\\r", "\\\"", "\\\\"};
    const char *at = point && point < 0x80 ? strchr(letters, (int)point) : NULL;

    if (at)
        printf("%s", escapes[at - letters]);
    else if (point >= 0x10000)
        printf("\\u%04" PRIX32 "\\u%04" PRIX32, 0xd800 + ((point - 0x10000) >> 10),
               0xdc00 + ((point - 0x10000) & 0x3ff));
    else if (point < ' ' || point >= 0x7f)
        printf("\\u%04" PRIX32, point);
    else
        putchar((int)point);
}

void json_bytes(struct json_writer *writer, const char *bytes, size_t length)
{
    json_separate(writer);
    putchar('"');
    while (length > 0) {
        uint32_t point = 0;
        size_t count = text_decode(bytes, length, &point);

        json_print_escaped(count ? point : TEXT_REPLACEMENT_POINT);
        count = count ? count : 1;
        bytes += count;
        length -= count;
    }
    putchar('"');
}

void json_text(struct json_writer *writer, const char *text)
{
    json_bytes(writer, text, strlen(text));
}

void json_name(struct json_writer *writer, const char *name)
{
    json_text(writer, name);
    printf(writer->indented ? ": " : ":");
    writer->named = true;
}

void json_verbatim(struct json_writer *writer, const char *json)
{
    json_separate(writer);
    printf("%s", json);
}

void json_integer(struct json_writer *writer, uint64_t number)
{
    json_separate(writer);
    printf("%" PRIu64, number);
}

void json_real(struct json_writer *writer, double number)
{
    json_separate(writer);
    printf("%.6g", number);
}
