/*
 * Descriptors 0, 1 and 2, for programs that were started with some of them closed.
 */
#ifndef OS_STANDARD_DESCRIPTORS_H
#define OS_STANDARD_DESCRIPTORS_H

/*
 * Opens /dev/null on each of descriptors 0, 1 and 2 that is closed. Otherwise the next file or
 * socket would get that number, and what is written to stderr would go there. Reading from such a
 * descriptor 0, and writing to such a descriptor 1 or 2, fails with EBADF as on a closed one, so
 * that the program still notices that its output is lost.
 *
 * To be called first in main. Returns 0 or a negative errno.
 */
int standard_descriptors_open(void);

#endif
