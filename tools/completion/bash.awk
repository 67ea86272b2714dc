# Prints the completion for bash from the tables of flags.awk. It needs only bash; the package
# bash-completion finds the file by its name.

function add(list, word)
{
    return list (list == "" ? "" : " ") word
}

# Every flag of a command, as a user writes it.
function spellings(command,    i, name, list)
{
    for (i = 1; i <= flag_count[command]; i++) {
        name = flags[command, i]
        list = add(list, flag_word(name))
        if (kind[command, name] == "switch")
            list = add(list, "--no-" name)
    }
    return list
}

# Sorts flags by their values: `values`, `files`, and those of `chosen`, which have choices.
function sort_flags(command,    i, name)
{
    for (i = 1; i <= flag_count[command]; i++) {
        name = flags[command, i]
        if (name in sorted || kind[command, name] == "switch" || kind[command, name] == "alone")
            continue
        sorted[name] = 1
        if (kind[command, name] == "file")
            files = files (files == "" ? "" : "|") name
        else if (choices(name) != "")
            chosen[++chosen_count] = name
        else
            values = values (values == "" ? "" : "|") name
        taking = taking (taking == "" ? "" : "|") name
    }
}

function print_flag_values(    i)
{
    print "    case $flag in"
    if (files != "") {
        print "    " files ")"
        print "        mapfile -t COMPREPLY < <(compgen -f -- \"$current\")"
        print "        compopt -o filenames 2>/dev/null"
        print "        return"
        print "        ;;"
    }
    for (i = 1; i <= chosen_count; i++) {
        print "    " chosen[i] ")"
        print "        words='" choices(chosen[i]) "'"
        print "        mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\")"
        print "        [[ ${COMPREPLY[0]-} != *: ]] || compopt -o nospace 2>/dev/null"
        print "        return"
        print "        ;;"
    }
    print "    " values ")"
    print "        return"
    print "        ;;"
    print "    esac"
}

function print_flag_name()
{
    print "    # A value is a word, or follows an equals sign, which is a word for bash."
    print "    if [[ $current == = ]]; then"
    print "        flag=$previous"
    print "        current="
    print "    elif [[ $previous == = ]]; then"
    print "        flag=${COMP_WORDS[COMP_CWORD - 2]}"
    print "    else"
    print "        flag=$previous"
    print "    fi"
    print "    [[ $flag == -* ]] || flag="
    print "    flag=${flag#-}"
    print "    flag=${flag#-}"
}

function print_joined_skip()
{
    print "            while [[ ${COMP_WORDS[i + 1]-} == +([=:]) ]]; do"
    print "                ((i += 2))"
    print "            done"
}

# Finds the command among the words before the current one, and whether a command line follows.
function print_command_search(    i, command, running)
{
    for (i = 1; i <= command_count; i++) {
        if (runs_command(commands[i]))
            running = running (running == "" ? "" : "|") commands[i]
    }
    print "    for ((i = 1; i < COMP_CWORD; i++)); do"
    print "        word=${COMP_WORDS[i]}"
    print "        if [[ $word == -- && $command == @(" running ") ]]; then"
    print "            _" identifier "_run $((i + 1))"
    print "            return"
    print "        elif [[ $word == -* ]]; then"
    print "            word=${word#-}"
    print "            if [[ ${word#-} == @(" taking ") ]]; then"
    print "                [[ ${COMP_WORDS[i + 1]} == = ]] || ((i++))"
    print "            fi"
    print "            # Equals signs and colons are separate words for bash."
    print_joined_skip()
    print "        elif [[ $command == \"\" ]]; then"
    print "            command=$word"
    print "        else"
    print_joined_skip()
    print "            ((i >= COMP_CWORD)) || ((++given))"
    print "        fi"
    print "    done"
}

function print_run()
{
    print "# After `--`, from word $1 on, there is another command line."
    print "_" identifier "_run()"
    print "{"
    print "    if declare -F _command_offset >/dev/null; then"
    print "        _command_offset \"$1\""
    print "    elif ((COMP_CWORD == $1)); then"
    print "        mapfile -t COMPREPLY < <(compgen -c -- \"${COMP_WORDS[COMP_CWORD]}\")"
    print "    else"
    print "        mapfile -t COMPREPLY < <(compgen -f -- \"${COMP_WORDS[COMP_CWORD]}\")"
    print "        compopt -o filenames 2>/dev/null"
    print "    fi"
    print "}"
    print ""
}

