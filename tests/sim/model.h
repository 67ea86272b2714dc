/*
 * What all tables together must do, told in the plainest way: arrays that are searched, nothing
 * shared with src/lock. The model is told which stripe a key falls into, and the time that somebody
 * came with; it answers as the server must, and notes for whom it has news.
 *
 * Who is granted what follows from the protocol. Where a call does several things whose order is
 * seen from outside (fences, news), the model does them in the table's order: a client that is gone
 * loses what its last request waits for or was granted, then what it waits for or has enqueued, the
 * newest first, then what it holds, the oldest first (`place` tells it); what is due happens by its
 * deadline, collections last. Deadlines that are equal have no order; the model takes any (see
 * `group`).
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
    MODEL_HOLDERS = 8,
    MODEL_WAITERS = SIM_CLIENTS_MAX * 2,
    MODEL_STRIPES = 64,
    MODEL_NEWS = 2048, /* a power of two */
    MODEL_GRANTED = 512,
    MODEL_PENDING = DFLOCKD_OUTCOME_COUNT, /* as LOCK_PENDING and LOCK_IDLE */
    MODEL_IDLE,
    MODEL_NOBODY = -1
};

#define MODEL_NEVER UINT64_MAX

enum model_claim_state {
    MODEL_FREE,
    MODEL_WAITS,
    MODEL_HOLDS
};

struct model_claim {
    uint8_t state;
    bool untold;  /* was granted while nobody waited for the answer */
    bool known;   /* the token was seen */
    bool blocked; /* its client's last request in the key's stripe waits for it, or did */
    uint16_t key;
    uint16_t slot; /* where its client is, or was */
    uint64_t client;
    uint64_t deadline_ns; /* of the lease, or of the wait; MODEL_NEVER: nobody waits yet */
    uint64_t turn;        /* of coming, then of the grant: counts up */
    int64_t place;        /* among its client's: the smallest goes first */
    uint64_t lease_s;
    uint64_t fence_low; /* the fence is one of these */
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
    int owner; /* the claim granted last, while it holds */
    uint64_t idle_since_ns;
    uint64_t idle_turn;
    uint64_t changed; /* the step of the last change that statistics could show */
    uint64_t created; /* the step in which it came to exist */
    uint16_t holding[MODEL_HOLDERS];
    uint16_t waiting[MODEL_WAITERS];
};

struct model_enqueued {
    uint16_t key;
    int claim;     /* MODEL_NOBODY: its lease is over */
    int64_t place; /* then: as the claim's was */
    uint64_t lost; /* then: the turn in which it ended */
};

struct model_client {
    uint64_t id;
    int blocked;      /* the claim that its pending request is about */
    uint64_t watched; /* a bit for each stripe that tells when it has no claim there any more */
    uint32_t enqueued_count;
    struct model_enqueued enqueued[KEYS_MAX]; /* in the order they began */
};

/* What a mailbox must hold. */
struct model_news {
    uint64_t client;
    int outcome;
    int claim; /* of a grant, which may have ended meanwhile: see `turn` */
    uint64_t turn;
    uint64_t lease_s;
    uint64_t deadline_ns;
    uint64_t fence_low;
    uint64_t fence_high;
    uint64_t group; /* news of one group may come in any order; 0: in none */
};

struct model_mailbox {
    struct model_news news[MODEL_NEWS];
    uint32_t first;
    uint32_t count;
};

struct model_answer {
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
    uint64_t fences;         /* that may be handed out in all, where the policy limits them */
    uint64_t fences_are_low; /* so many of them in use or promised are worth a call for more */
    bool fences_called;      /* there was reason for one since there were more */
    uint64_t states;         /* that exist */
    uint64_t touched;        /* a bit for each stripe that was called since this was cleared */
    uint64_t stripe_ns[MODEL_STRIPES];
    uint64_t earliest_ns[MODEL_STRIPES]; /* no claim's deadline is earlier */
    uint32_t stripe_keys[MODEL_STRIPES];
    uint16_t keys_of[MODEL_STRIPES][KEYS_MAX];
    struct model_key keys[KEYS_MAX];
    struct model_client clients[SIM_CLIENTS_MAX];
    struct model_mailbox mailboxes[SIM_WORKERS_MAX];
    uint64_t group; /* the one that news belongs to, or 0 */
    uint64_t groups;
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
    uint64_t leases_ended;
    uint64_t given_back; /* grants on their way whose client was gone */
    uint64_t fenceless;  /* requests that got no fence */
    uint64_t owned;      /* grants that passed to another client */
    uint64_t forgotten;  /* lost leases that went with their key */
};

