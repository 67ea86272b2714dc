#include "base/flags.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/similar.h"

enum {
    FLAGS_VALUE_NAME_MAX = 24,
    FLAGS_HELP_MAX = 2048, /* bytes of a flag's help */
    FLAGS_HELP_COLUMNS = 80,
    FLAGS_PART_MIN = 4, /* bytes of a part of a name that suggests it */
    FLAGS_DIFFERENT = SIMILAR_NAME_MAX
};

bool flags_wrong(struct flags_reading *reading, const char *name, const char *what)
{
    snprintf(reading->problem, FLAGS_PROBLEM_MAX, "%.200s: %.300s", name, what);
    /* Keep it on one line, whatever the user gave. */
    for (char *at = reading->problem; *at; at++) {
        if (iscntrl((unsigned char)*at))
            *at = '?';
    }
    return false;
}

/* ---- values ---- */

static bool flags_parse_boolean(const char *text, bool *value)
{
    static const char *const yes[] = {"true", "t", "1", "yes", "on"};
    static const char *const no[] = {"false", "f", "0", "no", "off"};

    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
        if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
            *value = strcasecmp(text, yes[i]) == 0;
            return true;
        }
    }
    return false;
}

static bool flags_parse_number(const struct flag *flag, const char *text, uint64_t *value)
{
    char *end;

    errno = 0;
    *value = strtoull(text, &end, flag->type == FLAG_OCTAL ? 8 : 10);
    return *text >= '0' && *text <= '9' && *end == '\0' && errno == 0 && *value >= flag->least &&
           *value <= flag->most;
}

/* Parses seconds with up to three decimals, as milliseconds. */
static bool flags_parse_seconds(const struct flag *flag, const char *text, uint64_t *value)
{
    size_t whole = strspn(text, "0123456789");
    const char *decimals = text + whole + (text[whole] == '.');
    size_t count = strspn(decimals, "0123456789");
    uint64_t ms;

    /* Digits that fit: 10^15 s are less than 2^64 ms. */
    if (whole > 15 || decimals[count] || count > 3 || (count == 0 && (whole == 0 || text[whole])))
        return false;
    ms = strtoull(text, NULL, 10) * 1000;
    for (size_t i = 0, unit = 100; i < count; i++, unit /= 10)
        ms += (uint64_t)(decimals[i] - '0') * unit;
    *value = ms;
    return ms >= flag->least && ms <= flag->most;
}

/* Stores `text` as the value of `flag`. `name` is the user's spelling, for the message. */
static bool flags_set_value(struct flags_reading *reading, const struct flag *flag,
                            const char *name, const char *text)
{
    void *field = (char *)reading->options + flag->field;
    char what[160];

    switch (flag->type) {
    case FLAG_TEXT:
        memcpy(field, &text, sizeof(text));
        return true;
    case FLAG_OCTAL:
    case FLAG_NUMBER:
        snprintf(what, sizeof(what),
                 flag->type == FLAG_OCTAL ? "'%.40s' is not an octal number from %llo to %llo"
                                          : "'%.40s' is not a whole number from %llu to %llu",
                 text, (unsigned long long)flag->least, (unsigned long long)flag->most);
        return flags_parse_number(flag, text, field) || flags_wrong(reading, name, what);
    case FLAG_SECONDS:
        snprintf(what, sizeof(what),
                 "'%.40s' is not a number of seconds from %.15g to %.15g with at most 3 decimals",
                 text, (double)flag->least / 1000, (double)flag->most / 1000);
        return flags_parse_seconds(flag, text, field) || flags_wrong(reading, name, what);
    case FLAG_BOOLEAN:
        snprintf(what, sizeof(what), "'%.40s' is neither true nor false", text);
        return flags_parse_boolean(text, field) || flags_wrong(reading, name, what);
    case FLAG_UNSUPPORTED:
        return *text == '\0' || strcmp(text, "0") == 0 ||
               flags_wrong(reading, name, "not supported by this version; remove it");
    case FLAG_HELP:
    case FLAG_VERSION:
        field = flag->type == FLAG_HELP ? &reading->help : &reading->version;
        return flags_parse_boolean(text, field) ||
               flags_wrong(reading, name, "takes no value but true or false");
    }
    return false;
}

