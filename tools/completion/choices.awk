# The choices for a flag's value, or for its beginning; "" if there are none. A choice that needs
# more text ends with a colon.
function choices(name)
{
    if (program == "dflockd-bench" && name == "load")
        return "lock semaphore try two-phase renew ping shared shared-two-phase"
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

# Whether the first argument of this command is a key, and whether all are.
function takes_key(command)
{
    return arguments[command] ~ /KEY|PREFIX/
}

function takes_keys(command)
{
    return arguments[command] ~ /KEY\.\.\./
}

# The flags that `ls` takes as well, joined: those of all commands. `with_value`: only those that
# take a value, or only the others.
function server_flags(with_value, prefix, separator,    i, name, list, plain)
{
    for (i = 1; i <= flag_count[""]; i++) {
        name = flags["", i]
        plain = kind["", name] == "switch"
        if (kind["", name] == "alone" || plain == with_value)
            continue
        list = list (list == "" ? "" : separator) prefix name
        if (plain)
            list = list separator prefix "no-" name
    }
    return list
}
