/* Nanoseconds in each unit of time. */
#ifndef BASE_TIME_UNITS_H
#define BASE_TIME_UNITS_H

#include <stdint.h>

#define NS_PER_S  UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)

#endif
