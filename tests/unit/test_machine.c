/*
 * The limits of memory and CPUs, on directory trees that the test writes: both versions of cgroups,
 * ancestors, namespaces, and files that cannot be parsed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/machine.h"

#define NO_LIMIT UINT64_MAX
#define ALL_CPUS UINT32_MAX
#define MIB      (UINT64_C(1) << 20)

#define UNIFIED "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
#define MEMORY  "31 24 0:27 / /sys/fs/cgroup/memory rw shared:10 - cgroup cgroup rw,memory\n"
#define CPU     "32 24 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
#define CPUACCT "33 24 0:28 / /sys/fs/cgroup/cpuacct rw - cgroup cgroup rw,cpuacct\n"

static char root[64];

static int start(void **state)
{
    (void)state;
    strcpy(root, "/tmp/machine-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int end(void **state)
{
    char command[128];

    (void)state;
    snprintf(command, sizeof(command), "rm -r '%s'", root);
    return system(command);
}

/* Writes a file below the root, and its directories. */
static void write_file(const char *path, const char *text)
{
    char whole[PATH_MAX];
    FILE *file;

    snprintf(whole, sizeof(whole), "%s%s", root, path);
    for (char *slash = strchr(whole + strlen(root) + 1, '/'); slash;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        assert_true(mkdir(whole, 0700) == 0 || errno == EEXIST);
        *slash = '/';
    }
    file = fopen(whole, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void write_process(const char *cgroup, const char *mountinfo)
{
    write_file("/proc/self/cgroup", cgroup);
    write_file("/proc/self/mountinfo", mountinfo);
}

static void expect(uint64_t memory_bytes, uint32_t cpus)
{
    struct machine_limits limits = machine_cgroup_limits(root);

    assert_int_equal(limits.memory_bytes, memory_bytes);
    assert_int_equal(limits.cpus, cpus);
}

/* ---- version 2 ---- */

static void the_least_of_max_and_high_limits_memory(void **state)
{
    (void)state;
    write_process("0::/app\n", UNIFIED);
    write_file("/sys/fs/cgroup/app/memory.max", "100663296\n");
    expect(96 * MIB, ALL_CPUS);
    write_file("/sys/fs/cgroup/app/memory.high", "max\n");
    expect(96 * MIB, ALL_CPUS);
    write_file("/sys/fs/cgroup/app/memory.high", "67108864\n");
    expect(64 * MIB, ALL_CPUS);
    write_file("/sys/fs/cgroup/app/memory.max", "max\n");
    expect(64 * MIB, ALL_CPUS);
}

static void ancestors_limit_memory_and_cpus(void **state)
{
    (void)state;
    write_process("0::/a/b/c\n", UNIFIED);
    write_file("/sys/fs/cgroup/a/b/c/memory.max", "1073741824\n");
    write_file("/sys/fs/cgroup/a/b/c/cpu.max", "400000 100000\n");
    expect(1024 * MIB, 4);
    write_file("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    write_file("/sys/fs/cgroup/a/memory.max", "536870912\n");
    write_file("/sys/fs/cgroup/a/cpu.max", "150000 100000\n");
    expect(512 * MIB, 2);
    write_file("/sys/fs/cgroup/memory.max", "268435456\n");
    expect(256 * MIB, 2);
    write_file("/sys/fs/memory.max", "1\n");
    write_file("/sys/fs/cgroup/other/memory.max", "1\n");
    expect(256 * MIB, 2);
}

static void a_quota_of_cpus_is_rounded_up(void **state)
{
    static const struct {
        const char *text;
        uint32_t cpus;
    } cases[] = {
        {"1000 100000\n", 1},     {"100000 100000\n", 1},     {"100001 100000\n", 2},
        {"50000 25000\n", 2},     {"max 100000\n", ALL_CPUS}, {"0 100000\n", ALL_CPUS},
        {"100000 0\n", ALL_CPUS}, {"100000\n", ALL_CPUS},     {"630000 10000\n", 63},
    };

    (void)state;
    write_process("0::/app\n", UNIFIED);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        write_file("/sys/fs/cgroup/app/cpu.max", cases[i].text);
        expect(NO_LIMIT, cases[i].cpus);
    }
}

/* ---- version 1 ---- */

static void each_hierarchy_of_version_1_has_its_path(void **state)
{
    (void)state;
    write_process("5:memory:/m/app\n4:cpuacct,cpu:/c/app\n1:name=systemd:/s\n0::/u\n",
                  MEMORY CPU CPUACCT UNIFIED);
    write_file("/sys/fs/cgroup/memory/m/app/memory.limit_in_bytes", "100663296\n");
    write_file("/sys/fs/cgroup/memory/c/app/memory.limit_in_bytes", "1\n");
    write_file("/sys/fs/cgroup/cpu,cpuacct/c/app/cpu.cfs_quota_us", "300000\n");
    write_file("/sys/fs/cgroup/cpu,cpuacct/c/app/cpu.cfs_period_us", "100000\n");
    write_file("/sys/fs/cgroup/cpuacct/c/app/cpu.cfs_quota_us", "100000\n");
    write_file("/sys/fs/cgroup/cpuacct/c/app/cpu.cfs_period_us", "100000\n");
    expect(96 * MIB, 3);
    write_file("/sys/fs/cgroup/memory/m/memory.limit_in_bytes", "50331648\n");
    write_file("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    write_file("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
    write_file("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    expect(48 * MIB, 3);
}

static void both_versions_limit_together(void **state)
{
    (void)state;
    write_process("5:memory:/app\n0::/app\n", MEMORY UNIFIED);
    write_file("/sys/fs/cgroup/memory/app/memory.limit_in_bytes", "100663296\n");
    write_file("/sys/fs/cgroup/app/cpu.max", "100000 100000\n");
    expect(96 * MIB, 1);
}

/* ---- mounts ---- */

static void a_mount_shows_a_part_of_the_hierarchy(void **state)
{
    (void)state;
    write_process("5:memory:/docker/abc/sub\n",
                  "31 24 0:27 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
    write_file("/sys/fs/cgroup/memory/memory.limit_in_bytes", "100663296\n");
    expect(96 * MIB, ALL_CPUS);
    write_file("/sys/fs/cgroup/memory/sub/memory.limit_in_bytes", "50331648\n");
    expect(48 * MIB, ALL_CPUS);
    write_process("5:memory:/docker/abcd\n",
                  "31 24 0:27 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
    expect(NO_LIMIT, ALL_CPUS);
    write_process("5:memory:/docker/abc\n",
                  "31 24 0:27 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
    expect(96 * MIB, ALL_CPUS);
}

static void paths_beyond_the_namespace_are_handled(void **state)
{
    (void)state;
    write_file("/sys/fs/cgroup/memory.max", "100663296\n");
    write_file("/sys/fs/memory.max", "1\n");
    write_process("0::/app\n", "30 24 0:26 /../.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    expect(96 * MIB, ALL_CPUS);
    write_process("0::/../other\n", UNIFIED);
    expect(NO_LIMIT, ALL_CPUS);
}

static void mount_points_can_have_blanks(void **state)
{
    (void)state;
    write_process("0::/an app\n", "30 24 0:26 / /my\\040groups\\134 rw - cgroup2 cgroup2 rw\n");
    write_file("/my groups\\/an app/memory.max", "100663296\n");
    expect(96 * MIB, ALL_CPUS);
}

static void colons_belong_to_the_path(void **state)
{
    (void)state;
    write_process("0::/a:b:c\n", UNIFIED);
    write_file("/sys/fs/cgroup/a:b:c/memory.max", "100663296\n");
    expect(96 * MIB, ALL_CPUS);
}

/* ---- files that are missing or wrong ---- */

static void missing_files_set_no_limit(void **state)
{
    (void)state;
    expect(NO_LIMIT, ALL_CPUS);
    write_file("/proc/self/cgroup", "0::/app\n");
    expect(NO_LIMIT, ALL_CPUS);
    write_file("/proc/self/mountinfo", UNIFIED);
    expect(NO_LIMIT, ALL_CPUS);
}

static void wrong_contents_set_no_limit(void **state)
{
    static const char *const texts[] = {"",       "\n",   "max",
                                        "-5\n",   "0\n",  "12x\n",
                                        "0x10\n", " 7\n", "99999999999999999999999\n",
                                        "7 8\n",  "1e9\n"};
    static const char *const mounts[] = {"",
                                         "\n",
                                         "30 24\n",
                                         " - \n",
                                         "a b c d e f - cgroup2\n",
                                         "30 24 0:26 / /sys/fs/cgroup rw cgroup2 cgroup2 rw\n"};
    static const char *const paths[] = {"", "\n", "0\n", "0:\n", "x:y\n", "::\n"};

    (void)state;
    write_process("0::/app\n", UNIFIED);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        write_file("/sys/fs/cgroup/app/memory.max", texts[i]);
        write_file("/sys/fs/cgroup/app/memory.high", texts[i]);
        expect(NO_LIMIT, ALL_CPUS);
    }
    write_file("/sys/fs/cgroup/app/memory.max", "100663296\n");
    expect(96 * MIB, ALL_CPUS);
    for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
        write_file("/proc/self/mountinfo", mounts[i]);
        expect(NO_LIMIT, ALL_CPUS);
    }
    write_file("/proc/self/mountinfo", UNIFIED);
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        write_file("/proc/self/cgroup", paths[i]);
        expect(NO_LIMIT, ALL_CPUS);
    }
}

static void a_limit_without_a_newline_counts(void **state)
{
    (void)state;
    write_process("0::/app", "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw");
    write_file("/sys/fs/cgroup/app/memory.max", "100663296");
    expect(96 * MIB, ALL_CPUS);
}

/* ---- the process ---- */

static void the_process_has_memory_and_a_cpu(void **state)
{
    struct machine_limits limits = machine_limits();
    cpu_set_t set;

    (void)state;
    assert_true(limits.memory_bytes > MIB);
    assert_true(limits.memory_bytes <=
                (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE));
    assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
    assert_in_range(limits.cpus, 1, CPU_COUNT(&set));
}

#ifndef __SANITIZE_ADDRESS__ /* AddressSanitizer reserves terabytes of address space */

/* Returns the limits in a child with a limit on `resource`. */
static struct machine_limits limits_with(int resource, uint64_t bytes)
{
    struct machine_limits limits = {0};
    int ends[2];
    pid_t child;
    int status;

    assert_int_equal(pipe(ends), 0);
    child = fork();
    if (child == 0) {
        struct rlimit limit = {.rlim_cur = bytes, .rlim_max = bytes};

        setrlimit(resource, &limit);
        limits = machine_limits();
        _exit(write(ends[1], &limits, sizeof(limits)) == sizeof(limits) ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(read(ends[0], &limits, sizeof(limits)), sizeof(limits));
    close(ends[0]);
    close(ends[1]);
    return limits;
}

static void resource_limits_count_as_memory(void **state)
{
    uint64_t memory_bytes = machine_limits().memory_bytes;

    (void)state;
    if (memory_bytes < 512 * MIB)
        skip();
    assert_int_equal(limits_with(RLIMIT_AS, 300 * MIB).memory_bytes, 300 * MIB);
    assert_int_equal(limits_with(RLIMIT_DATA, 200 * MIB).memory_bytes, 200 * MIB);
    assert_int_equal(limits_with(RLIMIT_NOFILE, 50).memory_bytes, memory_bytes);
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_least_of_max_and_high_limits_memory, start, end),
        cmocka_unit_test_setup_teardown(ancestors_limit_memory_and_cpus, start, end),
        cmocka_unit_test_setup_teardown(a_quota_of_cpus_is_rounded_up, start, end),
        cmocka_unit_test_setup_teardown(each_hierarchy_of_version_1_has_its_path, start, end),
        cmocka_unit_test_setup_teardown(both_versions_limit_together, start, end),
        cmocka_unit_test_setup_teardown(a_mount_shows_a_part_of_the_hierarchy, start, end),
        cmocka_unit_test_setup_teardown(paths_beyond_the_namespace_are_handled, start, end),
        cmocka_unit_test_setup_teardown(mount_points_can_have_blanks, start, end),
        cmocka_unit_test_setup_teardown(colons_belong_to_the_path, start, end),
        cmocka_unit_test_setup_teardown(missing_files_set_no_limit, start, end),
        cmocka_unit_test_setup_teardown(wrong_contents_set_no_limit, start, end),
        cmocka_unit_test_setup_teardown(a_limit_without_a_newline_counts, start, end),
        cmocka_unit_test(the_process_has_memory_and_a_cpu),
#ifndef __SANITIZE_ADDRESS__
        cmocka_unit_test(resource_limits_count_as_memory),
#endif
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
