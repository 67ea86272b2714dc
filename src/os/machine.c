/*
 * /proc/self/cgroup has the path of the process's cgroup in each hierarchy:
 *
 *   4:memory:/a/b       version 1: the hierarchy of these controllers
 *   0::/a/b             version 2
 *
 * /proc/self/mountinfo has the mount points of the hierarchies, and the cgroup (`root`) that each
 * shows at its mount point. The directory of /a/b at a mount point with root /a is MOUNT/b.
 */
#include "os/machine.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    MACHINE_FIELDS_MAX = 64 /* of a line of mountinfo; most have 10 or 11 */
};

struct machine_search {
    const char *root;
    struct machine_limits limits;
    /* The paths of the process's cgroups; NULL: there is none. */
    char *memory;  /* version 1 */
    char *cpu;     /* version 1 */
    char *unified; /* version 2 */
};

static FILE *machine_open(const char *root, const char *path)
{
    char whole[PATH_MAX];
    int length = snprintf(whole, sizeof(whole), "%s%s", root, path);

    return length < (int)sizeof(whole) ? fopen(whole, "re") : NULL;
}

/* Calls `visit` with each line of a file, without its end. */
static void machine_each_line(struct machine_search *search, const char *path,
                              void (*visit)(struct machine_search *search, char *line))
{
    FILE *file = machine_open(search->root, path);
    char *line = NULL;
    size_t size = 0;

    if (!file)
        return;
    while (getline(&line, &size, file) > 0) {
        line[strcspn(line, "\n")] = '\0';
        visit(search, line);
    }
    free(line);
    fclose(file);
}

/* Returns whether `name` is in a list with commas. */
static bool machine_list_has(const char *list, const char *name)
{
    size_t length = strlen(name);

    for (;;) {
        size_t end = strcspn(list, ",");

        if (end == length && memcmp(list, name, length) == 0)
            return true;
        if (list[end] == '\0')
            return false;
        list += end + 1;
    }
}

static void machine_set_path(char **path, const char *given)
{
    if (!*path)
        *path = strdup(given);
}

/* Reads a line of /proc/self/cgroup. */
static void machine_read_membership(struct machine_search *search, char *line)
{
    char *controllers = strchr(line, ':');
    char *path = controllers ? strchr(++controllers, ':') : NULL;

    if (!path)
        return;
    *path++ = '\0';
    if (*controllers == '\0')
        machine_set_path(&search->unified, path);
    if (machine_list_has(controllers, "memory"))
        machine_set_path(&search->memory, path);
    if (machine_list_has(controllers, "cpu"))
        machine_set_path(&search->cpu, path);
}

/* ---- the limits of one cgroup ---- */

/* Reads numbers with blanks between them. Returns how many there are before other text. */
static int machine_read_numbers(const char *root, const char *directory, const char *name,
                                uint64_t numbers[2])
{
    char path[PATH_MAX];
    char text[64] = "";
    char *at = text;
    int count = 0;
    FILE *file;

    if (snprintf(path, sizeof(path), "%s/%s", directory, name) >= (int)sizeof(path))
        return 0;
    file = machine_open(root, path);
    if (!file)
        return 0;
    if (!fgets(text, sizeof(text), file))
        text[0] = '\0';
    fclose(file);
    while (count < 2 && *at >= '0' && *at <= '9') {
        errno = 0;
        numbers[count] = strtoull(at, &at, 10);
        if (errno || (*at != ' ' && *at != '\n' && *at != '\0'))
            break;
        count++;
        at += *at == ' ';
    }
    return count;
}

static void machine_limit_memory(struct machine_search *search, const char *directory,
                                 const char *name)
{
    uint64_t numbers[2];

    if (machine_read_numbers(search->root, directory, name, numbers) == 1 && numbers[0] > 0 &&
        numbers[0] < search->limits.memory_bytes)
        search->limits.memory_bytes = numbers[0];
}

static void machine_limit_cpus(struct machine_search *search, uint64_t quota_us, uint64_t period_us)
{
    uint64_t cpus;

    if (quota_us == 0 || period_us == 0)
        return;
    cpus = quota_us / period_us + (quota_us % period_us > 0);
    if (cpus < search->limits.cpus)
        search->limits.cpus = (uint32_t)cpus;
}

static void machine_read_unified(struct machine_search *search, const char *directory)
{
    uint64_t numbers[2];

    machine_limit_memory(search, directory, "memory.max");
    machine_limit_memory(search, directory, "memory.high");
    if (machine_read_numbers(search->root, directory, "cpu.max", numbers) == 2)
        machine_limit_cpus(search, numbers[0], numbers[1]);
}

static void machine_read_memory(struct machine_search *search, const char *directory)
{
    machine_limit_memory(search, directory, "memory.limit_in_bytes");
}

