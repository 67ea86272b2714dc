#include "bench/process.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/time_units.h"

static bool process_read_file(uint64_t process, const char *name, char text[1024])
{
    char path[64];
    FILE *file;
    size_t length;

    snprintf(path, sizeof(path), "/proc/%" PRIu64 "/%s", process, name);
    file = fopen(path, "re");
    if (!file)
        return false;
    length = fread(text, 1, 1023, file);
    text[length] = '\0';
    fclose(file);
    return length > 0;
}

/* Parses the number after `blanks` blanks. */
static bool process_number_after(const char *text, int blanks, uint64_t *number)
{
    char *end;

    for (; blanks > 0; blanks--) {
        text = strchr(text, ' ');
        if (!text)
            return false;
        text++;
    }
    *number = strtoull(text, &end, 10);
    return end != text;
}

bool process_cpu_ns(uint64_t process, uint64_t *ns)
{
    char text[1024];
    const char *name_end;
    uint64_t user;
    uint64_t system;

    if (!process_read_file(process, "stat", text))
        return false;
    /* Field 2, a name in brackets, may contain anything. Fields 14 and 15 are the CPU times. */
    name_end = strrchr(text, ')');
    if (!name_end || !process_number_after(name_end, 12, &user) ||
        !process_number_after(name_end, 13, &system))
        return false;
    *ns = (user + system) * (NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK));
    return true;
}

bool process_memory_bytes(uint64_t process, uint64_t *bytes)
{
    char text[1024];
    uint64_t pages;

    if (!process_read_file(process, "statm", text) || !process_number_after(text, 1, &pages))
        return false;
    *bytes = pages * (uint64_t)sysconf(_SC_PAGESIZE);
    return true;
}

uint32_t process_usable_cpus(void)
{
    cpu_set_t cpus;

    return sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? (uint32_t)CPU_COUNT(&cpus) : 1;
}