/* ---- names ---- */

static const char *flags_dashes(const char *name)
{
    return name[0] && name[1] ? "--" : "-";
}

/* Returns the length of a name that ends with its value, as NAME=VALUE. */
static size_t flags_name_length(const char *name)
{
    return strcspn(name, "=");
}

/* Returns whether `name` is the first or last words of `other`, and at least a third of it. */
static bool flags_is_part(const char *name, size_t length, const char *other)
{
    size_t width = strlen(other);

    return length >= FLAGS_PART_MIN && length < width && length * 3 >= width &&
           (strncasecmp(name, other, length) == 0 ||
            (strchr("-_", other[width - length - 1]) &&
             strncasecmp(name, other + width - length, length) == 0));
}

/*
 * Returns how much `name` differs from `other`, or FLAGS_DIFFERENT if a user who wrote one did not
 * mean the other. A short name must be closer than a long one.
 */
static size_t flags_difference(const char *name, size_t length, const char *other)
{
    size_t most = length < 3 ? 0 : length < 6 ? 1 : length < 12 ? 2 : 3;
    size_t changes = similar_distance(name, length, other);

    if (flags_is_part(name, length, other))
        return 1;
    return changes <= most ? changes : FLAGS_DIFFERENT;
}

bool flags_suggest(const struct flags *flags, const char *argument,
                   char suggestion[FLAGS_SOURCE_MAX])
{
    const char *name = argument + strspn(argument, "-");
    size_t length = flags_name_length(name);
    bool negated = length > 3 && strncmp(name, "no-", 3) == 0;
    size_t least = FLAGS_DIFFERENT;

    for (const struct flag_synonym *synonym = flags->synonyms; synonym && synonym->foreign;
         synonym++) {
        if (strlen(synonym->foreign) != length || memcmp(synonym->foreign, name, length) != 0)
            continue;
        snprintf(suggestion, FLAGS_SOURCE_MAX, "%s%s", flags_dashes(synonym->name), synonym->name);
        return true;
    }
    for (size_t i = 0; i < flags->count; i++) {
        const struct flag *flag = &flags->table[i];
        size_t start = negated && flag->type == FLAG_BOOLEAN ? 3 : 0;
        size_t difference = flags_difference(name + start, length - start, flag->name);

        if (!flag->help || difference >= least)
            continue;
        least = difference;
        snprintf(suggestion, FLAGS_SOURCE_MAX, "%s%s%s", flags_dashes(flag->name),
                 start ? "no-" : "", flag->name);
    }
    return least < FLAGS_DIFFERENT;
}

bool flags_suggest_variable(const struct flags *flags, const char *entry,
                            char suggestion[FLAGS_SOURCE_MAX])
{
    const char *name = entry + strlen(flags->variable_prefix);
    size_t least = FLAGS_DIFFERENT;

    for (size_t i = 0; i < flags->count; i++) {
        const struct flag *flag = &flags->table[i];
        size_t difference = flag->help && flag->variable
                                ? flags_difference(name, flags_name_length(name), flag->variable)
                                : FLAGS_DIFFERENT;

        if (difference >= least)
            continue;
        least = difference;
        snprintf(suggestion, FLAGS_SOURCE_MAX, "%s%s", flags->variable_prefix, flag->variable);
    }
    return least < FLAGS_DIFFERENT;
}

/* ---- arguments ---- */

static const struct flag *flags_find(const struct flags *flags, const char *name, size_t length)
{
    for (size_t i = 0; i < flags->count; i++) {
        const struct flag *flag = &flags->table[i];

        if (strlen(flag->name) == length && memcmp(flag->name, name, length) == 0)
            return flag;
    }
    return NULL;
}

/* Returns whether `argument` is a boolean flag without a value. */
static bool flags_is_boolean(const struct flags *flags, const char *argument)
{
    const char *name = argument + strspn(argument, "-");
    const struct flag *flag = name == argument ? NULL : flags_find(flags, name, strlen(name));

    return flag && flag->type == FLAG_BOOLEAN;
}

