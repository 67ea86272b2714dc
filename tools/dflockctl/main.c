/*
 * dflockctl: use the locks and semaphores of dflockd servers from the shell.
 *
 * One thread, on the connections of libdflockd. command.c has the table of commands, settings.c
 * reads the command line, and the file with the name of a command runs it.
 *
 *   lock.c, acquire.c       hold.h: a grant that is kept; supervisor.h: the processes of `lock`
 *   release.c, renew.c      token.h: requests about a grant of `acquire`
 *   ls.c, stats.c           snapshot.h, stats_parser.h, key_stats.h: the statistics of servers
 *   show.c, revoke.c        key_view.h, view_table.h: the holders and waiters of a key
 *   stats_repeat.c, top.c   poller.h, screen.h
 *   ping.c                  query.h: a request to each server at the same time
 */
#include <locale.h>
#include <stdio.h>

#include "dflockctl/command.h"
#include "dflockctl/output.h"
#include "dflockctl/settings.h"
#include "dflockctl/status.h"
#include "dflockd/version.h"
#include "os/standard_descriptors.h"

int main(int count, char **arguments)
{
    struct settings settings;
    char problem[FLAGS_PROBLEM_MAX];
    int status = STATUS_USAGE;

    if (standard_descriptors_open() < 0) {
        status_report("/dev/null: cannot open it for the standard descriptors");
        return STATUS_SYSTEM;
    }
    setlocale(LC_CTYPE, "");
    switch (settings_read(&settings, count, arguments, problem)) {
    case FLAGS_HELP:
        if (settings.command)
            command_help(settings.command);
        else
            command_help_all();
        status = output_finish(STATUS_DONE);
        break;
    case FLAGS_VERSION:
        printf("dflockctl %s\n", DFLOCKD_VERSION);
        status = output_finish(STATUS_DONE);
        break;
    case FLAGS_WRONG:
        status_report("%s", problem);
        break;
    case FLAGS_RUN:
        status = settings.command->run(&settings);
        /* For lock and sem, stdout belongs to the command that they run. */
        if (!settings.command->runs)
            status = output_finish(status);
        break;
    }
    settings_free(&settings);
    return status;
}
