#include "client/name.h"

#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/utf8.h"

enum {
    PART_MAX = 256,
    PASSWORD_ENTRY_MAX = 4096
};

/* Returns the length of the printable character at `at`; 0 if there is none. */
static uint32_t name_character(const char *at)
{
    const uint8_t *bytes = (const uint8_t *)at;
    uint32_t length = *at ? utf8_length(bytes, (uint32_t)strnlen(at, 4)) : 0;

    return length > 0 && utf8_is_printable(bytes, length) ? length : 0;
}

bool name_is_valid(const char *name)
{
    const char *at = name;
    uint32_t length;

    while ((length = name_character(at)) > 0)
        at += length;
    return *at == '\0' && at > name && at - name <= DFLOCKD_NAME_MAX;
}

/* Adds the printable characters of the part that fit. Returns the new length. */
static size_t name_add(char *name, size_t length, const char *part)
{
    while (*part) {
        uint32_t count = name_character(part);

        if (length + count > DFLOCKD_NAME_MAX)
            break;
        memcpy(name + length, part, count);
        length += count;
        part += count > 0 ? count : 1;
    }
    name[length] = '\0';
    return length;
}

static void name_of_user(char user[PART_MAX])
{
    char memory[PASSWORD_ENTRY_MAX];
    struct passwd entry;
    struct passwd *found = NULL;

    snprintf(user, PART_MAX, "%u", (unsigned)geteuid());
    if (getpwuid_r(geteuid(), &entry, memory, sizeof(memory), &found) == 0 && found)
        snprintf(user, PART_MAX, "%s", found->pw_name);
}

void name_build(char name[DFLOCKD_NAME_MAX + 1], const char *program)
{
    char user[PART_MAX];
    char host[PART_MAX] = "";
    size_t length;

    name_of_user(user);
    gethostname(host, sizeof(host) - 1);
    length = name_add(name, 0, user);
    length = name_add(name, length, "@");
    length = name_add(name, length, host);
    length = name_add(name, length, " ");
    name_add(name, length, program);
}
