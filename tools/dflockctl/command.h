/*
 * The commands of dflockctl: their flags, their help, and what runs them.
 */
#ifndef DFLOCKCTL_COMMAND_H
#define DFLOCKCTL_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

#include "base/flags.h"
#include "dflockctl/settings.h"

struct command {
    const char *name;
    const char *arguments; /* as the help writes them */
    const char *summary;   /* a line */
    const char *details;   /* paragraphs, each line with its end */
    size_t words_least;    /* before `--` */
    size_t words_most;     /* at most SETTINGS_WORDS_MAX */
    bool runs;             /* a command line follows behind `--` */
    struct flags flags;
    int (*run)(const struct settings *settings); /* returns what the program ends with */
};

/* NULL where there is none of that name. */
const struct command *command_find(const char *name);

/* The one whose name is most like it, or NULL. */
const struct command *command_like(const char *name);

/* The flags that may stand before a command: those about servers. */
const struct flags *command_flags(void);

/* Help about one command, or all of them, on stdout. */
void command_help(const struct command *command);
void command_help_all(void);

#endif