static void machine_read_cpu(struct machine_search *search, const char *directory)
{
    uint64_t quota[2];
    uint64_t period[2];

    /* No quota is -1, which is no number here. */
    if (machine_read_numbers(search->root, directory, "cpu.cfs_quota_us", quota) == 1 &&
        machine_read_numbers(search->root, directory, "cpu.cfs_period_us", period) == 1)
        machine_limit_cpus(search, quota[0], period[0]);
}

/* ---- mounts ---- */

/* Replaces \040 and the like by their characters. */
static void machine_unescape(char *text)
{
    char *to = text;

    while (*text) {
        unsigned code;

        if (text[0] == '\\' && sscanf(text + 1, "%3o", &code) == 1) {
            *to++ = (char)code;
            text += 4;
        } else {
            *to++ = *text++;
        }
    }
    *to = '\0';
}

/* Returns the part of `path` below `root`, or NULL if it is not below. */
static const char *machine_path_below(const char *path, const char *root)
{
    size_t length = strlen(root);

    /* The mount shows an ancestor of the namespace's root; its own limits are those of an ancestor.
     */
    if (strncmp(root, "/..", 3) == 0)
        return "";
    if (strcmp(root, "/") == 0)
        length = 0;
    if (strncmp(path, root, length) != 0 || (path[length] != '/' && path[length] != '\0') ||
        strncmp(path + length, "/..", 3) == 0)
        return NULL;
    return path + length;
}

/* Reads the limits of a cgroup and of its ancestors up to the mount point. */
static void machine_read_ancestors(struct machine_search *search, const char *mount,
                                   const char *root, const char *path,
                                   void (*read)(struct machine_search *search,
                                                const char *directory))
{
    const char *below = path ? machine_path_below(path, root) : NULL;
    size_t mount_length = strlen(mount);
    char directory[PATH_MAX];

    if (!below ||
        snprintf(directory, sizeof(directory), "%s%s", mount, below) >= (int)sizeof(directory))
        return;
    for (;;) {
        char *slash;

        read(search, directory);
        slash = strrchr(directory, '/');
        if (!slash || (size_t)(slash - directory) < mount_length)
            return;
        *slash = '\0';
    }
}

/* Reads a line of /proc/self/mountinfo. */
static void machine_read_mount(struct machine_search *search, char *line)
{
    char *fields[MACHINE_FIELDS_MAX];
    char *rest = NULL;
    uint32_t count = 0;
    uint32_t type = 0; /* index of the field */

    for (char *field = strtok_r(line, " ", &rest); field && count < MACHINE_FIELDS_MAX;
         field = strtok_r(NULL, " ", &rest)) {
        if (count > 5 && type == 0 && strcmp(field, "-") == 0)
            type = count + 1;
        fields[count++] = field;
    }
    if (type == 0 || type + 2 >= count)
        return;
    machine_unescape(fields[3]);
    machine_unescape(fields[4]);
    if (strcmp(fields[type], "cgroup2") == 0) {
        machine_read_ancestors(search, fields[4], fields[3], search->unified, machine_read_unified);
    } else if (strcmp(fields[type], "cgroup") == 0) {
        if (machine_list_has(fields[type + 2], "memory"))
            machine_read_ancestors(search, fields[4], fields[3], search->memory,
                                   machine_read_memory);
        if (machine_list_has(fields[type + 2], "cpu"))
            machine_read_ancestors(search, fields[4], fields[3], search->cpu, machine_read_cpu);
    }
}

struct machine_limits machine_cgroup_limits(const char *root)
{
    struct machine_search search = {.root = root,
                                    .limits = {.memory_bytes = UINT64_MAX, .cpus = UINT32_MAX}};

    machine_each_line(&search, "/proc/self/cgroup", machine_read_membership);
    machine_each_line(&search, "/proc/self/mountinfo", machine_read_mount);
    free(search.memory);
    free(search.cpu);
    free(search.unified);
    return search.limits;
}

/* ---- the whole ---- */

static uint64_t machine_lesser(uint64_t first, uint64_t second)
{
    return first < second ? first : second;
}

static uint64_t machine_resource_limit(enum __rlimit_resource resource)
{
    struct rlimit limit;

    /* RLIM_INFINITY is the largest number. */
    return getrlimit(resource, &limit) == 0 ? limit.rlim_cur : UINT64_MAX;
}

struct machine_limits machine_limits(void)
{
    struct machine_limits limits = machine_cgroup_limits("");
    uint64_t physical = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint32_t cpus = 1;
    cpu_set_t set;

    limits.memory_bytes = machine_lesser(limits.memory_bytes, physical);
    limits.memory_bytes = machine_lesser(limits.memory_bytes, machine_resource_limit(RLIMIT_AS));
    limits.memory_bytes = machine_lesser(limits.memory_bytes, machine_resource_limit(RLIMIT_DATA));
    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        cpus = (uint32_t)CPU_COUNT(&set);
    if (cpus < limits.cpus)
        limits.cpus = cpus;
    return limits;
}
