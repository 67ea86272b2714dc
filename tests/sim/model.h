/*
 * A model of all tables in the simplest form: arrays and linear search, sharing nothing with
 * src/lock. The caller passes the stripe of each key and the time. The model returns the
 * required reply and records the required effects.
 *
 * The protocol decides the grants. If one call does several things with a visible order (fences,
 * effects), the model uses the table's order. A disconnected client first loses the claim of its
 * last request, then its waiting and enqueued claims, newest first, then its holds, oldest first
 * (`place`). Due work is done by deadline, collections last. Equal deadlines have no order, and
 * the model accepts any (see `group`).
 */
#ifndef TESTS_SIM_MODEL_H
#define TESTS_SIM_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "dflockd/protocol.h"
#include "keys.h"
#include "policy.h"

enum {
    MODEL_CLAIMS = 16384,
    MODEL_HOLDERS = 2048,
    MODEL_GRANTS_MAX = 4, /* see TABLE_GRANTS_MAX */
    MODEL_WAITERS = SIM_CLIENTS_MAX * 2,
    MODEL_STRIPES = 64,
    MODEL_EFFECTS = 2048, /* a power of two */
    MODEL_GRANTED = 512,
    MODEL_PENDING = DFLOCKD_OUTCOME_COUNT, /* like LOCK_PENDING and LOCK_IDLE */
    MODEL_IDLE,
    MODEL_NO_CLAIM = -1
};

#define MODEL_NEVER UINT64_MAX

enum model_claim_state {
    MODEL_FREE,
    MODEL_WAITS,
    MODEL_HOLDS
};

struct model_claim {
    uint8_t state;
    bool unreported; /* granted while no request waited for it */
    bool known;      /* the token was seen */
    bool exclusive;
    bool blocked; /* the claim of its client's last request in the key's stripe */
    uint16_t key;
    uint16_t slot; /* slot of its client */
    uint64_t client;
    uint64_t deadline_ns; /* of the lease or wait; MODEL_NEVER: no request waits yet */
    uint64_t since_ns;    /* of the request, then of the grant */
    uint64_t turn;        /* order of arrival, then of grants */
    int64_t place;        /* order among its client's claims, smallest first */
    uint64_t lease_s;
    uint64_t fence_low; /* the fence is in this range */
    uint64_t fence_high;
    uint64_t fence; /* once known */
    uint64_t salt;
};

struct model_key {
    bool exists;
    uint8_t stripe;
    uint32_t limit;
    uint32_t holders;
    uint32_t waiters;
    uint64_t idle_since_ns;
    uint64_t idle_turn;
    uint64_t changed;                /* step of the last change visible in `stats` */
    uint64_t created;                /* step of its creation */
    uint16_t holding[MODEL_HOLDERS]; /* the last granted last */
    uint16_t waiting[MODEL_WAITERS];
};

struct model_enqueued {
    uint16_t key;
    int claim;     /* MODEL_NO_CLAIM: its lease is over */
    int64_t place; /* then: the place of the claim */
    uint64_t lost; /* then: the turn in which it ended */
};

struct model_client {
    uint64_t id;
    int blocked;      /* the claim of its pending request */
    uint64_t watched; /* bits of stripes that post an effect when it has no claim there */
    uint32_t enqueued_count;
    struct model_enqueued enqueued[KEYS_MAX]; /* oldest first */
};

/* A required message in a mailbox. */
struct model_effect {
    uint64_t client;
    int outcome;
    int claim; /* of a grant that may have ended since (see `turn`) */
    uint64_t turn;
    uint64_t lease_s;
    uint64_t deadline_ns;
    uint64_t fence_low;
    uint64_t fence_high;
    uint64_t group;       /* effects of one group have no order; 0: no group */
    uint64_t revocations; /* before it */
};

struct model_mailbox {
    struct model_effect effects[MODEL_EFFECTS];
    uint32_t first;
    uint32_t count;
};

