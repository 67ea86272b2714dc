/*
 * Prints holders and waiters of a key for people.
 */
#ifndef DFLOCKCTL_VIEW_TABLE_H
#define DFLOCKCTL_VIEW_TABLE_H

#include "dflockctl/key_view.h"

/* Prints one line with the totals: "lock, held exclusively, 3 waiting". */
void view_table_print_totals(const struct key_view *view, enum key_kind kind);

/* Print up to `rows` of the listed holders or waiters, and how many more there are. */
void view_table_print_holders(const struct key_view *view, size_t rows);
void view_table_print_waiters(const struct key_view *view, enum key_kind kind, size_t rows);

/* Returns "NAME ADDRESS" as it is shown, which the caller frees. */
char *view_table_client(const struct key_view_client *client);

#endif
