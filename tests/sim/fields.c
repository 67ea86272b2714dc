/*
 * Fields are found by offset and size, so that one table serves printing and parsing.
 */
#include "fields.h"

#include <stdlib.h>
#include <string.h>

/* Little-endian, like the server. */
static uint64_t value_of(const struct field *field, const void *record)
{
    uint64_t value = 0;

    memcpy(&value, (const char *)record + field->offset, field->size);
    return value;
}

void fields_print(FILE *to, const struct field *fields, size_t count, const void *record)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t value = value_of(&fields[i], record);

        if (value == 0)
            continue;
        if (fields[i].words && value < fields[i].word_count)
            fprintf(to, " %s=%s", fields[i].name, fields[i].words[value]);
        else
            fprintf(to, " %s=%llu", fields[i].name, (unsigned long long)value);
    }
}

static bool read_value(const struct field *field, const char *text, uint64_t *value)
{
    char *end;

    for (uint64_t i = 0; field->words && i < field->word_count; i++) {
        if (strcmp(field->words[i], text) == 0) {
            *value = i;
            return true;
        }
    }
    *value = strtoull(text, &end, 10);
    return end != text && *end == '\0';
}

static bool set_field(char *assignment, const struct field *fields, size_t count, void *record)
{
    char *value_text = strchr(assignment, '=');

    if (!value_text)
        return false;
    *value_text++ = '\0';
    for (size_t i = 0; i < count; i++) {
        uint64_t value;

        if (strcmp(fields[i].name, assignment) != 0)
            continue;
        if (!read_value(&fields[i], value_text, &value))
            return false;
        memcpy((char *)record + fields[i].offset, &value, fields[i].size);
        return true;
    }
    return false;
}

bool fields_parse(char *text, const struct field *fields, size_t count, void *record)
{
    char *rest = NULL;

    for (char *word = strtok_r(text, " \r\n", &rest); word; word = strtok_r(NULL, " \r\n", &rest)) {
        if (!set_field(word, fields, count, record))
            return false;
    }
    return true;
}
