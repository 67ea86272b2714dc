/*
 * What is measured: the steps, by name. A step is run `count` times on a scene, by steps_run; what
 * must be there before and is not measured is made by steps_prepare, and tidied by steps_restore.
 */
#ifndef STEPS_STEPS_H
#define STEPS_STEPS_H

#include "steps/scene.h"

/* What the size of a step counts. */
enum size_of {
    SIZE_NONE,
    SIZE_KEYS,    /* held by others */
    SIZE_WAITERS, /* on the one key */
    SIZE_CLAIMS   /* of the client */
};

struct step {
    const char *name;
    enum size_of size_of;
    const char *what; /* is done once, for a reader */
    /* Each may be NULL but `run`. */
    void (*begin)(struct scene *scene, uint64_t size);
    void (*prepare)(struct scene *scene, uint64_t count);
    void (*run)(struct scene *scene, uint64_t count);
    void (*restore)(struct scene *scene, uint64_t count);
    void (*end)(struct scene *scene, uint64_t size);
};

/* The step at `index`, or NULL after the last one. */
const struct step *steps_at(uint32_t index);

const char *steps_size_name(enum size_of size_of);

/* What of the keys held by others a step of this size wants, and how many it does at a time. */
uint64_t steps_held(const struct step *step, uint64_t size);
uint64_t steps_chunk(const struct step *step, uint64_t size);

/* The measured part; never inlined, so that a profiler can be told to look at it alone. */
void steps_run(const struct step *step, struct scene *scene, uint64_t count);

#endif
