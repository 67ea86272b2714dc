/*
 * An intrusive list. The link is embedded in the element, so adding and removing allocate
 * nothing, and removing needs no search. The links form a ring through the head; a link outside
 * a list is NULL.
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct list_link {
    struct list_link *next;
    struct list_link *previous;
};

struct list {
    struct list_link head;
};

/* The element that contains `link` as its `member`. */
#define CONTAINER_OF(link, type, member) ((type *)((uintptr_t)(link)-offsetof(type, member)))

static inline void list_init(struct list *list)
{
    list->head.next = &list->head;
    list->head.previous = &list->head;
}

static inline bool list_empty(const struct list *list)
{
    return list->head.next == &list->head;
}

static inline bool list_linked(const struct list_link *link)
{
    return link->next != NULL;
}

static inline void list_insert_before(struct list_link *place, struct list_link *link)
{
    assert(place && place->previous);
    link->previous = place->previous;
    link->next = place;
    place->previous->next = link;
    place->previous = link;
}

static inline void list_push_front(struct list *list, struct list_link *link)
{
    list_insert_before(list->head.next, link);
}

static inline void list_push_back(struct list *list, struct list_link *link)
{
    list_insert_before(&list->head, link);
}

static inline void list_remove(struct list_link *link)
{
    assert(list_linked(link) && link->previous);
    link->previous->next = link->next;
    link->next->previous = link->previous;
    link->next = NULL;
    link->previous = NULL;
}

/* Returns the first link, or NULL if the list is empty. */
static inline struct list_link *list_first(const struct list *list)
{
    return list_empty(list) ? NULL : list->head.next;
}

#endif
