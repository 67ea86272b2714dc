/*
 * Sees to it that fences never repeat, nor go back, over restarts: a ceiling is stored before
 * fences below it are handed out, and a new server begins at the stored one, or at the wall clock
 * where that is later.
 *
 *   RESTING --- fences are low ---> WRITING -- written --> SYNCING -- on disk: the ceiling rises
 * --> RESTING ^  |                   | after a while|  +------ failed -----+ |  v PAUSING
 *
 * It waits for nothing and makes no system call once it is open: it says what its worker's ring
 * shall do, and is told how that ended. The next range is stored while half of the last one is
 * left, so nobody waits for the disk; where the disk fails or is slow, grants go on to the end of
 * the range. It must live as long as the process: a request that a thread of the kernel works on
 * may outlive the ring, and reads `bytes` and `file`, which is never closed for the same reason.
 */
#ifndef SERVER_FENCE_STORE_H
#define SERVER_FENCE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "os/fence_file.h"
#include "server/fences.h"

/* Fences that are reserved by one write; as many may be skipped by a restart. Tests take less. */
#ifndef FENCE_RANGE
#define FENCE_RANGE (UINT64_C(1) << 20)
#endif

enum fence_store_io {
    FENCE_STORE_NOTHING,
    FENCE_STORE_WRITE, /* `bytes` to the beginning of `file` */
    FENCE_STORE_SYNC   /* `file`, to the disk */
};

struct fence_store {
    struct fences *fences;
    int file;
    enum {
        FENCE_STORE_RESTING,
        FENCE_STORE_WRITING,
        FENCE_STORE_SYNCING,
        FENCE_STORE_PAUSING
    } state;
    bool failing;           /* something was told since the ceiling last rose */
    bool exhausted;         /* and then no fence was left */
    uint64_t ceiling;       /* what is stored, or being stored */
    uint64_t tell_ns;       /* no trouble is told before */
    uint64_t pause_ends_ns; /* while PAUSING */
    uint8_t bytes[FENCE_FILE_BYTES];
};

/*
 * Opens the file and stores the first ceiling. `first` is the first fence to hand out; `wall_ns` is
 * the wall clock's time. False with what is wrong in `problem`, which names `path`.
 */
bool fence_store_open(struct fence_store *keeper, const char *path, uint64_t wall_ns,
                      uint64_t *first, char problem[FENCE_FILE_PROBLEM_MAX]);

/* Returns whether fence_store_open could open the file now; see fence_file_check. */
bool fence_store_check(const char *path, char problem[FENCE_FILE_PROBLEM_MAX]);

/* Whose ceiling it raises; they begin with that of `keeper`. */
void fence_store_start(struct fence_store *keeper, struct fences *fences);

/* To be called in every turn: what is to be done now. */
enum fence_store_io fence_store_step(struct fence_store *keeper, uint64_t now_ns);

/* What it wished for has ended with this: negative errno, or what write(2) or fsync(2) return. */
enum fence_store_io fence_store_done(struct fence_store *keeper, uint64_t now_ns, int32_t result);

/* Whether what it wished for has not ended yet. */
bool fence_store_busy(const struct fence_store *keeper);

/* When it wants to be called again though nothing happens. UINT64_MAX: it doesn't. */
uint64_t fence_store_deadline(const struct fence_store *keeper);

#endif
