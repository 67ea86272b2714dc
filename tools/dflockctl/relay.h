/*
 * Decides which signals to forward, so that each reaches the command exactly once.
 *
 * The outer process of dflockctl and the command are in one process group. A signal to the group,
 * or from the terminal, reaches both. A signal to the outer process alone has to be forwarded.
 * siginfo does not tell the two apart. So a third process, the group witness, is in the group and
 * does nothing but report its signals:
 *
 *   outer process   witness              decision
 *   received        received as well     the command has it: do not forward
 *   received        not within WINDOW    forward it
 *   not received    received             the command has it
 *
 * The window also covers senders that signal one process after the other: timeout(1) signals its
 * child, then the group; systemd signals each process of the control group.
 *
 * A signal that comes again within the window is forwarded once, as the kernel merges a signal that
 * is still pending. Time is an argument.
 */
#ifndef DFLOCKCTL_RELAY_H
#define DFLOCKCTL_RELAY_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RELAY_WINDOW_MS = 100,
    RELAY_SIGNALS_MAX = 32 /* standard signals, which do not queue */
};

/* Zeroed: nothing received. */
struct relay {
    struct {
        int signal;
        int64_t due_ms;
    } pending[RELAY_SIGNALS_MAX]; /* in order of arrival */
    size_t pending_count;
    int64_t covered_until_ms[RELAY_SIGNALS_MAX]; /* from the witness's report on */
};

/* The outer process received `signal`, a standard one. */
void relay_received(struct relay *relay, int signal, int64_t now_ms);

/* The witness received `signal`. */
void relay_witnessed(struct relay *relay, int signal, int64_t now_ms);

/* Returns when to call relay_take next, or LOOP_NEVER. */
int64_t relay_next_ms(const struct relay *relay);

/* Returns the next signal to forward and forgets it, or 0 if none is due. */
int relay_take(struct relay *relay, int64_t now_ms);

#endif
