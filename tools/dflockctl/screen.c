#include "dflockctl/screen.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dflockctl/status.h"
#include "dflockctl/text.h"

/* ECMA-48, and the alternate screen of xterm. */
#define SCREEN_ENTER "\x1b[?1049h\x1b[?25l\x1b[H\x1b[2J"
#define SCREEN_LEAVE "\x1b[0m\x1b[?25h\x1b[?1049l"

enum {
    SCREEN_SIZE_MAX = 1000 /* rows or columns */
};

/* Does nothing after a failed write: the rest of a picture is useless. */
static void screen_write(struct screen *screen, const char *bytes, size_t length)
{
    while (length > 0 && screen->error == 0) {
        ssize_t written = write(STDOUT_FILENO, bytes, length);

        if (written >= 0) {
            bytes += written;
            length -= (size_t)written;
        } else if (errno == EAGAIN) {
            /* Another process made the terminal non-blocking. */
            poll(&(struct pollfd){.fd = STDOUT_FILENO, .events = POLLOUT}, 1, -1);
        } else if (errno != EINTR) {
            screen->error = errno;
        }
    }
}

bool screen_enter(struct screen *screen)
{
    struct termios quiet;

    if (screen->entered)
        return true;
    if (tcgetattr(STDIN_FILENO, &screen->before) < 0)
        return false;
    quiet = screen->before;
    quiet.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    quiet.c_cc[VMIN] = 0;
    quiet.c_cc[VTIME] = 0;
    if (tcsetattr(STDIN_FILENO, TCSADRAIN, &quiet) < 0)
        return false;
    screen_write(screen, SCREEN_ENTER, strlen(SCREEN_ENTER));
    screen->entered = true;
    screen->colour = text_in_colour();
    return true;
}

void screen_leave(struct screen *screen)
{
    if (!screen->entered)
        return;
    screen_write(screen, SCREEN_LEAVE, strlen(SCREEN_LEAVE));
    tcsetattr(STDIN_FILENO, TCSADRAIN, &screen->before);
    screen->entered = false;
}

void screen_begin(struct screen *screen)
{
    screen->rows = text_terminal_rows();
    screen->columns = text_terminal_columns();
    if (screen->rows > SCREEN_SIZE_MAX)
        screen->rows = SCREEN_SIZE_MAX;
    if (screen->columns > SCREEN_SIZE_MAX)
        screen->columns = SCREEN_SIZE_MAX;
    screen->row = 0;
    screen->picture = open_memstream(&screen->bytes, &screen->length);
    if (!screen->picture)
        die_of_memory();
    fputs("\x1b[H", screen->picture);
}

size_t screen_left(const struct screen *screen)
{
    return screen->rows - screen->row;
}

/*
 * Moves to the next line and erases it. Erasing after the text would remove the last character of a
 * text that fills the line. A newline after the last line would scroll.
 */
static void screen_begin_line(struct screen *screen)
{
    fputs(screen->row > 0 ? "\r\n\x1b[K" : "\x1b[K", screen->picture);
    screen->row++;
}

void screen_line(struct screen *screen, enum screen_style style, const char *format, ...)
{
    static const char *const styles[] = {"", "\x1b[1m", "\x1b[7m"};
    char *text;
    va_list arguments;
    int length;

    if (screen_left(screen) == 0)
        return;
    va_start(arguments, format);
    length = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (length < 0)
        die_of_memory();
    screen_begin_line(screen);
    fprintf(screen->picture, "%s%.*s%s", screen->colour ? styles[style] : "",
            (int)text_fit(text, screen->columns), text, screen->colour ? "\x1b[0m" : "");
    free(text);
}

void screen_skip_to_end(struct screen *screen)
{
    while (screen_left(screen) > 1)
        screen_line(screen, SCREEN_PLAIN, "%s", "");
}

void screen_show(struct screen *screen)
{
    while (screen_left(screen) > 0)
        screen_begin_line(screen);
    if (fclose(screen->picture) != 0)
        die_of_memory();
    screen_write(screen, screen->bytes, screen->length);
    free(screen->bytes);
    screen->picture = NULL;
    screen->bytes = NULL;
}
