/*
 * The counts, and how they are written.
 */
#include "coverage.h"

static const char *const names[COVERAGE_KINDS] = {
#define X(name, text) text,
    COVERAGE_REPLIES(X) COVERAGE_ENDS(X) COVERAGE_OTHERS(X)
#undef X
};

void coverage_add(struct coverage *to, const struct coverage *from)
{
    for (int i = 0; i < COVERAGE_KINDS; i++)
        to->counts[i] += from->counts[i];
}

static void print_part(FILE *to, const struct coverage *coverage, const char *title, int first,
                       int end)
{
    fprintf(to, "# %s:", title);
    for (int i = first; i < end; i++)
        fprintf(to, "%s %s %llu", i == first ? "" : ",", names[i],
                (unsigned long long)coverage->counts[i]);
    fprintf(to, "\n");
}

void coverage_print(FILE *to, const struct coverage *coverage)
{
    print_part(to, coverage, "replies", 0, COVERAGE_GONE_AUTH);
    print_part(to, coverage, "gone", COVERAGE_GONE_AUTH, COVERAGE_LOST_GRANT);
    print_part(to, coverage, "seen", COVERAGE_LOST_GRANT, COVERAGE_KINDS);
}

const char *coverage_missing(const struct coverage *coverage)
{
    for (int i = 0; i < COVERAGE_KINDS; i++) {
        if (coverage->counts[i] == 0)
            return names[i];
    }
    return NULL;
}
