/*
 * The budget of a turn: how much a worker does before it looks at its ring again. A client waits
 * for the rest of a turn, and not for all that other clients have sent.
 *
 * A step is about the work of one simple request, 0.2 to 0.5 us. Each phase adds its part to the
 * budget, and may use some of what earlier phases have left over:
 *
 *   phase     work                                                  what the phase does not reach
 *   EXPIRIES  ends of leases and waits                              stays due
 *   INPUT     completions, and the requests that they bring         goes to the backlog
 *   EFFECTS   effects that are in the mailbox at the start          stays in the mailbox
 *   TIMEOUTS  of connections                                        stays due
 *   FIRST     connections with replies to new input, or an effect   comes first in the next turn
 *   LATER     other connections: backlogs, statistics, closing;     keeps its order
 *             one step of one TLS handshake
 *
 * A worker takes all completions of a turn, since their buffers must return to the ring. When INPUT
 * has used its steps, a connection still gets TURN_SHARE_MIN: a client that sends a single request
 * does not wait behind those that send many.
 *
 * FIRST must advance all that INPUT and EFFECTS of a turn queue, or else its queue grows. So
 * EFFECTS sets aside the steps for the sends of FIRST, and a connection gets TURN_SHARE_MIN in
 * FIRST.
 */
#ifndef SERVER_TURN_H
#define SERVER_TURN_H

#include <stdbool.h>
#include <stdint.h>

enum turn_phase {
    TURN_EXPIRIES,
    TURN_INPUT,
    TURN_EFFECTS,
    TURN_TIMEOUTS,
    TURN_FIRST,
    TURN_LATER,
    TURN_PHASES
};

enum {
    TURN_CARRIED_MAX = 1536, /* steps that earlier phases leave over for a phase */
    TURN_SHARE_MAX = 256,    /* steps of one connection at a time */
    /* At least: a send carries replies to many requests, and SESSION_SHOW_MIN needs no more. */
    TURN_SHARE_LATER = 64,
    TURN_SHARE_MIN = 4,
    TURN_SYSTEM_CALL = 32, /* steps that a send, a close and the like count as */
    TURN_CLAIM = 8 /* the same for the end of a claim: its records are rarely in the cache */
};

struct turn {
    int32_t left;       /* steps; 0 or less: the phase has used its budget */
    int32_t set_aside;  /* steps for FIRST */
    uint32_t share_min; /* of one connection */
    uint32_t share_max;
};

/* Starts a phase. EXPIRIES starts a turn. */
static inline void turn_enter(struct turn *turn, enum turn_phase phase)
{
    static const int32_t parts[TURN_PHASES] = {
        [TURN_EXPIRIES] = 512, [TURN_INPUT] = 1024, [TURN_EFFECTS] = 512,
        [TURN_TIMEOUTS] = 128, [TURN_FIRST] = 2048, [TURN_LATER] = 512,
    };

    if (phase == TURN_EXPIRIES || turn->left < 0)
        turn->left = 0;
    if (turn->left > TURN_CARRIED_MAX)
        turn->left = TURN_CARRIED_MAX;
    turn->left += parts[phase];
    turn->share_min = phase == TURN_LATER ? TURN_SHARE_LATER : TURN_SHARE_MIN;
    turn->share_max = phase == TURN_FIRST ? TURN_SHARE_MIN : TURN_SHARE_MAX;
    if (phase == TURN_FIRST)
        turn->left += turn->set_aside;
    if (phase == TURN_EXPIRIES || phase == TURN_FIRST)
        turn->set_aside = 0;
}

/* Divides the steps of LATER among `count` connections. */
static inline void turn_divide(struct turn *turn, uint32_t count)
{
    uint32_t share = count > 0 ? (uint32_t)turn->left / count : TURN_SHARE_MAX;

    if (share < TURN_SHARE_MAX)
        turn->share_max = share > TURN_SHARE_LATER ? share : TURN_SHARE_LATER;
}

static inline bool turn_is_over(const struct turn *turn)
{
    return turn->left <= 0;
}

static inline void turn_spend(struct turn *turn, uint32_t steps)
{
    turn->left -= (int32_t)steps;
}

/* Keeps steps of an earlier phase for FIRST. */
static inline void turn_set_aside(struct turn *turn, int32_t steps)
{
    turn->left -= steps;
    turn->set_aside += steps;
}

/* Takes the steps that one connection may use now. Those that it does not use are returned. */
static inline uint32_t turn_take_share(struct turn *turn)
{
    uint32_t min = turn->share_min;
    uint32_t left = turn->left > (int32_t)min ? (uint32_t)turn->left : min;
    uint32_t share = left < turn->share_max ? left : turn->share_max;

    turn_spend(turn, share);
    return share;
}

static inline void turn_return(struct turn *turn, uint32_t steps)
{
    turn->left += (int32_t)steps;
}

#endif
