/*
 * Draws pictures on a terminal, line by line, with one write for each. Uses the alternate screen,
 * so that the terminal restores the previous content.
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
    size_t row; /* next line of the picture */
    FILE *picture;
    char *bytes; /* of the picture */
    size_t length;
};

/*
 * Turns off echo and line editing; ^C and ^Z still send signals. `screen` is zeroed before the
 * first call. A failed write sets its `error`. Returns false if the modes cannot be set.
 */
bool screen_enter(struct screen *screen);

/* Restores the terminal. Does nothing if that is done. */
void screen_leave(struct screen *screen);

/* Begins a picture with the present size of the terminal. */
void screen_begin(struct screen *screen);

/* Draws the next line, cut to the width. Does nothing if no line is left. */
__attribute__((format(printf, 3, 4))) void
screen_line(struct screen *screen, enum screen_style style, const char *format, ...);

/* Returns the number of lines left. */
size_t screen_left(const struct screen *screen);

/* Draws empty lines until one is left. */
void screen_skip_to_end(struct screen *screen);

/* Writes the picture. */
void screen_show(struct screen *screen);

#endif
