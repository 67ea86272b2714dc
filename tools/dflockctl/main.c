/*
 * dflockctl: locks and semaphores of dflockd servers, for shells and people.
 *
 * One thread, on the connections of libdflockd. In reading order: command.c has the commands and
 * their flags, settings.c what was given; hold.h is a grant kept alive, run_locked.c runs a
 * command under it (supervisor.h has the processes), acquire.c leaves it behind for a script;
 * census.h is what the servers tell of keys, list.c and top.c show it.
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
        say("/dev/null: cannot be opened");
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
        say("%s", problem);
        break;
    case FLAGS_RUN:
        status = settings.command->run(&settings);
        /* Of lock and sem, stdout is their command's. */
        if (!settings.command->runs)
            status = output_finish(status);
        break;
    }
    settings_free(&settings);
    return status;
}