static bool flags_takes_no_value(const struct flag *flag)
{
    return flag->type == FLAG_BOOLEAN || flag->type == FLAG_HELP || flag->type == FLAG_VERSION;
}

/*
 * Reports an argument that is no flag of the table. `before` is the one before it, which may be a
 * boolean flag that takes a value only after an equals sign. Returns false.
 */
static bool flags_wrong_argument(struct flags_reading *reading, const char *argument,
                                 const char *before)
{
    char suggestion[FLAGS_SOURCE_MAX];
    bool similar = flags_suggest(reading->flags, argument, suggestion);
    char shown[64];
    char what[128];
    bool value;

    snprintf(shown, sizeof(shown), "%.*s", (int)flags_name_length(argument), argument);
    if (flags_parse_boolean(argument, &value) && flags_is_boolean(reading->flags, before)) {
        snprintf(what, sizeof(what), "not a flag; write %.40s=%.8s", before, argument);
        return flags_wrong(reading, shown, what);
    }
    snprintf(what, sizeof(what), "%s; %s%s%s", argument[0] == '-' ? "unknown flag" : "not a flag",
             similar ? "did you mean " : "try --help", similar ? suggestion : "",
             similar ? "?" : "");
    return flags_wrong(reading, shown, what);
}

/* Reads one flag and its value, and moves `*at` behind them. */
static bool flags_read_argument(struct flags_reading *reading, int count, char *const *arguments,
                                int *at)
{
    const struct flags *flags = reading->flags;
    const char *argument = arguments[(*at)++];
    const char *name = argument + (argument[0] == '-') + (argument[0] == '-' && argument[1] == '-');
    size_t length = flags_name_length(name);
    const char *equals = name[length] ? name + length : NULL;
    const struct flag *flag = flags_find(flags, name, length);
    char shown[64];
    const char *value;

    if (argument[0] != '-')
        return flags_wrong_argument(reading, argument, arguments[*at - 2]);
    snprintf(shown, sizeof(shown), "%.*s", (int)flags_name_length(argument), argument);
    if (flag && length == 1)
        snprintf(shown, sizeof(shown), "-%s", flag->name);
    if (flag) {
        value = equals ? equals + 1 : flags_takes_no_value(flag) ? "true" : NULL;
    } else {
        flag = length > 3 && memcmp(name, "no-", 3) == 0 ? flags_find(flags, name + 3, length - 3)
                                                         : NULL;
        if (!flag || flag->type != FLAG_BOOLEAN)
            return flags_wrong_argument(reading, argument, arguments[*at - 2]);
        if (equals)
            return flags_wrong(reading, shown, "takes no value");
        value = "false";
    }
    if (!value) {
        if (*at >= count)
            return flags_wrong(reading, shown, "needs a value");
        value = arguments[(*at)++];
    }
    reading->repeated[flag - flags->table] = reading->by_flag[flag - flags->table];
    reading->by_flag[flag - flags->table] = true;
    return flags_set_value(reading, flag, shown, value);
}

/* ---- variables ---- */

static const char *flags_variable_value(const struct flags *flags, const char *variable,
                                        char name[FLAGS_SOURCE_MAX])
{
    const char *value;

    if (!variable)
        return NULL;
    snprintf(name, FLAGS_SOURCE_MAX, "%s%s", flags->variable_prefix, variable);
    value = getenv(name);
    return value && *value ? value : NULL;
}

/* Returns the value of the flag's variable and sets `name` to it. Returns NULL if none is set. */
static const char *flags_find_variable(const struct flags *flags, const struct flag *flag,
                                       char name[FLAGS_SOURCE_MAX])
{
    const char *value = flags_variable_value(flags, flag->variable, name);

    return value ? value : flags_variable_value(flags, flag->variable_old, name);
}

/* Sets each flag that was not given from its variable or its initial value. */
static bool flags_read_variables(struct flags_reading *reading)
{
    const struct flags *flags = reading->flags;

    for (size_t i = 0; i < flags->count; i++) {
        const struct flag *flag = &flags->table[i];
        char name[FLAGS_SOURCE_MAX] = "";
        const char *value;

        if (reading->by_flag[i])
            continue;
        value = flags_find_variable(flags, flag, name);
        if (!value)
            value = flag->initial;
        if (value && !flags_set_value(reading, flag, name, value))
            return false;
    }
    return true;
}

