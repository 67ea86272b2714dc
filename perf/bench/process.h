/*
 * Reads CPU time and memory of processes from /proc.
 */
#ifndef BENCH_PROCESS_H
#define BENCH_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

/* Return false if there is no such process. */
bool process_cpu_ns(uint64_t process, uint64_t *ns);
bool process_memory_bytes(uint64_t process, uint64_t *bytes);

/* Returns the number of CPUs that this process may use. */
uint32_t process_usable_cpus(void);

#endif
