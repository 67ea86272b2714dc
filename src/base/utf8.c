#include "base/utf8.h"

#include <string.h>

uint32_t utf8_length(const uint8_t *bytes, uint32_t length)
{
    uint8_t lead = bytes[0];
    uint8_t low = 0x80;
    uint8_t high = 0xbf;
    uint32_t count;

    if (lead < 0x80)
        return 1;
    if (lead >= 0xc2 && lead <= 0xdf)
        count = 2;
    else if ((lead & 0xf0) == 0xe0)
        count = 3;
    else if (lead >= 0xf0 && lead <= 0xf4)
        count = 4;
    else
        return 0;
    if (lead == 0xe0)
        low = 0xa0;
    else if (lead == 0xed)
        high = 0x9f;
    else if (lead == 0xf0)
        low = 0x90;
    else if (lead == 0xf4)
        high = 0x8f;
    if (count > length || bytes[1] < low || bytes[1] > high)
        return 0;
    for (uint32_t i = 2; i < count; i++) {
        if ((bytes[i] & 0xc0) != 0x80)
            return 0;
    }
    return count;
}

/*
 * Code points that a terminal or a log must not receive from a client: controls, line ends, no
 * characters, and what Unicode calls Default_Ignorable_Code_Point, as marks of direction.
 */
static const struct {
    uint32_t first;
    uint32_t last;
} utf8_unprintable[] = {
    {0x00, 0x1f},     {0x7f, 0x9f},     {0xad, 0xad},       {0x34f, 0x34f},     {0x61c, 0x61c},
    {0x115f, 0x1160}, {0x17b4, 0x17b5}, {0x180b, 0x180f},   {0x200b, 0x200f},   {0x2028, 0x202e},
    {0x2060, 0x206f}, {0x3164, 0x3164}, {0xfdd0, 0xfdef},   {0xfe00, 0xfe0f},   {0xfeff, 0xfeff},
    {0xffa0, 0xffa0}, {0xfff0, 0xfffb}, {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a}, {0xe0000, 0xe0fff},
};

bool utf8_is_printable(const uint8_t *bytes, uint32_t length)
{
    static const uint8_t lead_masks[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t point = bytes[0] & lead_masks[length];

    for (uint32_t i = 1; i < length; i++)
        point = point << 6 | (bytes[i] & 0x3f);
    if ((point & 0xfffe) == 0xfffe)
        return false;
    for (uint32_t i = 0; i < sizeof(utf8_unprintable) / sizeof(*utf8_unprintable); i++) {
        if (point >= utf8_unprintable[i].first && point <= utf8_unprintable[i].last)
            return false;
    }
    return true;
}

bool utf8_copy_printable(char *to, uint32_t size, const uint8_t *bytes, uint32_t length)
{
    uint32_t count = 0;

    while (length > 0) {
        uint32_t sequence = utf8_length(bytes, length);
        bool printable = sequence > 0 && utf8_is_printable(bytes, sequence);
        uint32_t added = printable ? sequence : 1;

        if (added > size - 1 - count)
            break;
        memcpy(to + count, printable ? bytes : (const uint8_t *)"?", added);
        count += added;
        sequence += sequence == 0;
        bytes += sequence;
        length -= sequence;
    }
    to[count] = '\0';
    return length == 0;
}
