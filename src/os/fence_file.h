/*
 * The file that keeps fences rising across restarts. It has 8 bytes, big-endian: a ceiling above
 * all fences that were handed out.
 */
#ifndef OS_FENCE_FILE_H
#define OS_FENCE_FILE_H

#include <stdint.h>

enum {
    FENCE_FILE_BYTES = 8,
    FENCE_FILE_PROBLEM_MAX = 512
};

/*
 * Opens the file, or creates it with access for its owner only. Locks it against other servers
 * until the process ends. Returns a descriptor and sets `*ceiling`, to 0 for a new or empty file.
 * On failure returns -1 and sets `problem`, which names the path.
 */
int fence_file_open(const char *path, uint64_t *ceiling, char problem[FENCE_FILE_PROBLEM_MAX]);

/*
 * Returns 0 if fence_file_open could open the file now, as far as can be seen without creating,
 * locking or changing it: a server may use it meanwhile. Sets `*ceiling` as that function does.
 * Returns -1 if not, and sets `problem`.
 */
int fence_file_check(const char *path, uint64_t *ceiling, char problem[FENCE_FILE_PROBLEM_MAX]);

/* Writes `ceiling` and waits until it is on disk. Returns 0 or -errno. */
int fence_file_store(int file, uint64_t ceiling);

/* Encodes `ceiling` as the content of the file. */
void fence_file_encode(uint8_t bytes[FENCE_FILE_BYTES], uint64_t ceiling);

#endif
