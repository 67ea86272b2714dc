/* Explains why a file that the user named cannot be opened or read. */
#ifndef BASE_FILE_ERROR_H
#define BASE_FILE_ERROR_H

#include <errno.h>
#include <string.h>

/* Returns the text of an errno, with a remedy if there is one. */
static inline const char *file_error_explain(int error)
{
    switch (error) {
    case ENOENT:
        return "No such file or directory; check the path";
    case EACCES:
        return "Permission denied; let the user of this process read it";
    case EISDIR:
        return "Is a directory; give a file";
    default:
        return strerror(error);
    }
}

#endif