struct model_result {
    int outcome; /* enum dflockd_outcome or MODEL_PENDING */
    int claim;   /* of a grant */
    uint64_t lease_s;
};

struct model {
    struct policy policy;
    uint32_t stripe_count;
    uint32_t key_count;
    uint64_t now_ns; /* of the call */
    uint64_t step;   /* counts calls */
    uint64_t turn;
    uint64_t grants;         /* in all */
    uint64_t revocations;    /* with those that found no grant */
    uint64_t fences;         /* total limit, if the policy limits them */
    uint64_t fences_are_low; /* with this many in use or promised, the table must request more */
    bool fences_called;      /* the table had to request more since the last addition */
    uint64_t states;         /* existing states */
    uint64_t dues[MODEL_STRIPES]; /* claims that became due for a grant: their deadlines count up */
    uint64_t touched;             /* bits of the stripes called since this was cleared */
    uint64_t stripe_ns[MODEL_STRIPES];
    uint64_t paused; /* bits of the stripes that grant nothing yet */
    uint64_t grant_from_ns;
    uint32_t claims_room[MODEL_STRIPES]; /* claims that the cap lets each stripe have */
    uint64_t earliest_ns[MODEL_STRIPES]; /* lower bound of the claims' deadlines */
    uint32_t stripe_keys[MODEL_STRIPES];
    uint16_t keys_of[MODEL_STRIPES][KEYS_MAX];
    struct model_key keys[KEYS_MAX];
    struct model_client clients[SIM_CLIENTS_MAX];
    struct model_mailbox mailboxes[SIM_WORKERS_MAX];
    uint64_t group; /* group of new effects, or 0 */
    uint64_t groups;
    uint32_t group_steps;   /* in this group: the grants of one step have an order */
    uint32_t granted_count; /* in this group */
    uint16_t granted[MODEL_GRANTED];
    uint32_t claim_count;
    uint32_t free_count;
    uint16_t free[MODEL_CLAIMS];
    struct model_claim claims[MODEL_CLAIMS];
    /* For the report. */
    uint64_t collections;
    uint64_t ties;
    uint64_t handed_over;
    uint64_t resumed; /* waiters that the end of a pause granted */
    uint64_t leases_ended;
    uint64_t released_unread;     /* unread grants of lost clients */
    uint64_t without_fence;       /* requests refused without a fence */
    uint64_t claims_refused;      /* requests beyond the cap on claims */
    uint64_t claims_refused_each; /* beyond that of a connection */
    uint64_t owned;               /* grants passed to another client */
    uint64_t forgotten;           /* lost leases removed with their key */
};

/* `model` must be all zero. `stripes` contains the stripe of each key. */
void model_init(struct model *model, const struct policy *policy, uint32_t stripe_count,
                const uint32_t *stripes);

/* Call it before each call on `stripe`, with the time of that call. */
void model_enter(struct model *model, uint32_t stripe, uint64_t now_ns);

void model_open(struct model *model, uint32_t slot, uint64_t id);

/* A request for slots of a key. */
struct model_request {
    uint32_t key;
    uint32_t limit; /* 1 for a lock */
    bool shared;    /* of a lock */
    uint64_t wait_s;
    uint64_t lease_s;
};

struct model_result model_acquire(struct model *model, uint32_t slot,
                                  const struct model_request *request);
struct model_result model_enqueue(struct model *model, uint32_t slot,
                                  const struct model_request *request);
struct model_result model_wait(struct model *model, uint32_t slot, uint32_t key, uint64_t wait_s);
struct model_result model_release(struct model *model, uint32_t key, uint64_t fence, uint64_t salt);
struct model_result model_renew(struct model *model, uint32_t key, uint64_t fence, uint64_t salt,
                                uint64_t lease_s);
