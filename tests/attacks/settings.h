/* What an attack does, and what it has found. */
#ifndef ATTACKS_SETTINGS_H
#define ATTACKS_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

struct settings {
    const char *kind; /* a variant of the attack; "": the usual one */
    uint32_t port;
    uint32_t pid; /* the server's process */
    uint32_t connections;
    uint32_t claims;
    uint32_t wait_s;    /* of waits and leases */
    uint32_t silent;    /* connections that do not read */
    uint32_t others;    /* connections of the bystander; 0: no bystander */
    uint32_t settle_ms; /* the bystander runs at least so long after the attack */
    uint32_t stop;      /* whether the server is stopped until everything is due */
};

struct result {
    uint64_t replies;   /* correct ones and others */
    uint64_t closed;    /* connections that the server has closed */
    double late_max_ms; /* of the hand-overs of other clients' leases */
    double seconds;     /* from the beginning until the last reply */
    char problem[200];  /* the first one; empty: none */
    char others[1024];  /* the bystander's figures, JSON */
};

/* Keeps the problem if it is the first one. */
void result_fail(struct result *result, const char *problem, const char *detail);

#endif
