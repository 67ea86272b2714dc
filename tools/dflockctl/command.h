/*
 * The commands of dflockctl: their flags, their help, and their functions.
 */
#ifndef DFLOCKCTL_COMMAND_H
#define DFLOCKCTL_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

#include "base/flags.h"
#include "dflockctl/settings.h"

/* Runs the command. Returns the exit status. */
typedef int command_function(const struct settings *settings);

struct command {
    const char *name;
    const char *arguments; /* as the help shows them */
    const char *summary;   /* one line */
    const char *details;   /* paragraphs of lines, each with a newline */
    size_t words_min;      /* before `--` */
    size_t words_max;      /* up to SETTINGS_WORDS_MAX */
    bool runs;             /* a command line follows `--` */
    bool waits;            /* for a grant: has --timeout, --try and --retry */
    struct flags flags;
    command_function *run;
};

/* Returns NULL if there is no such command. */
const struct command *command_find(const char *name);

/* Returns one command after the other; NULL after the last one. */
const struct command *command_at(size_t index);

/* Returns the command whose name is most similar, or NULL. */
const struct command *command_find_similar(const char *name);

/* The flags that may precede a command. */
const struct flags *command_flags(void);

/* Prints the help of one command, or of the program, on stdout. */
void command_help(const struct command *command);
void command_help_all(void);

/* Each is in the file of its command; `sem` is in lock.c. */
command_function lock_run, acquire_run, release_run, renew_run;
command_function ls_run, show_run, revoke_run, stats_run, ping_run, top_run, shard_run;

#endif
