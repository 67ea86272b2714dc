# The words that a flag's value can be, or begin with, where there are few; "" otherwise. A word
# that more must follow ends with a colon.
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

# Whether a command line follows the arguments of this command, behind `--`.
function runs_command(command)
{
    return arguments[command] ~ / -- /
}
