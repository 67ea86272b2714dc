/* The memory and the CPUs that this process may use: of the machine, its cgroups and its limits. */
#ifndef OS_MACHINE_H
#define OS_MACHINE_H

#include <stdint.h>

struct machine_limits {
    uint64_t memory_bytes;
    uint32_t cpus; /* at least 1 */
};

/*
 * Returns the limits of the cgroups of this process and their ancestors, of both versions:
 * memory.max, memory.high, memory.limit_in_bytes, cpu.max and cpu.cfs_quota_us. UINT64_MAX and
 * UINT32_MAX: there is no limit. A file that cannot be read or parsed sets no limit. `root` is put
 * before all paths; "" except in tests.
 */
struct machine_limits machine_cgroup_limits(const char *root);

/*
 * Returns the least of these limits, the machine's memory, RLIMIT_AS, RLIMIT_DATA, and the CPUs
 * that the affinity mask permits.
 */
struct machine_limits machine_limits(void);

#endif
