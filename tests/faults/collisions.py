"""Many keys with the same hash, for common hashes without a secret."""

import itertools
import zlib

BLOCKS = 14  # of two choices each: 16,384 keys
FORBIDDEN = set(b" \t\r\n")


def products(pairs):
    """Returns all keys that consist of one element of each pair."""
    return [b"".join(choice) for choice in itertools.product(*pairs)]


def djb2(key):
    value = 5381
    for byte in key:
        value = (value * 33 + byte) & 0xffffffff
    return value


def java(key):
    value = 0
    for byte in key:
        value = (value * 31 + byte) & 0xffffffff
    return value


def fnv1a(key, value=0x811c9dc5):
    for byte in key:
        value = ((value ^ byte) * 0x01000193) & 0xffffffff
    return value


def fnv1a_keys():
    """Repeatedly finds two blocks that lead from one state to the same next state."""
    pairs = []
    state = fnv1a(b"")
    for _ in range(BLOCKS):
        seen = {}
        for number in itertools.count():
            block = b"%06x" % number
            after = fnv1a(block, state)
            if after in seen:
                pairs.append((seen[after], block))
                state = after
                break
            seen[after] = block
    return products(pairs)


def crc32_keys():
    """CRC-32 is linear: adding the generator polynomial anywhere does not change the checksum.
    Its 33 bits are 5 bytes, the lowest bit of each byte first."""
    polynomial = 0x104c11db7
    bits = f"{polynomial:033b}".ljust(40, "0")
    change = bytes(int(bits[i:i + 8][::-1], 2) for i in range(0, 40, 8))
    for letter in range(ord("a"), ord("z")):
        base = bytes([letter]) * len(change)
        other = bytes(a ^ b for a, b in zip(base, change))
        if not FORBIDDEN & set(other):
            return products([(base, other)] * BLOCKS)
    raise AssertionError("no letter does")


def checked(keys, hash_of):
    assert len({hash_of(key) for key in keys}) == 1 and len(set(keys)) == len(keys)
    return keys


FAMILIES = {
    "djb2": lambda: checked(products([(b"Bz", b"CY")] * BLOCKS), djb2),
    "java31": lambda: checked(products([(b"Aa", b"BB")] * BLOCKS), java),
    "FNV-1a": lambda: checked(fnv1a_keys(), fnv1a),
    "CRC-32": lambda: checked(crc32_keys(), zlib.crc32),
}
