#include "os/mailbox.h"

#include <assert.h>
#include <string.h>

enum {
    CAPACITY_MIN = 64
};

void mailbox_init(struct mailbox *mailbox, const struct memory *memory, size_t message_bytes)
{
    memset(mailbox, 0, sizeof(*mailbox));
    pthread_mutex_init(&mailbox->mutex, NULL);
    mailbox->memory = memory;
    mailbox->message_bytes = message_bytes;
}

void mailbox_free(struct mailbox *mailbox)
{
    memory_release(mailbox->memory, mailbox->messages, mailbox->capacity * mailbox->message_bytes);
    pthread_mutex_destroy(&mailbox->mutex);
}

static uint8_t *mailbox_at(const struct mailbox *mailbox, uint32_t index)
{
    return mailbox->messages + (index & (mailbox->capacity - 1)) * mailbox->message_bytes;
}

bool mailbox_reserve(struct mailbox *mailbox, uint32_t capacity)
{
    uint32_t larger = mailbox->capacity ? mailbox->capacity : CAPACITY_MIN;
    uint8_t *messages;

    if (capacity <= mailbox->capacity)
        return true;
    while (larger < capacity)
        larger *= 2;
    messages = memory_allocate(mailbox->memory, larger * mailbox->message_bytes, sizeof(uint64_t));
    if (!messages)
        return false;
    pthread_mutex_lock(&mailbox->mutex);
    for (uint32_t i = 0; i < mailbox->count; i++)
        memcpy(messages + i * mailbox->message_bytes, mailbox_at(mailbox, mailbox->first + i),
               mailbox->message_bytes);
    memory_release(mailbox->memory, mailbox->messages, mailbox->capacity * mailbox->message_bytes);
    mailbox->messages = messages;
    mailbox->capacity = larger;
    mailbox->first = 0;
    pthread_mutex_unlock(&mailbox->mutex);
    return true;
}

bool mailbox_post(struct mailbox *mailbox, const void *message)
{
    bool was_empty;

    pthread_mutex_lock(&mailbox->mutex);
    assert(mailbox->count < mailbox->capacity);
    memcpy(mailbox_at(mailbox, mailbox->first + mailbox->count), message, mailbox->message_bytes);
    was_empty = mailbox->count++ == 0;
    pthread_mutex_unlock(&mailbox->mutex);
    return was_empty;
}

uint32_t mailbox_count(struct mailbox *mailbox)
{
    uint32_t count;

    pthread_mutex_lock(&mailbox->mutex);
    count = mailbox->count;
    pthread_mutex_unlock(&mailbox->mutex);
    return count;
}

uint32_t mailbox_take(struct mailbox *mailbox, void *messages, uint32_t most)
{
    uint32_t count;

    pthread_mutex_lock(&mailbox->mutex);
    count = mailbox->count < most ? mailbox->count : most;
    for (uint32_t i = 0; i < count; i++)
        memcpy((uint8_t *)messages + i * mailbox->message_bytes,
               mailbox_at(mailbox, mailbox->first + i), mailbox->message_bytes);
    mailbox->first += count;
    mailbox->count -= count;
    /* Starts again at the beginning, so that unused memory stays untouched. */
    if (mailbox->count == 0)
        mailbox->first = 0;
    pthread_mutex_unlock(&mailbox->mutex);
    return count;
}
