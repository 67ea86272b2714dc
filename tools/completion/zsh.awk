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
    if (takes_key(command))
        print "            " quoted("1:key:_" program "_keys") " \\"
    if (runs_command(command)) {
        print "            '*:: :_normal' && return"
    } else {
        print "            " quoted("*:argument:" anything("argument")) " && return"
    }
    print "        ;;"
}

# Keys come from the server, quickly or not at all. U+FFFD stands for bytes that are not UTF-8.
function print_keys()
{
    print "_" program "_keys()"
    print "{"
    print "    local -a keys flags"
    print "    local i"
    print ""
    print "    [[ $PREFIX != -* ]] || return 1"
    print "    for ((i = 2; i <= $#typed; i++)); do"
    print "        case $typed[i] in"
    print "        --(" server_flags(1, "", "|") "))"
    print "            flags+=(\"$typed[i]\" \"${(Q)typed[i + 1]/#\\~\\//$HOME/}\")"
    print "            ;;"
    print "        --(" server_flags(1, "", "|") ")=*|--(" server_flags(0, "", "|") "))"
    print "            flags+=(\"${(Q)typed[i]}\")"
    print "            ;;"
    print "        esac"
    print "    done"
    print "    keys=(${(f)\"$(command ${(Q)typed[1]} ls --keys --idle $flags --connect-timeout 1 \\"
    print "        --reply-timeout 1 ${PREFIX:+--} ${(Q)PREFIX} 2>/dev/null)\"})"
    print "    keys=(${${keys:#*$'\\xef\\xbf\\xbd'*}:#dflockctl.probe})"
    print "    compadd -a keys"
    print "}"
    print ""
}

function print_commands(    i)
{
    print_keys()
    print "local -a typed=(\"${words[@]}\")"
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