enum flags_result flags_read(struct flags_reading *reading, const struct flags *flags,
                             void *options, int count, char *const *arguments)
{
    int at = 1;

    assert(flags->count <= FLAGS_MAX);
    memset(reading, 0, sizeof(*reading));
    reading->flags = flags;
    reading->options = options;
    while (at < count) {
        /* Like Go's flag package: no flags follow. Other arguments are refused. */
        if (strcmp(arguments[at], "--") == 0) {
            if (++at == count)
                break;
            flags_wrong_argument(reading, arguments[at], arguments[at - 1]);
            return FLAGS_WRONG;
        }
        if (!flags_read_argument(reading, count, arguments, &at))
            return FLAGS_WRONG;
        if (reading->help)
            return FLAGS_HELP;
    }
    if (reading->version)
        return FLAGS_VERSION;
    return flags_read_variables(reading) ? FLAGS_RUN : FLAGS_WRONG;
}

bool flags_given(const struct flags_reading *reading, const char *name)
{
    const struct flag *flag = flags_find(reading->flags, name, strlen(name));

    assert(flag);
    return reading->by_flag[flag - reading->flags->table];
}

bool flags_repeated(const struct flags_reading *reading, const char *name)
{
    const struct flag *flag = flags_find(reading->flags, name, strlen(name));

    assert(flag);
    return reading->repeated[flag - reading->flags->table];
}

void flags_name_source(const struct flags_reading *reading, const char *name,
                       char source[FLAGS_SOURCE_MAX])
{
    const struct flag *flag = flags_find(reading->flags, name, strlen(name));

    if (!flags_given(reading, name) && flags_find_variable(reading->flags, flag, source))
        return;
    snprintf(source, FLAGS_SOURCE_MAX, "%s%s", flags_dashes(name), name);
}

bool flags_wrong_value(struct flags_reading *reading, const char *name, const char *what)
{
    char source[FLAGS_SOURCE_MAX];

    flags_name_source(reading, name, source);
    return flags_wrong(reading, source, what);
}

bool flags_is_unknown_variable(const struct flags *flags, const char *entry)
{
    size_t prefix = strlen(flags->variable_prefix);
    const char *name = entry + prefix;
    size_t length;

    if (strncmp(entry, flags->variable_prefix, prefix) != 0)
        return false;
    length = flags_name_length(name);
    for (size_t i = 0; i < flags->count; i++) {
        const struct flag *flag = &flags->table[i];
        const char *const known[] = {flag->variable, flag->variable_old};

        for (int which = 0; which < 2; which++) {
            if (known[which] && strlen(known[which]) == length &&
                memcmp(known[which], name, length) == 0)
                return false;
        }
    }
    return true;
}

static bool flags_is_set(const struct flags_reading *reading, const char *name)
{
    const struct flag *flag = flags_find(reading->flags, name, strlen(name));
    void *field = (char *)reading->options + flag->field;
    const char **text = field;

    assert(flag->type == FLAG_TEXT || flag->type == FLAG_BOOLEAN);
    if (flag->type == FLAG_BOOLEAN)
        return *(bool *)field;
    if (*text && **text == '\0')
        *text = NULL;
    return *text;
}

bool flags_check_needs(struct flags_reading *reading, const struct flag_need *needs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bool complete = flags_is_set(reading, needs[i].needed);
        char what[64];

        if (!flags_is_set(reading, needs[i].flag) || complete)
            continue;
        snprintf(what, sizeof(what), "needs %s%s as well", flags_dashes(needs[i].needed),
                 needs[i].needed);
        return flags_wrong_value(reading, needs[i].flag, what);
    }
    return true;
}

static void flags_wipe_text(char *text)
{
    if (text)
        explicit_bzero(text, strlen(text));
}

