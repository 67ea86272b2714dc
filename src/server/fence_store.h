/*
 * Stores the ceiling of fences, so that they never repeat or fall across restarts. A ceiling is on
 * disk before the server hands out fences below it. A new server starts at the stored ceiling, or
 * at the wall clock's time if that is later.
 *
 *   state     event               next      action
 *   IDLE      fences are low      WRITING   write the next ceiling
 *   WRITING   written             SYNCING   sync the file
 *   SYNCING   on disk             IDLE      raise the ceiling
 *   WRITING   failed              PAUSING   log
 *   SYNCING   failed              PAUSING   log
 *   PAUSING   the pause ends      WRITING   write the next ceiling
 *
 * The next range is requested when half of the last one is left, so that grants do not wait for the
 * disk. If the disk fails or is slow, grants go on to the end of the range.
 *
 * After fence_store_open, the store makes no system call: it returns the next operation for its
 * worker's ring and gets the result. It must live as long as the process, and `file` stays open:
 * a kernel thread may read `bytes` and `file` after the ring is closed. For one thread.
 */
#ifndef SERVER_FENCE_STORE_H
#define SERVER_FENCE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "os/fence_file.h"
#include "server/fences.h"

/* Fences of one stored range. A restart skips up to this many. Tests use fewer. */
#ifndef FENCE_RANGE
#define FENCE_RANGE (UINT64_C(1) << 20)
#endif

enum fence_store_io {
    FENCE_STORE_NOTHING,
    FENCE_STORE_WRITE, /* `bytes` to the beginning of `file` */
    FENCE_STORE_SYNC   /* `file` */
};

struct fence_store {
    struct fences *fences;
    int file;
    enum {
        FENCE_STORE_IDLE,
        FENCE_STORE_WRITING,
        FENCE_STORE_SYNCING,
        FENCE_STORE_PAUSING
    } state;
    bool failing;       /* a failure was logged since the ceiling last rose */
    bool exhausted;     /* no fence was left then */
    uint64_t ceiling;   /* stored, or being stored */
    uint64_t log_ns;    /* the next log line on a failure, not before */
    uint64_t resume_ns; /* while PAUSING */
    uint8_t bytes[FENCE_FILE_BYTES];
};

/*
 * Opens the file and stores the first ceiling. `wall_ns` is the time of the wall clock. Returns
 * true and sets `*first` to the first fence. On failure returns false and sets `problem`, which
 * names `path`.
 */
bool fence_store_open(struct fence_store *store, const char *path, uint64_t wall_ns,
                      uint64_t *first, char problem[FENCE_FILE_PROBLEM_MAX]);

/* Returns whether fence_store_open could open the file now; see fence_file_check. */
bool fence_store_check(const char *path, char problem[FENCE_FILE_PROBLEM_MAX]);

/* Sets the supply whose ceiling the store raises. It must start with the store's ceiling. */
void fence_store_start(struct fence_store *store, struct fences *fences);

/* Returns the operation to start now. For each turn. */
enum fence_store_io fence_store_step(struct fence_store *store, uint64_t now_ns);

/*
 * Handles the result of an operation: the result of write(2) or fsync(2), or a negative errno.
 * Returns the operation to start now.
 */
enum fence_store_io fence_store_done(struct fence_store *store, uint64_t now_ns, int32_t result);

/* Returns whether an operation is pending. */
bool fence_store_busy(const struct fence_store *store);

/* Returns when fence_store_step must be called next. UINT64_MAX: only after fences are used. */
uint64_t fence_store_deadline(const struct fence_store *store);

#endif
