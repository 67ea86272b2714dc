/* Memory of the C library, for the layers that get their memory as an argument. */
#ifndef OS_SYSTEM_MEMORY_H
#define OS_SYSTEM_MEMORY_H

#include "base/memory.h"

/* From any thread. */
extern const struct memory system_memory;

#endif
