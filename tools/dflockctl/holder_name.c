#include "dflockctl/holder_name.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/name.h"
#include "dflockctl/command.h"

void holder_name_build(char name[DFLOCKD_NAME_MAX + 1], const struct settings *settings)
{
    const char *slash;
    char program[64];

    if (!settings->command_line) {
        snprintf(program, sizeof(program), "dflockctl %s", settings->command->name);
        if (settings->while_pid)
            snprintf(program, sizeof(program), "dflockctl acquire --while %" PRIu64,
                     settings->while_pid);
        name_build(name, program);
        return;
    }
    slash = strrchr(settings->command_line[0], '/');
    name_build(name, slash ? slash + 1 : settings->command_line[0]);
}
