#include "base/similar.h"

#include <ctype.h>
#include <string.h>

static int similar_fold(char byte)
{
    return byte == '_' ? '-' : tolower((unsigned char)byte);
}

size_t similar_distance(const char *name, size_t length, const char *other)
{
    size_t changes[SIMILAR_NAME_MAX + 1][SIMILAR_NAME_MAX + 1];
    size_t width = strlen(other);
    char one[SIMILAR_NAME_MAX];
    char two[SIMILAR_NAME_MAX];

    if (length > SIMILAR_NAME_MAX || width > SIMILAR_NAME_MAX)
        return SIMILAR_NAME_MAX;
    for (size_t i = 0; i < length; i++)
        one[i] = (char)similar_fold(name[i]);
    for (size_t j = 0; j < width; j++)
        two[j] = (char)similar_fold(other[j]);
    for (size_t i = 0; i <= length; i++) {
        for (size_t j = 0; j <= width; j++) {
            size_t least;

            if (i == 0 || j == 0) {
                changes[i][j] = i + j;
                continue;
            }
            least = changes[i - 1][j - 1] + (one[i - 1] != two[j - 1]);
            if (changes[i - 1][j] + 1 < least)
                least = changes[i - 1][j] + 1;
            if (changes[i][j - 1] + 1 < least)
                least = changes[i][j - 1] + 1;
            if (i > 1 && j > 1 && one[i - 1] == two[j - 2] && one[i - 2] == two[j - 1] &&
                changes[i - 2][j - 2] + 1 < least)
                least = changes[i - 2][j - 2] + 1;
            changes[i][j] = least;
        }
    }
    return changes[length][width];
}
