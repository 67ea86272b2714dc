#include "server/slots.h"

/*
 * Between two looks into the mailbox: an answer, and notices of the watch there is and of two that
 * were given up at most, since a session watches once in a read time-out.
 */
enum {
    EFFECTS_PER_SLOT = 4
};

void slots_init(struct slots *slots, const struct memory *memory, struct mailbox *mailbox)
{
    segments_init(&slots->values, memory, sizeof(uint64_t));
    slots->mailbox = mailbox;
    slots->count = 0;
    slots->free = SLOT_NONE;
    slots->retired = SLOT_NONE;
}

void slots_free(struct slots *slots)
{
    segments_free(&slots->values);
}

static uint64_t *value_of(const struct slots *slots, uint32_t slot)
{
    return segments_at(&slots->values, slot);
}

/* Without a connection it holds twice the next one of its chain plus 1: odd, unlike an address. */
static uint32_t next_of(const struct slots *slots, uint32_t slot)
{
    return (uint32_t)(*value_of(slots, slot) >> 1);
}

static void chain(struct slots *slots, uint32_t slot, uint32_t *first)
{
    *value_of(slots, slot) = (uint64_t)*first << 1 | 1;
    *first = slot;
}

uint32_t slots_take(struct slots *slots)
{
    uint32_t slot = slots->free;

    if (slot != SLOT_NONE) {
        slots->free = next_of(slots, slot);
        return slot;
    }
    if (slots->count == CONNECTION_ID_SLOTS ||
        !segments_reserve(&slots->values, slots->count + 1) ||
        !mailbox_reserve(slots->mailbox, (slots->count + 1) * EFFECTS_PER_SLOT))
        return SLOT_NONE;
    *value_of(slots, slots->count) = (uint64_t)SLOT_NONE << 1 | 1;
    return slots->count++;
}

void slots_set(struct slots *slots, uint32_t slot, struct connection *connection)
{
    *value_of(slots, slot) = (uint64_t)(uintptr_t)connection;
}

struct connection *slots_at(const struct slots *slots, uint32_t slot)
{
    uint64_t value = *value_of(slots, slot);

    return value & 1 ? NULL : (struct connection *)(uintptr_t)value;
}

void slots_retire(struct slots *slots, uint32_t slot)
{
    chain(slots, slot, &slots->retired);
}

void slots_reuse(struct slots *slots)
{
    while (slots->retired != SLOT_NONE) {
        uint32_t slot = slots->retired;

        slots->retired = next_of(slots, slot);
        chain(slots, slot, &slots->free);
    }
}
