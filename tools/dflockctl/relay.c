#include "dflockctl/relay.h"

#include <string.h>

#include "dflockctl/loop.h"

static int relay_is_known(int signal)
{
    return signal > 0 && signal < RELAY_SIGNALS_MAX;
}

static void relay_remove(struct relay *relay, size_t index)
{
    relay->pending_count--;
    memmove(&relay->pending[index], &relay->pending[index + 1],
            (relay->pending_count - index) * sizeof(relay->pending[0]));
}

/* Returns the index in `pending`, or pending_count. */
static size_t relay_find(const struct relay *relay, int signal)
{
    size_t index = 0;

    while (index < relay->pending_count && relay->pending[index].signal != signal)
        index++;
    return index;
}

void relay_received(struct relay *relay, int signal, int64_t now_ms)
{
    if (!relay_is_known(signal) || now_ms < relay->covered_until_ms[signal] ||
        relay_find(relay, signal) < relay->pending_count)
        return;
    /* There is room: each of the known signals is pending at most once. */
    relay->pending[relay->pending_count].signal = signal;
    relay->pending[relay->pending_count].due_ms = now_ms + RELAY_WINDOW_MS;
    relay->pending_count++;
}

void relay_witnessed(struct relay *relay, int signal, int64_t now_ms)
{
    size_t index = relay_find(relay, signal);

    if (!relay_is_known(signal))
        return;
    relay->covered_until_ms[signal] = now_ms + RELAY_WINDOW_MS;
    if (index < relay->pending_count)
        relay_remove(relay, index);
}

int64_t relay_next_ms(const struct relay *relay)
{
    return relay->pending_count > 0 ? relay->pending[0].due_ms : LOOP_NEVER;
}

int relay_take(struct relay *relay, int64_t now_ms)
{
    int signal;

    if (relay->pending_count == 0 || now_ms < relay->pending[0].due_ms)
        return 0;
    signal = relay->pending[0].signal;
    relay_remove(relay, 0);
    return signal;
}
