#include "server/fence_store.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/time_units.h"
#include "server/log.h"

/* A larger start would exhaust 64 bits one day. */
#define FENCE_STORE_FIRST_MAX (UINT64_MAX >> 1)

enum {
    FENCE_STORE_PAUSE_MS = 250,
    FENCE_STORE_SLOW_MS = 2000, /* a slower disk is logged */
    FENCE_STORE_LOG_MS = 5000   /* between lines on a lasting failure */
};

static bool fence_store_check_ceiling(uint64_t stored, const char *path,
                                      char problem[FENCE_FILE_PROBLEM_MAX])
{
    if (stored > FENCE_STORE_FIRST_MAX)
        snprintf(problem, FENCE_FILE_PROBLEM_MAX, "%s: holds a number too large for a fence", path);
    return stored <= FENCE_STORE_FIRST_MAX;
}

bool fence_store_check(const char *path, char problem[FENCE_FILE_PROBLEM_MAX])
{
    uint64_t stored;

    return fence_file_check(path, &stored, problem) == 0 &&
           fence_store_check_ceiling(stored, path, problem);
}

bool fence_store_open(struct fence_store *store, const char *path, uint64_t wall_ns,
                      uint64_t *first, char problem[FENCE_FILE_PROBLEM_MAX])
{
    uint64_t stored;
    int error;

    memset(store, 0, sizeof(*store));
    store->file = fence_file_open(path, &stored, problem);
    if (store->file < 0)
        return false;
    if (!fence_store_check_ceiling(stored, path, problem))
        return false;
    *first = stored > wall_ns ? stored : wall_ns;
    store->ceiling = *first + FENCE_RANGE;
    error = fence_file_store(store->file, store->ceiling);
    if (error < 0) {
        snprintf(problem, FENCE_FILE_PROBLEM_MAX, "%s: cannot be written: %s", path,
                 strerror(-error));
        return false;
    }
    return true;
}

void fence_store_start(struct fence_store *store, struct fences *fences)
{
    assert(fences_ceiling(fences) == store->ceiling);
    store->fences = fences;
}

/* Logs at intervals, and at once if no fence is left. */
static void fence_store_log(struct fence_store *store, uint64_t now_ns, const char *error)
{
    bool exhausted = fences_are_exhausted(store->fences);

    if (now_ns < store->log_ns && exhausted == store->exhausted)
        return;
    store->failing = true;
    store->exhausted = exhausted;
    store->log_ns = now_ns + FENCE_STORE_LOG_MS * NS_PER_MS;
    if (exhausted)
        log_line(LOG_ERROR, "no fences left, so no locks are granted: cannot store the next range",
                 "error", error, NULL);
    else
        log_line(LOG_WARN, "cannot store the next range of fences for now", "error", error, NULL);
}

static enum fence_store_io fence_store_begin(struct fence_store *store, uint64_t now_ns)
{
    store->ceiling = fences_ceiling(store->fences) + FENCE_RANGE;
    fence_file_encode(store->bytes, store->ceiling);
    store->state = FENCE_STORE_WRITING;
    if (!store->failing)
        store->log_ns = now_ns + FENCE_STORE_SLOW_MS * NS_PER_MS;
    return FENCE_STORE_WRITE;
}

enum fence_store_io fence_store_step(struct fence_store *store, uint64_t now_ns)
{
    switch (store->state) {
    case FENCE_STORE_IDLE:
        if (fences_requested(store->fences))
            return fence_store_begin(store, now_ns);
        break;
    case FENCE_STORE_PAUSING:
        if (now_ns >= store->resume_ns)
            return fence_store_begin(store, now_ns);
        break;
    default:
        if (now_ns >= store->log_ns)
            fence_store_log(store, now_ns, "the disk is slow");
    }
    return FENCE_STORE_NOTHING;
}

static enum fence_store_io fence_store_fail(struct fence_store *store, uint64_t now_ns, int error)
{
    if (!store->failing)
        store->log_ns = now_ns;
    fence_store_log(store, now_ns, strerror(error));
    store->state = FENCE_STORE_PAUSING;
    store->resume_ns = now_ns + FENCE_STORE_PAUSE_MS * NS_PER_MS;
    return FENCE_STORE_NOTHING;
}

enum fence_store_io fence_store_done(struct fence_store *store, uint64_t now_ns, int32_t result)
{
    if (result < 0)
        return fence_store_fail(store, now_ns, -result);
    if (store->state == FENCE_STORE_WRITING) {
        if (result < FENCE_FILE_BYTES)
            return fence_store_fail(store, now_ns, ENOSPC);
        store->state = FENCE_STORE_SYNCING;
        return FENCE_STORE_SYNC;
    }
    assert(store->state == FENCE_STORE_SYNCING);
    fences_raise(store->fences, store->ceiling);
    if (store->failing)
        log_line(LOG_INFO, "the next range of fences is stored again", NULL);
    store->failing = false;
    store->exhausted = false;
    store->state = FENCE_STORE_IDLE;
    return fence_store_step(store, now_ns);
}

bool fence_store_busy(const struct fence_store *store)
{
    return store->state == FENCE_STORE_WRITING || store->state == FENCE_STORE_SYNCING;
}

uint64_t fence_store_deadline(const struct fence_store *store)
{
    switch (store->state) {
    case FENCE_STORE_IDLE:
        return UINT64_MAX;
    case FENCE_STORE_PAUSING:
        return store->resume_ns;
    default:
        return store->log_ns;
    }
}
