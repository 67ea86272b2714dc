# The choices for a flag's value, or for its beginning; "" if there are none. A choice that needs
# more text ends with a colon.
function choices(name)
{
    if (program == "dflockd-bench" && name == "load")
        return "lock semaphore try two-phase renew ping"
    if (program == "dflockd-bench" && name == "keys")
        return "own shared uniform: zipf:"
    if (program == "dflockd-bench" && name == "protocol")
        return "dflockd redis"
    if (program == "dflockctl" && name == "sort")
        return "key kind holders waiters lease server"
    return ""
}

# Whether a command line follows the arguments of this command, after `--`.
function runs_command(command)
{
    return arguments[command] ~ /-- COMMAND/
}
