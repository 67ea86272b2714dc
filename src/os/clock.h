/*
 * The clocks of the machine.
 */
#ifndef OS_CLOCK_H
#define OS_CLOCK_H

#include <stdint.h>

/* Returns nanoseconds of a clock that is never set and never goes back. */
uint64_t clock_monotonic_ns(void);

/* As clock_monotonic_ns, but the clock also runs while the machine is suspended. */
uint64_t clock_boottime_ns(void);

/* Returns the clock of the CPU time of the calling thread, for clock_thread_ns. */
int clock_of_thread(void);

/* Returns the CPU time of a thread, with that of its system calls; 0 if it has ended. */
uint64_t clock_thread_ns(int thread_clock);

/* Returns nanoseconds since 1970, of a clock that may jump. */
uint64_t clock_wall_ns(void);

#endif