void flags_wipe(const struct flags *flags, const char *name, int count, char *const *arguments)
{
    const struct flag *wanted = flags_find(flags, name, strlen(name));
    char variable[FLAGS_SOURCE_MAX];

    assert(wanted && wanted->variable);
    for (int at = 1; at < count; at++) {
        char *argument = arguments[at];
        char *start = argument + strspn(argument, "-");
        size_t length = flags_name_length(start);
        const struct flag *flag = flags_find(flags, start, length);

        if (!flag || start == argument || flags_takes_no_value(flag))
            continue;
        if (start[length] != '=')
            at++; /* the value is the next argument */
        if (flag == wanted)
            flags_wipe_text(start[length] == '=' ? start + length + 1
                            : at < count         ? arguments[at]
                                                 : NULL);
    }
    snprintf(variable, sizeof(variable), "%s%s", flags->variable_prefix, wanted->variable);
    flags_wipe_text(getenv(variable));
}

/* ---- help ---- */

/*
 * Writes the name of the flag's value to `name`: the word in back quotes, else the first word if
 * that is a unit or the like.
 */
static void flags_name_value(const struct flag *flag, char name[FLAGS_VALUE_NAME_MAX])
{
    static const char *const units[] = {"Address", "File", "Microseconds", "MiB",
                                        "Path",    "Port", "Process",      "Seconds"};
    const char *word = flag->type == FLAG_TEXT ? "value" : "number";
    const char *quoted = strchr(flag->help, '`');
    size_t length;

    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strncmp(flag->help, units[i], strlen(units[i])) == 0)
            word = units[i];
    }
    if (quoted)
        word = quoted + 1;
    length = strcspn(word, "`");
    if (length >= FLAGS_VALUE_NAME_MAX)
        length = FLAGS_VALUE_NAME_MAX - 1;
    for (size_t i = 0; i < length; i++)
        name[i] = (char)toupper((unsigned char)word[i]);
    name[length] = '\0';
}

/* Prints `text` without back quotes, in indented lines of up to FLAGS_HELP_COLUMNS. */
static void flags_print_text(const char *text)
{
    size_t column = FLAGS_HELP_COLUMNS;

    while (*text) {
        char word[FLAGS_HELP_COLUMNS];
        size_t length = 0;

        for (; *text && *text != ' '; text++) {
            if (*text != '`' && length < sizeof(word) - 1)
                word[length++] = *text;
        }
        word[length] = '\0';
        text += strspn(text, " ");
        if (column + 1 + length > FLAGS_HELP_COLUMNS) {
            printf("\n     ");
            column = 5;
        }
        printf(" %s", word);
        column += 1 + length;
    }
    printf("\n");
}

static void flags_print_flag(const struct flags *flags, const struct flag *flag)
{
    const char *prefix = flags->variable_prefix;
    char name[FLAGS_VALUE_NAME_MAX] = "";
    char text[FLAGS_HELP_MAX];
    int length = snprintf(text, sizeof(text), "%s.", flag->help);

    if (flag->variable)
        length +=
            snprintf(text + length, sizeof(text) - (size_t)length, " %s%s", prefix, flag->variable);
    if (flag->variable_old)
        length += snprintf(text + length, sizeof(text) - (size_t)length, ", formerly %s%s", prefix,
                           flag->variable_old);
    if (flag->initial)
        length +=
            snprintf(text + length, sizeof(text) - (size_t)length, " (default %s)", flag->initial);
    assert((size_t)length < sizeof(text));
    if (!flags_takes_no_value(flag))
        flags_name_value(flag, name);
    printf("  %s%s%s%s%s", flags_dashes(flag->name), flag->type == FLAG_BOOLEAN ? "[no-]" : "",
           flag->name, *name ? " " : "", name);
    flags_print_text(text);
}

void flags_print(const struct flags *flags)
{
    for (size_t i = 0; i < flags->count; i++) {
        const struct flag *flag = &flags->table[i];

        if (flag->type == FLAG_UNSUPPORTED)
            printf("  --%s\n      Not supported by this version. %s%s\n", flag->name,
                   flags->variable_prefix, flag->variable);
        else if (flag->help)
            flags_print_flag(flags, flag);
    }
}
