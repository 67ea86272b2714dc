# Prints the completion for zsh from the tables of flags.awk.

function quoted(string)
{
    gsub(/'/, "'\\''", string)
    return "'" string "'"
}

# A description for _arguments, in brackets.
function described(string)
{
    gsub(/[][\\:]/, "\\\\&", string)
    return "[" string "]"
}

function value_of(command, name,    words)
{
    if (kind[command, name] == "file")
        return ":" metavar[command, name] ":_files"
    words = choices(name)
    gsub(/:/, "\\:", words)
    return ":" metavar[command, name] ":" (words == "" ? " " : "(" words ")")
}

function print_flags(command, indent,    i, name)
{
    for (i = 1; i <= flag_count[command]; i++) {
        name = flags[command, i]
        if (kind[command, name] == "value" || kind[command, name] == "file") {
            print indent quoted(flag_word(name) "=" described(text[command, name]) \
                value_of(command, name)) " \\"
            continue
        }
        print indent quoted(flag_word(name) described(text[command, name])) " \\"
        if (kind[command, name] == "switch")
            print indent quoted("--no-" name described("The opposite of --" name)) " \\"
    }
}

# Any word except a flag, because this would hide the flags.
function anything(what)
{
    return "_guard \"^-*\" " what
}

function print_command(command)
{
    print "    " command ")"
    print "        _arguments \\"
    print_flags(command, "            ")
    if (runs_command(command)) {
        print "            " quoted("1:key:" anything("key")) " \\"
        print "            '*:: :_normal' && return"
    } else {
        print "            " quoted("*:argument:" anything("argument")) " && return"
    }
    print "        ;;"
}

function print_commands(    i)
{
    print "local context state state_descr line"
    print "typeset -A opt_args"
    print "local -a commands"
    print ""
    print "commands=("
    for (i = 1; i <= command_count; i++)
        print "    " quoted(commands[i] ":" summary[commands[i]])
    print "    'help:Tell about a command'"
    print ")"
    print "_arguments -C \\"
    print_flags("", "    ")
    print "    '(-): :->command' \\"
    print "    '(-)*:: :->arguments' && return"
    print ""
    print "case $state in"
    print "command)"
    print "    _describe command commands && return"
    print "    ;;"
    print "arguments)"
    print "    case $words[1] in"
    for (i = 1; i <= command_count; i++)
        print_command(commands[i])
    print "    help)"
    print "        _describe command commands && return"
    print "        ;;"
    print "    esac"
    print "    ;;"
    print "esac"
    print "return 1"
}

END {
    print "#compdef " program
    print "# Completion of " program " for zsh, generated from `" program " --help`."
    print ""
    if (command_count) {
        print_commands()
    } else {
        print "_arguments \\"
        print_flags("", "    ")
        print "    && return"
        print "return 1"
    }
}
