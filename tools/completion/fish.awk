# Prints the completion for fish from the tables of flags.awk.

function quoted(string)
{
    gsub(/[\\']/, "\\\\&", string)
    return "'" string "'"
}

function print_flags(command, condition,    i, name, line)
{
    for (i = 1; i <= flag_count[command]; i++) {
        name = flags[command, i]
        line = "complete -c " program condition (length(name) == 1 ? " -s " : " -l ") name
        if (kind[command, name] == "file")
            line = line " -r -F"
        else if (kind[command, name] == "value")
            line = line " -x" (choices(name) == "" ? "" : " -a " quoted(choices(name)))
        print line " -d " quoted(text[command, name])
        if (kind[command, name] == "switch")
            print "complete -c " program condition " -l no-" name " -d " \
                quoted("The opposite of --" name)
    }
}

# Whether the words so far have this command ("": none yet).
function print_is(    i, taking)
{
    for (i = 1; i <= flag_count[""]; i++) {
        if (kind["", flags["", i]] == "value" || kind["", flags["", i]] == "file")
            taking = taking " {-,--}" flags["", i]
    }
    print ""
    print "function __" program "_is"
    print "    set -l words (commandline -opc)"
    print "    set words $words[2..]"
    print "    while set -q words[1]"
    print "        switch $words[1]"
    print "            case" taking
    print "                set words $words[2..]"
    print "            case '-*'"
    print "            case '*'"
    print "                break"
    print "        end"
    print "        set words $words[2..]"
    print "    end"
    print "    test \"$words[1]\" = \"$argv[1]\""
    print "end"
}

# After `--` there is another command line.
function print_run()
{
    print ""
    print "function __" program "_runs"
    print "    contains -- -- (commandline -opc)"
    print "end"
    print ""
    print "function __" program "_run"
    print "    set -l words (commandline -opc)"
    print "    set -l at (contains -i -- -- $words)"
    print "    set words (string escape -- $words[(math $at + 1)..])"
    print "    complete -C (string join ' ' -- $words (commandline -ct))"
    print "end"
}

# Keys come from the server, quickly or not at all. U+FFFD stands for bytes that are not UTF-8.
function print_keys(    with_value)
{
    print ""
    print "function __" program "_keys"
    print "    set -l words (commandline -opc)"
    print "    set -l program $words[1]"
    print "    set -l prefix (string unescape -- (commandline -ct))"
    print "    set -l flags"
    print "    set words $words[2..]"
    print "    while set -q words[1]"
    print "        switch $words[1]"
    print "            case " server_flags(1, "--", " ")
    print "                set -a flags $words[1] $words[2]"
    print "                set words $words[2..]"
    print "            case '--*=*' " server_flags(0, "--", " ")
    print "                if string match -qr -- '^--(" server_flags(1, "", "|") "|" \
        server_flags(0, "", "|") ")(=|$)' $words[1]"
    print "                    set -a flags $words[1]"
    print "                end"
    print "        end"
    print "        set words $words[2..]"
    print "    end"
    print "    string match -q -- '-*' $prefix; and return"
    print "    type -q $program; or return"
    print "    test -n \"$prefix\"; and set -l first -- $prefix"
    print "    command $program ls --keys --idle $flags --connect-timeout 1 --reply-timeout 1 $first \\"
    print "        2>/dev/null | string match -v '*'\\uFFFD'*' | string match -v dflockctl.probe"
    print "end"
}

function print_commands(    i, command)
{
    for (i = 1; i <= command_count; i++) {
        command = commands[i]
        print ""
        print "complete -c " program " -n '__" program "_is \"\"' -a " command " -d " \
            quoted(summary[command])
        print_flags(command, " -n '__" program "_is " command "'")
        if (takes_key(command))
            print "complete -c " program " -n '__" program "_is " command \
                (runs_command(command) ? " && not __" program "_runs" : "") "' -a '(__" program \
                "_keys)'"
        if (runs_command(command))
            print "complete -c " program " -n '__" program "_is " command \
                " && __" program "_runs' -x -a '(__" program "_run)'"
    }
}

END {
    print "# Completion of " program " for fish, generated from `" program " --help`."
    print ""
    print "complete -c " program " -f"
    if (command_count) {
        print_is()
        print_run()
        print_keys()
    }
    print_flags("", command_count ? " -n '__" program "_is \"\"'" : "")
    if (command_count)
        print_commands()
}
