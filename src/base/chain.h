/*
 * An intrusive list with a head of one pointer, for structures with many heads. Its links form a
 * ring, so the first link leads to the last. Removing a link needs its chain; a list
 * (base/list.h) has a larger head and needs only the link.
 */
#ifndef BASE_CHAIN_H
#define BASE_CHAIN_H

#include "base/list.h"

struct chain {
    struct list_link *first; /* NULL: empty */
};

static inline void chain_init(struct chain *chain)
{
    chain->first = NULL;
}

static inline bool chain_empty(const struct chain *chain)
{
    return !chain->first;
}

/* Returns the last link, or NULL if the chain is empty. */
static inline struct list_link *chain_last(const struct chain *chain)
{
    return chain->first ? chain->first->previous : NULL;
}

/* Returns the link after `link`, which must be in the chain, or NULL. */
static inline struct list_link *chain_next(const struct chain *chain, const struct list_link *link)
{
    return link->next == chain->first ? NULL : link->next;
}

static inline void chain_push_back(struct chain *chain, struct list_link *link)
{
    if (chain->first) {
        list_insert_before(chain->first, link);
        return;
    }
    link->next = link;
    link->previous = link;
    chain->first = link;
}

static inline void chain_push_front(struct chain *chain, struct list_link *link)
{
    chain_push_back(chain, link);
    chain->first = link;
}

static inline void chain_remove(struct chain *chain, struct list_link *link)
{
    if (chain->first == link)
        chain->first = chain_next(chain, link);
    list_remove(link);
}

static inline void chain_move_front(struct chain *chain, struct list_link *link)
{
    chain_remove(chain, link);
    chain_push_front(chain, link);
}

static inline void chain_move_back(struct chain *chain, struct list_link *link)
{
    chain_remove(chain, link);
    chain_push_back(chain, link);
}

#endif