# Keys come from the server, quickly or not at all. U+FFFD stands for bytes that are not UTF-8.
function print_keys()
{
    print "# Offers the keys that begin with the current word."
    print "_" identifier "_keys()"
    print "{"
    print "    local current=${COMP_WORDS[COMP_CWORD]} word joined= typed cut= key quoted i"
    print "    local -a words=() flags=()"
    print ""
    print "    for word in \"${COMP_WORDS[@]:1:COMP_CWORD}\"; do"
    print "        if [[ ($joined != \"\" || $word == +([=:])) && ${#words[@]} -gt 0 ]]; then"
    print "            words[-1]+=$word"
    print "        else"
    print "            words+=(\"$word\")"
    print "        fi"
    print "        [[ $word == +([=:]) ]] && joined=1 || joined="
    print "    done"
    print "    for ((i = 0; i + 1 < ${#words[@]}; i++)); do"
    print "        word=${words[i]}"
    print "        if [[ $word == --@(" server_flags(1, "", "|") ") ]]; then"
    print "            flags+=(\"$word\" \"${words[i + 1]/#\\~\\//$HOME/}\")"
    print "        elif [[ $word == --@(" server_flags(1, "", "|") ")=* ||"
    print "            $word == --@(" server_flags(0, "", "|") ") ]]; then"
    print "            flags+=(\"$word\")"
    print "        fi"
    print "    done"
    print "    # read removes the backslashes of the shell."
    print "    IFS= read typed <<<\"${words[-1]}\""
    print "    if [[ $current == +([=:]) ]]; then"
    print "        cut=$typed"
    print "    elif [[ ${words[-1]} != \"$current\" ]]; then"
    print "        cut=${typed%\"${typed##*[=:]}\"}"
    print "    fi"
    print "    while IFS= read -r key; do"
    print "        [[ $key != *$'\\xef\\xbf\\xbd'* && $key != dflockctl.probe ]] || continue"
    print "        printf -v quoted %q \"${key#\"$cut\"}\""
    print "        COMPREPLY+=(\"$quoted\")"
    print "    done < <(\"${COMP_WORDS[0]}\" ls --keys --idle \"${flags[@]}\" --connect-timeout 1 \\"
    print "        --reply-timeout 1 ${typed:+-- \"$typed\"} 2>/dev/null)"
    print "}"
    print ""
}

function print_key_condition(    i, one, many)
{
    for (i = 1; i <= command_count; i++) {
        if (takes_keys(commands[i]))
            many = many (many == "" ? "" : "|") commands[i]
        else if (takes_key(commands[i]))
            one = one (one == "" ? "" : "|") commands[i]
    }
    print "    if [[ $current != -* && ($command == @(" many ") ||"
    print "        ($command == @(" one ") && $given == 0)) ]]; then"
    print "        _" identifier "_keys"
    print "        return"
    print "    fi"
}

function print_words(    i, list)
{
    if (command_count == 0) {
        print "    words='" spellings("") "'"
        return
    }
    print "    case $command in"
    for (i = 1; i <= command_count; i++) {
        print "    " commands[i] ")"
        print "        words='" spellings(commands[i]) "'"
        print "        ;;"
        list = add(list, commands[i])
    }
    print "    help)"
    print "        words='" list "'"
    print "        ;;"
    print "    '')"
    print "        words='" list " help " spellings("") "'"
    print "        ;;"
    print "    esac"
}

END {
    identifier = program
    gsub(/-/, "_", identifier)
    sort_flags("")
    for (each = 1; each <= command_count; each++)
        sort_flags(commands[each])
    print "# Completion of " program " for bash, generated from `" program " --help`."
    print ""
    if (command_count) {
        print_run()
        print_keys()
    }
    print "_" identifier "()"
    print "{"
    print "    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}"
    print "    local flag words=" (command_count ? " command= given=0 word i" : "")
    print ""
    print "    COMPREPLY=()"
    if (command_count)
        print_command_search()
    print_flag_name()
    print_flag_values()
    if (command_count)
        print_key_condition()
    print_words()
    print "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\")"
    print "}"
    print ""
    print "complete -F _" identifier " " program
}
