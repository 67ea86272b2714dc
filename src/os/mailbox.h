/*
 * Messages of one size, from any thread to one thread: a ring under a mutex. The owner makes room
 * for all messages that may be pending, so that posting never fails.
 */
#ifndef OS_MAILBOX_H
#define OS_MAILBOX_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/memory.h"

struct mailbox {
    pthread_mutex_t mutex;
    const struct memory *memory;
    uint8_t *messages;
    size_t message_bytes;
    uint32_t capacity; /* a power of two, or 0 */
    uint32_t first;
    uint32_t count;
};

/* `memory` must outlive the mailbox. */
void mailbox_init(struct mailbox *mailbox, const struct memory *memory, size_t message_bytes);

void mailbox_free(struct mailbox *mailbox);

/* Makes room for `capacity` messages in total. Returns false if memory is short. */
bool mailbox_reserve(struct mailbox *mailbox, uint32_t capacity);

/* Adds a message. Returns true if the mailbox was empty: the owner may have to be woken. */
bool mailbox_post(struct mailbox *mailbox, const void *message);

/* Returns the number of messages. More may be added at any time. */
uint32_t mailbox_count(struct mailbox *mailbox);

/* Removes the oldest messages, up to `most`. Returns their number. */
uint32_t mailbox_take(struct mailbox *mailbox, void *messages, uint32_t most);

#endif
