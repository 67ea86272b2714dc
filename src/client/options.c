#include "client/options.h"

#include <stdio.h>
#include <string.h>

enum {
    CONNECT_TIMEOUT_MS = 10000,
    REPLY_TIMEOUT_MS = 5000,
    /* A larger size is not one that an init function has set. */
    OPTIONS_SIZE_MAX = 4096
};

static const double options_renew_ratio = 0.5;

/* A later member must not lie in bytes that are padding today: programs do not set them. */
_Static_assert(sizeof(struct dflockd_options) ==
                   offsetof(struct dflockd_options, problem) + sizeof(char *),
               "no padding at the end");
_Static_assert(sizeof(struct dflockd_lock_options) ==
                   offsetof(struct dflockd_lock_options, context) + sizeof(void *),
               "no padding at the end");

static size_t options_min(size_t left, size_t right)
{
    return left < right ? left : right;
}

/* ---- defaults ---- */

void dflockd_options_init_sized(struct dflockd_options *options, size_t size)
{
    const struct dflockd_options defaults = {
        .size = size,
        .connect_timeout_ms = CONNECT_TIMEOUT_MS,
        .reply_timeout_ms = REPLY_TIMEOUT_MS,
    };

    memset(options, 0, size);
    memcpy(options, &defaults, options_min(size, sizeof(defaults)));
}

void dflockd_lock_options_init_sized(struct dflockd_lock_options *options, size_t size)
{
    const struct dflockd_lock_options defaults = {
        .size = size,
        .renew = true,
        .renew_ratio = options_renew_ratio,
    };

    memset(options, 0, size);
    memcpy(options, &defaults, options_min(size, sizeof(defaults)));
}

/* ---- copies ---- */

static bool options_size_is_valid(size_t size)
{
    return size >= sizeof(size) && size <= OPTIONS_SIZE_MAX;
}

/* Returns whether the bytes after the first `known` ones are 0. */
static bool options_rest_is_zero(const void *given, size_t size, size_t known)
{
    const unsigned char *bytes = given;

    for (size_t i = known; i < size; i++) {
        if (bytes[i] != 0)
            return false;
    }
    return true;
}

bool options_copy(struct dflockd_options *copy, const struct dflockd_options *given)
{
    dflockd_options_init(copy);
    if (!options_size_is_valid(given->size))
        return false;
    memcpy(copy, given, options_min(given->size, sizeof(*copy)));
    if (options_rest_is_zero(given, given->size, sizeof(*copy)))
        return true;
    if (copy->problem)
        snprintf(copy->problem, DFLOCKD_PROBLEM_MAX,
                 "options: a member is set that version %s of the library does not have",
                 DFLOCKD_VERSION);
    return false;
}

bool options_copy_lock(struct dflockd_lock_options *copy, const struct dflockd_lock_options *given)
{
    dflockd_lock_options_init(copy);
    if (!options_size_is_valid(given->size))
        return false;
    memcpy(copy, given, options_min(given->size, sizeof(*copy)));
    return options_rest_is_zero(given, given->size, sizeof(*copy));
}
