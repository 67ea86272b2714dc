#include "server/slots.h"

/* A reply, and a notice: a session does not watch again before it has the last one. */
enum {
    SLOTS_EFFECTS_PER_SLOT = 2
};

void slots_init(struct slots *slots, const struct memory *memory, struct mailbox *mailbox)
{
    segments_init(&slots->values, memory, sizeof(uint64_t));
    slots->mailbox = mailbox;
    slots->count = 0;
    slots->free = SLOT_NONE;
    slots->retired = SLOT_NONE;
    slots->waiting = SLOT_NONE;
    slots->effects = 0;
}

void slots_free(struct slots *slots)
{
    segments_free(&slots->values);
}

static uint64_t *slots_value_of(const struct slots *slots, uint32_t slot)
{
    return segments_at(&slots->values, slot);
}

/* A slot without connection holds twice the next slot plus 1: odd, unlike an address. */
static uint32_t slots_next_of(const struct slots *slots, uint32_t slot)
{
    return (uint32_t)(*slots_value_of(slots, slot) >> 1);
}

static void slots_chain(struct slots *slots, uint32_t slot, uint32_t *first)
{
    *slots_value_of(slots, slot) = (uint64_t)*first << 1 | 1;
    *first = slot;
}

uint32_t slots_take(struct slots *slots)
{
    uint32_t slot = slots->free;

    if (slot != SLOT_NONE) {
        slots->free = slots_next_of(slots, slot);
        return slot;
    }
    if (slots->count == CONNECTION_ID_SLOTS ||
        !segments_reserve(&slots->values, slots->count + 1) ||
        !mailbox_reserve(slots->mailbox, (slots->count + 1) * SLOTS_EFFECTS_PER_SLOT))
        return SLOT_NONE;
    *slots_value_of(slots, slots->count) = (uint64_t)SLOT_NONE << 1 | 1;
    return slots->count++;
}

void slots_set(struct slots *slots, uint32_t slot, void *client)
{
    *slots_value_of(slots, slot) = (uint64_t)(uintptr_t)client;
}

void *slots_at(const struct slots *slots, uint32_t slot)
{
    uint64_t value = *slots_value_of(slots, slot);

    return value & 1 ? NULL : (void *)(uintptr_t)value;
}

void slots_retire(struct slots *slots, uint32_t slot)
{
    slots_chain(slots, slot, &slots->retired);
}

/* The slots in `waiting` become free if no effect can be left for them. */
static void slots_free_waiting(struct slots *slots)
{
    while (slots->effects == 0 && slots->waiting != SLOT_NONE) {
        uint32_t slot = slots->waiting;

        slots->waiting = slots_next_of(slots, slot);
        slots_chain(slots, slot, &slots->free);
    }
}

void slots_reuse(struct slots *slots, uint32_t taken, uint32_t left)
{
    slots->effects -= taken < slots->effects ? taken : slots->effects;
    slots_free_waiting(slots);
    if (slots->waiting != SLOT_NONE)
        return;
    slots->waiting = slots->retired;
    slots->retired = SLOT_NONE;
    slots->effects = left;
    slots_free_waiting(slots);
}
