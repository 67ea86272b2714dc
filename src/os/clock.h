/*
 * Time of the machine.
 */
#ifndef OS_CLOCK_H
#define OS_CLOCK_H

#include <stdint.h>

/* Nanoseconds of a clock that never goes back and that nobody sets. */
uint64_t clock_monotonic_ns(void);

/* The same, which goes on while the machine sleeps. */
uint64_t clock_boottime_ns(void);

/* Nanoseconds since 1970; may jump. */
uint64_t clock_wall_ns(void);

#endif