/* `*revoked` is the claim that ended, freed but as it was; or MODEL_NO_CLAIM. */
struct model_result model_revoke(struct model *model, uint32_t key, uint64_t fence, int *revoked);
struct model_result model_own(struct model *model, uint32_t slot, uint32_t key, uint64_t fence,
                              uint64_t salt);

/* Returns whether the fence of a held claim is certain, and sets it. */
bool model_fence(const struct model *model, int claim, uint64_t *fence);

/* Returns whether the grant of an effect still holds. */
static inline bool model_holds(const struct model *model, const struct model_effect *effect)
{
    return model->claims[effect->claim].turn == effect->turn;
}

/*
 * Returns whether the holder of a key at `place` may be the latest. Several may, if the order of
 * their grants is unknown.
 */
bool model_may_own(const struct model *model, const struct model_key *key, uint32_t place);

/* Returns the claims of a client that hold or wait. */
uint32_t model_claims(const struct model *model, uint32_t slot);

/* A request on `key` got no memory for its claim. */
void model_short_of_memory(struct model *model, uint32_t slot, uint32_t key);
bool model_cancel(struct model *model, uint32_t slot);

/*
 * See table_leave_queues: all of it, in one stripe. Returns the number of claims and lost leases
 * that ended.
 */
uint32_t model_leave_queues(struct model *model, uint32_t slot, uint32_t stripe);

/* Makes `count` more fences available. */
void model_add_fences(struct model *model, uint32_t count);

/* Does up to `*steps` removals in one stripe. Returns true when all are done. */
bool model_disconnect(struct model *model, uint32_t slot, uint32_t stripe, bool pending,
                      uint32_t *steps);

void model_expire(struct model *model, uint32_t stripe, uint32_t *steps);
uint64_t model_deadline(struct model *model, uint32_t stripe);

/*
 * Returns whether the order of a client's grants in `stripe` is unknown. The client must then be
 * disconnected in one step.
 */
bool model_order_unknown(const struct model *model, uint32_t slot, uint32_t stripe);

/* Returns whether times do not determine the order of due work in `stripe`. */
bool model_ambiguous(struct model *model, uint32_t stripe, uint64_t now_ns);

/* See table_watch. */
bool model_watch(struct model *model, uint32_t slot, uint32_t stripe);
bool model_unwatch(struct model *model, uint32_t slot, uint32_t stripe);

/* Returns the enqueued state of a client on a key, or NULL. */
struct model_enqueued *model_enqueued(struct model *model, uint32_t slot, uint32_t key);

/* Returns the collection time of an idle key, else MODEL_NEVER. */
uint64_t model_collection(const struct model *model, uint32_t key);

/* Records the token of a reported grant. Returns false if it is invalid. */
bool model_learn(struct model *model, int claim, uint64_t fence, uint64_t salt);

/*
 * Iterates over the claims of a stripe; start with all zero. Returns MODEL_NO_CLAIM after the
 * last.
 */
struct model_cursor {
    uint32_t key;   /* among those of the stripe */
    uint32_t place; /* among its holders, then its waiters */
};
int model_next_claim(const struct model *model, uint32_t stripe, struct model_cursor *cursor);

/* Shared by model.c and model_time.c. */
void model_collect(struct model *model, struct model_key *key);
bool model_forget_lost(struct model *model, uint32_t key);
uint32_t model_lost_count(struct model *model, uint32_t key);
void model_leave(struct model *model, int claim);
void model_lease_ends(struct model *model, int claim);
void model_wait_ends(struct model *model, int claim);
void model_group_begin(struct model *model);
void model_group_end(struct model *model);
void model_post(struct model *model, uint64_t client, int outcome, int claim);
bool model_idle(const struct model_key *key);
void model_resume(struct model *model, uint32_t stripe);

/* See table_stop_granting, for all stripes. */
void model_stop_granting(struct model *model);

static inline bool model_paused(const struct model *model, uint32_t stripe)
{
    return model->paused >> stripe & 1;
}

#endif
