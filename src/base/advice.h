/* Remedies for problems of connections, which dflockctl and dflockd-bench report alike. */
#ifndef BASE_ADVICE_H
#define BASE_ADVICE_H

/* Returns the remedy for a problem that is known by a part of its text, "; " first, or NULL. */
const char *advice_for(const char *problem);

#endif
