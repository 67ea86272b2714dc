/*
 * Makes the trace of a failure short: what it can do without is left out.
 */
#ifndef TESTS_SIM_SHRINK_H
#define TESTS_SIM_SHRINK_H

#include "event.h"

/* `trace` fails before and after; takes `seconds` at most. */
void shrink(struct trace *trace, uint32_t seconds);

#endif