/* `model` is all zeros, `stripes` has the stripe of each key. */
void model_init(struct model *model, const struct policy *policy, uint32_t stripe_count,
                const uint32_t *stripes);

/* Somebody calls `stripe` with the time `now_ns`; to be called before all that follow. */
void model_enter(struct model *model, uint32_t stripe, uint64_t now_ns);

void model_open(struct model *model, uint32_t slot, uint64_t id);

struct model_answer model_acquire(struct model *model, uint32_t slot, uint32_t key, uint32_t limit,
                                  uint64_t wait_s, uint64_t lease_s);
struct model_answer model_enqueue(struct model *model, uint32_t slot, uint32_t key, uint32_t limit,
                                  uint64_t lease_s);
struct model_answer model_wait(struct model *model, uint32_t slot, uint32_t key, uint64_t wait_s);
struct model_answer model_release(struct model *model, uint32_t key, uint64_t fence, uint64_t salt);
struct model_answer model_renew(struct model *model, uint32_t key, uint64_t fence, uint64_t salt,
                                uint64_t lease_s);
struct model_answer model_own(struct model *model, uint32_t slot, uint32_t key, uint64_t fence,
                              uint64_t salt);
bool model_cancel(struct model *model, uint32_t slot);

/* All that waits for a client in `stripe` leaves; how many claims that were. */
uint32_t model_leave_queues(struct model *model, uint32_t slot, uint32_t stripe);

/* That many fences more may be handed out. */
void model_add_fences(struct model *model, uint32_t count);

/* In one stripe, up to `steps` things; true when all is done. */
bool model_disconnect(struct model *model, uint32_t slot, uint32_t stripe, bool pending,
                      uint32_t steps);

void model_expire(struct model *model, uint32_t stripe, uint32_t steps);
uint64_t model_deadline(struct model *model, uint32_t stripe);

/*
 * Whether a client has grants in `stripe` of which it is not told which came first. It must be
 * disconnected in one go then.
 */
bool model_order_unknown(const struct model *model, uint32_t slot, uint32_t stripe);

/* Whether the order of what is due in `stripe` is not told by its times. */
bool model_ambiguous(struct model *model, uint32_t stripe, uint64_t now_ns);

/* See table_watch. */
bool model_watch(struct model *model, uint32_t slot, uint32_t stripe);
void model_unwatch(struct model *model, uint32_t slot, uint32_t stripe);

/* The enqueued state of a client on a key, or NULL. */
struct model_enqueued *model_enqueued(struct model *model, uint32_t slot, uint32_t key);

/* Of a key that is idle; else MODEL_NEVER. */
uint64_t model_collection(const struct model *model, uint32_t key);

/* Notes the token of a grant that was shown. False when it can't be right. */
bool model_learn(struct model *model, int claim, uint64_t fence, uint64_t salt);

/* The claims of a stripe, one after the other; start with `at` 0. MODEL_NOBODY after the last. */
struct model_cursor {
    uint32_t key;   /* among those of the stripe */
    uint32_t place; /* among its holders, then its waiters */
};
int model_next_claim(const struct model *model, uint32_t stripe, struct model_cursor *cursor);

/* The parts that model.c and model_time.c share. */
void model_collect(struct model *model, struct model_key *key);
bool model_forget_lost(struct model *model, uint32_t key);
void model_leave(struct model *model, int claim);
void model_lease_ends(struct model *model, int claim);
void model_group_begin(struct model *model);
void model_group_end(struct model *model);
void model_post(struct model *model, uint64_t client, int outcome, int claim);
bool model_idle(const struct model_key *key);

#endif
