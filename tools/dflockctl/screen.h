/*
 * A terminal's screen, drawn line by line: on the alternate screen, so that what was there comes
 * back. One write for each picture.
 */
#ifndef DFLOCKCTL_SCREEN_H
#define DFLOCKCTL_SCREEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <termios.h>

enum screen_style {
    SCREEN_PLAIN,
    SCREEN_BOLD,
    SCREEN_REVERSE
};

struct screen {
    struct termios before;
    bool entered;
    int error; /* errno of the first write that failed; 0: none */
    bool colour;
    size_t rows;
    size_t columns;
    size_t row; /* the next line of the picture */
    FILE *picture;
    char *bytes; /* of it */
    size_t length;
};

/*
 * Takes the terminal over: no echo, keys one by one; signals stay. Returns false if it cannot.
 * `screen` is zeroed before the first call. A write that fails sets its `error`.
 */
bool screen_enter(struct screen *screen);

/* Restores the terminal; may be called again. */
void screen_leave(struct screen *screen);

/* Begins a picture of the size that the terminal has now. */
void screen_begin(struct screen *screen);

/* The next line, cut where it is too wide; nothing where there is no room for it. */
__attribute__((format(printf, 3, 4))) void
screen_line(struct screen *screen, enum screen_style style, const char *format, ...);

/* Lines that can still be drawn. */
size_t screen_left(const struct screen *screen);

/* Leaves lines empty up to the last one. */
void screen_skip_to_end(struct screen *screen);

/* Shows it. */
void screen_show(struct screen *screen);

#endif
