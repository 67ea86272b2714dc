#include "wire/text.h"

#include "base/time_units.h"
#include "base/utf8.h"

uint8_t *text_put_number(uint8_t *to, uint64_t number)
{
    uint8_t digits[TEXT_NUMBER_MAX];
    uint8_t *first = digits + sizeof(digits);

    do {
        *--first = (uint8_t)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return text_put_bytes(to, first, (size_t)(digits + sizeof(digits) - first));
}

uint8_t *text_put_seconds(uint8_t *to, uint64_t ns)
{
    uint64_t ms = ns / NS_PER_MS;

    to = text_put_number(to, ms / 1000);
    *to++ = '.';
    *to++ = (uint8_t)('0' + ms / 100 % 10);
    *to++ = (uint8_t)('0' + ms / 10 % 10);
    *to++ = (uint8_t)('0' + ms % 10);
    return to;
}

uint8_t *text_put_string(uint8_t *to, const uint8_t *bytes, uint32_t length)
{
    static const char digits[] = "0123456789abcdef";

    *to++ = '"';
    while (length > 0) {
        uint32_t count = utf8_length(bytes, length);

        if (count == 0) {
            to = text_put(to, "\xef\xbf\xbd");
            count = 1;
        } else if (bytes[0] == '"' || bytes[0] == '\\') {
            *to++ = '\\';
            *to++ = bytes[0];
        } else if (bytes[0] < 0x20 || bytes[0] == 0x7f) {
            to = text_put(to, "\\u00");
            *to++ = (uint8_t)digits[bytes[0] >> 4];
            *to++ = (uint8_t)digits[bytes[0] & 15];
        } else {
            to = text_put_bytes(to, bytes, count);
        }
        bytes += count;
        length -= count;
    }
    *to++ = '"';
    return to;
}
