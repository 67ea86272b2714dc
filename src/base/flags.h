/*
 * Reads command lines by a table of flags and the fields for their values. Flags have precedence
 * over environment variables, and these over initial values.
 *
 * The syntax is that of Go's flag package: `-port 1`, `--port 1`, `--port=1`, and for a boolean
 * `--debug`, `--debug=false` and also `--no-debug`. An empty variable counts as not set. Help and
 * messages write a name of one letter with one dash. The last value of a repeated flag counts.
 */
#ifndef BASE_FLAGS_H
#define BASE_FLAGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FLAGS_MAX = 64,        /* of a table */
    FLAGS_SOURCE_MAX = 64, /* bytes of the name of a flag or a variable */
    FLAGS_PROBLEM_MAX = 512
};

enum flag_type {
    FLAG_TEXT,    /* const char *, pointing into the arguments or the environment */
    FLAG_NUMBER,  /* uint64_t: decimal digits, `least` to `most` */
    FLAG_OCTAL,   /* uint64_t: octal digits, `least` to `most` */
    FLAG_SECONDS, /* uint64_t in ms: seconds with up to 3 decimals; `least` and `most` in ms */
    FLAG_BOOLEAN, /* bool */
    FLAG_HELP,
    FLAG_VERSION,
    /* Known but not supported: refused unless the value is 0 or empty. */
    FLAG_UNSUPPORTED
};

struct flag {
    const char *name;         /* without dashes */
    const char *variable;     /* without the table's prefix; NULL: none */
    const char *variable_old; /* its former name, also without prefix */
    enum flag_type type;
    size_t field; /* offset of the value in the options */
    uint64_t least;
    uint64_t most;
    const char *initial; /* in the user's notation; NULL: the field stays 0 */
    const char *help;    /* without a stop; a word in `` names the value; NULL: not shown */
};

/*
 * Entries of a table. A file that uses them defines FLAGS_STRUCT as the struct of its options, in
 * which `member` is the field. `old` is variable_old.
 */
#define TEXT_FLAG(name, variable, member, initial, help)                                     \
    {                                                                                        \
        name, variable, NULL, FLAG_TEXT, offsetof(FLAGS_STRUCT, member), 0, 0, initial, help \
    }
#define NUMBER_FLAG(name, variable, old, member, least, most, initial, help)                    \
    {                                                                                           \
        name, variable, old, FLAG_NUMBER, offsetof(FLAGS_STRUCT, member), least, most, initial, \
            help                                                                                \
    }
#define SECONDS_FLAG(name, variable, member_ms, least_ms, most_ms, initial, help)                 \
    {                                                                                             \
        name, variable, NULL, FLAG_SECONDS, offsetof(FLAGS_STRUCT, member_ms), least_ms, most_ms, \
            initial, help                                                                         \
    }
#define BOOLEAN_FLAG(name, variable, member, initial, help)                                     \
    {                                                                                           \
        name, variable, NULL, FLAG_BOOLEAN, offsetof(FLAGS_STRUCT, member), 0, 0, initial, help \
    }
#define UNSUPPORTED_FLAG(name, variable)                            \
    {                                                               \
        name, variable, NULL, FLAG_UNSUPPORTED, 0, 0, 0, NULL, NULL \
    }
#define VERSION_FLAG(help)                                       \
    {                                                            \
        "version", NULL, NULL, FLAG_VERSION, 0, 0, 0, NULL, help \
    }
/* --help, and -h, which is not shown. */
#define HELP_FLAGS                                                         \
    {"help", NULL, NULL, FLAG_HELP, 0, 0, 0, NULL, "Print this and exit"}, \
    {                                                                      \
        "h", NULL, NULL, FLAG_HELP, 0, 0, 0, NULL, NULL                    \
    }

/*
 * A flag of similar programs, without dashes, and the flag of the table that does the same, with
 * its value if that is part of it: "load shared".
 */
struct flag_synonym {
    const char *foreign;
    const char *name;
};

struct flags {
    const struct flag *table;
    size_t count; /* at most FLAGS_MAX */
    const char *variable_prefix;
    const struct flag_synonym *synonyms; /* up to one without names; or NULL */
};

/* The state of a reading: the source of each value, and the problem. */
struct flags_reading {
    const struct flags *flags;
    void *options; /* the struct that contains the fields */
    bool by_flag[FLAGS_MAX];
    bool repeated[FLAGS_MAX];
    bool help;
    bool version;
    char problem[FLAGS_PROBLEM_MAX]; /* one line that names the flag or variable */
};

enum flags_result {
    FLAGS_RUN,
    FLAGS_HELP,
    FLAGS_VERSION,
    FLAGS_WRONG /* `problem` is set */
};

/* Reads all arguments except arguments[0] into `options`, which must be all zero. */
enum flags_result flags_read(struct flags_reading *reading, const struct flags *flags,
                             void *options, int count, char *const *arguments);

/* Returns whether the flag `name`, which must be in the table, was among the arguments. */
bool flags_given(const struct flags_reading *reading, const char *name);

/* Returns whether the flag `name`, which must be in the table, was there more than once. */
bool flags_repeated(const struct flags_reading *reading, const char *name);

/*
 * Writes the source of the value of the flag `name`, which must be in the table: the variable if it
 * is set and the flag was not among the arguments, else the flag.
 */
void flags_name_source(const struct flags_reading *reading, const char *name,
                       char source[FLAGS_SOURCE_MAX]);

/* Returns whether `entry` of the environment has the table's prefix, but no flag has its name. */
bool flags_is_unknown_variable(const struct flags *flags, const char *entry);

/*
 * Finds a flag that help shows and that the user may have meant by `argument`, a synonym or a
 * similar name, with or without dashes and =VALUE. Writes it with its dashes: "--timeout" for
 * --tiemout=3, "--no-debug" for
 * --no-debgu. Returns false if no name is similar.
 */
bool flags_suggest(const struct flags *flags, const char *argument,
                   char suggestion[FLAGS_SOURCE_MAX]);

/* The same for an unknown variable, an entry of the environment. */
bool flags_suggest_variable(const struct flags *flags, const char *entry,
                            char suggestion[FLAGS_SOURCE_MAX]);

/*
 * Overwrites each value of the flag `name` and its variable in the arguments and the
 * environment, which others can read in /proc. Values that were read from there are gone, too.
 */
void flags_wipe(const struct flags *flags, const char *name, int count, char *const *arguments);

/*
 * Reports an invalid value of the flag `name`, which must be in the table. The problem names the
 * variable if the value came from it. Returns false.
 */
bool flags_wrong_value(struct flags_reading *reading, const char *name, const char *what);

/* Two text or boolean flags of the table: `flag` has no use without `needed`. */
struct flag_need {
    const char *flag;
    const char *needed;
};

/*
 * Returns whether no flag is set without the flag that it needs. If not, sets the problem. A text
 * is set if it is not empty; sets empty texts of `needs` to NULL.
 */
bool flags_check_needs(struct flags_reading *reading, const struct flag_need *needs, size_t count);

/* Sets the problem to "`name`: `what`". Returns false. */
bool flags_wrong(struct flags_reading *reading, const char *name, const char *what);

/* Prints each flag with the name of its value, its variable and its initial value to stdout. */
void flags_print(const struct flags *flags);

#endif
