/*
 * Standard output, for programs that must not report success if their output is lost.
 */
#ifndef OS_STANDARD_OUTPUT_H
#define OS_STANDARD_OUTPUT_H

/*
 * Writes what stdio has buffered for stdout. Also asks the file system for errors that it reports
 * only at close(2), as NFS does; stdout stays open.
 *
 * Returns 0 if all that was printed since the last call was written. Otherwise it discards the
 * buffer, so that nothing is written later, and returns a negative errno: -EIO if the reason is no
 * longer known. For one thread.
 */
int standard_output_flush(void);

#endif
