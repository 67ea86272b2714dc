/*
 * The measured steps. steps_run runs a step `count` times on a scene. `prepare` and `restore` of a
 * step set up and tidy the scene; they are not measured.
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
    const char *what; /* description of one step */
    /* All except `run` can be NULL. */
    void (*begin)(struct scene *scene, uint64_t size);
    void (*prepare)(struct scene *scene, uint64_t count);
    void (*run)(struct scene *scene, uint64_t count);
    void (*restore)(struct scene *scene, uint64_t count);
    void (*end)(struct scene *scene, uint64_t size);
};

/* The step at `index`, or NULL after the last one. */
const struct step *steps_at(uint32_t index);

const char *steps_size_name(enum size_of size_of);

/* Returns the number of keys held by others for a step of this size, and of steps in a chunk. */
uint64_t steps_held(const struct step *step, uint64_t size);
uint64_t steps_chunk(const struct step *step, uint64_t size);

/* The measured part. It is never inlined, so that a profiler can select it. */
void steps_run(const struct step *step, struct scene *scene, uint64_t count);

#endif
