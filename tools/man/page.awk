# Prints a manual page from its template (while `reading` is "page") and the tables of flags.awk:
#   .\" @FLAGS@      becomes an item for each flag of the program
#   .\" @COMMANDS@   becomes a subsection for each command, with the flags that only it has
#   .\" @STATUSES@   becomes an item for each exit status

function escaped(line)
{
    gsub(/\\/, "\\e", line)
    gsub(/--/, "\\-\\-", line)
    sub(/^[.']/, "\\\\\\&&", line)
    return line
}

# Prints text as lines of the source; each sentence starts a line.
function print_text(prose,    count, words, i, line)
{
    count = split(prose, words, " ")
    line = ""
    for (i = 1; i <= count; i++) {
        if (line != "" && length(line) + 1 + length(words[i]) > 72) {
            print escaped(line)
            line = ""
        }
        line = line (line == "" ? "" : " ") words[i]
        if (words[i] ~ /\.$/ || i == count) {
            print escaped(line)
            line = ""
        }
    }
}

function print_flag(command, name,    at, old)
{
    at = command SUBSEP name
    if (kind[at] == "switch")
        print ".It Fl -" name " , Fl -no-" name
    else
        print ".It Fl " substr(flag_word(name), 2) (kind[at] == "alone" ? "" : " Ar " metavar[at])
    print_text(text[at] ".")
    if (variable[at] != "" || initial[at] != "")
        print ".br"
    if (variable[at] != "") {
        old = variable_old[at] != ""
        print ".Ev " variable[at] (old ? " ,\nformerly" : initial[at] != "" ? " ;" : "")
        if (old)
            print ".Ev " variable_old[at] (initial[at] != "" ? " ;" : "")
    }
    if (initial[at] != "")
        print_text("default " initial[at])
}

function print_flags(command, all,    i, name, started)
{
    for (i = 1; i <= flag_count[command]; i++) {
        name = flags[command, i]
        if (!all && ("", name) in text && text[command, name] == text["", name])
            continue
        if (!started++)
            print ".Bl -tag -width Ds"
        print_flag(command, name)
    }
    if (started)
        print ".El"
}

# Prints paragraphs; indented lines are an example.
function print_details(lines,    count, line, i, prose, literal)
{
    count = split(lines, line, "\n")
    prose = ""
    literal = 0
    for (i = 1; i <= count; i++) {
        if (line[i] ~ /^  /) {
            if (!literal++)
                print ".Bd -literal -offset indent"
            print escaped(substr(line[i], 3))
            continue
        }
        if (literal) {
            print ".Ed"
            literal = 0
        }
        if (line[i] != "") {
            prose = prose (prose == "" ? "" : " ") line[i]
            continue
        }
        if (prose != "") {
            print ".Pp"
            print_text(prose)
        }
        prose = ""
    }
}

function print_command(command)
{
    print ".Ss " command
    print ".Nm"
    print ".Cm " command
    print ".Op Ar flags"
    if (arguments[command] != "")
        print escaped(arguments[command])
    print ".Pp"
    print_text(summary[command] ".")
    if (details[command] in described) {
        print ".Pp"
        print "Otherwise as"
        print ".Cm " described[details[command]] " ."
    } else {
        print_details(details[command])
        described[details[command]] = command
    }
    print_flags(command, 0)
}

/@FLAGS@/ {
    print_flags("", 1)
    next
}

/@COMMANDS@/ {
    for (each = 1; each <= command_count; each++)
        print_command(commands[each])
    next
}

/@STATUSES@/ {
    print ".Bl -tag -width Ds -compact"
    for (each = 1; each <= status_count; each++) {
        print ".It " status[each]
        print_text(status_text[status[each]])
    }
    print ".El"
    next
}

{
    print
}
