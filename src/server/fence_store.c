#include "server/fence_store.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/time_units.h"
#include "server/log.h"

/* Above this the numbers would come to an end one day. */
#define FIRST_MAX (UINT64_MAX >> 1)

enum {
    PAUSE_MS = 250,
    SLOW_MS = 2000,      /* a disk that takes longer is told of */
    TELL_EVERY_MS = 5000 /* of trouble that lasts */
};

static bool check_stored(uint64_t stored, const char *path, char problem[FENCE_FILE_PROBLEM_MAX])
{
    if (stored > FIRST_MAX)
        snprintf(problem, FENCE_FILE_PROBLEM_MAX, "%s: holds a number too large for a fence", path);
    return stored <= FIRST_MAX;
}

bool fence_store_check(const char *path, char problem[FENCE_FILE_PROBLEM_MAX])
{
    uint64_t stored;

    return fence_file_check(path, &stored, problem) == 0 && check_stored(stored, path, problem);
}

bool fence_store_open(struct fence_store *keeper, const char *path, uint64_t wall_ns,
                      uint64_t *first, char problem[FENCE_FILE_PROBLEM_MAX])
{
    uint64_t stored;
    int error;

    memset(keeper, 0, sizeof(*keeper));
    keeper->file = fence_file_open(path, &stored, problem);
    if (keeper->file < 0)
        return false;
    if (!check_stored(stored, path, problem))
        return false;
    *first = stored > wall_ns ? stored : wall_ns;
    keeper->ceiling = *first + FENCE_RANGE;
    error = fence_file_store(keeper->file, keeper->ceiling);
    if (error < 0) {
        snprintf(problem, FENCE_FILE_PROBLEM_MAX, "%s: cannot be written: %s", path,
                 strerror(-error));
        return false;
    }
    return true;
}

void fence_store_start(struct fence_store *keeper, struct fences *fences)
{
    assert(fences_ceiling(fences) == keeper->ceiling);
    keeper->fences = fences;
}

/* Not more often than needed; at once when the last fence is gone. */
static void tell(struct fence_store *keeper, uint64_t now_ns, const char *error)
{
    bool exhausted = fences_are_exhausted(keeper->fences);

    if (now_ns < keeper->tell_ns && exhausted == keeper->exhausted)
        return;
    keeper->failing = true;
    keeper->exhausted = exhausted;
    keeper->tell_ns = now_ns + TELL_EVERY_MS * NS_PER_MS;
    if (exhausted)
        log_line(LOG_ERROR, "no fences left, so no locks are granted: cannot store the next range",
                 "error", error, NULL);
    else
        log_line(LOG_WARN, "cannot store the next range of fences for now", "error", error, NULL);
}

static enum fence_store_io begin(struct fence_store *keeper, uint64_t now_ns)
{
    keeper->ceiling = fences_ceiling(keeper->fences) + FENCE_RANGE;
    fence_file_encode(keeper->bytes, keeper->ceiling);
    keeper->state = FENCE_STORE_WRITING;
    if (!keeper->failing)
        keeper->tell_ns = now_ns + SLOW_MS * NS_PER_MS;
    return FENCE_STORE_WRITE;
}

enum fence_store_io fence_store_step(struct fence_store *keeper, uint64_t now_ns)
{
    switch (keeper->state) {
    case FENCE_STORE_RESTING:
        if (fences_requested(keeper->fences))
            return begin(keeper, now_ns);
        break;
    case FENCE_STORE_PAUSING:
        if (now_ns >= keeper->pause_ends_ns)
            return begin(keeper, now_ns);
        break;
    default:
        if (now_ns >= keeper->tell_ns)
            tell(keeper, now_ns, "the disk is slow");
    }
    return FENCE_STORE_NOTHING;
}

static enum fence_store_io failed(struct fence_store *keeper, uint64_t now_ns, int error)
{
    if (!keeper->failing)
        keeper->tell_ns = now_ns;
    tell(keeper, now_ns, strerror(error));
    keeper->state = FENCE_STORE_PAUSING;
    keeper->pause_ends_ns = now_ns + PAUSE_MS * NS_PER_MS;
    return FENCE_STORE_NOTHING;
}

enum fence_store_io fence_store_done(struct fence_store *keeper, uint64_t now_ns, int32_t result)
{
    if (result < 0)
        return failed(keeper, now_ns, -result);
    if (keeper->state == FENCE_STORE_WRITING) {
        if (result < FENCE_FILE_BYTES)
            return failed(keeper, now_ns, ENOSPC);
        keeper->state = FENCE_STORE_SYNCING;
        return FENCE_STORE_SYNC;
    }
    assert(keeper->state == FENCE_STORE_SYNCING);
    fences_raise(keeper->fences, keeper->ceiling);
    if (keeper->failing)
        log_line(LOG_INFO, "the next range of fences is stored again", NULL);
    keeper->failing = false;
    keeper->exhausted = false;
    keeper->state = FENCE_STORE_RESTING;
    return fence_store_step(keeper, now_ns);
}

bool fence_store_busy(const struct fence_store *keeper)
{
    return keeper->state == FENCE_STORE_WRITING || keeper->state == FENCE_STORE_SYNCING;
}

uint64_t fence_store_deadline(const struct fence_store *keeper)
{
    switch (keeper->state) {
    case FENCE_STORE_RESTING:
        return UINT64_MAX;
    case FENCE_STORE_PAUSING:
        return keeper->pause_ends_ns;
    default:
        return keeper->tell_ns;
    }
}
