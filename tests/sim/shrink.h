/*
 * Shortens the trace of a failure by removing unneeded events.
 */
#ifndef TESTS_SIM_SHRINK_H
#define TESTS_SIM_SHRINK_H

#include "event.h"

/* `trace` fails before and after. Takes at most `seconds`. */
void shrink(struct trace *trace, uint32_t seconds);

#endif
