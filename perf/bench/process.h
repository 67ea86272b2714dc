/*
 * What the kernel tells of processes.
 */
#ifndef BENCH_PROCESS_H
#define BENCH_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

/* CPU time of a process and its memory that is in use; false where there is no such process. */
bool process_cpu_ns(uint64_t process, uint64_t *ns);
bool process_memory_bytes(uint64_t process, uint64_t *bytes);

/* CPUs that this process may run on. */
uint32_t process_usable_cpus(void);

#endif
