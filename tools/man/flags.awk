# Reads the output of tools/man/help for one program (while `reading` is "help") into tables, from
# which manual pages, completions and the file of defaults are generated. The option tables of the
# sources define the flags; flags_print (src/base/flags.c) prints them.
#
# `command` is "" for the program itself:
#   program, commands[1..command_count]
#   arguments[command], summary[command], details[command]   the summary without its full stop
#   flag_count[command], flags[command, i], and of each (command, flag):
#   kind       "switch" (with --no-FLAG), "alone" (no value), "file" or "value"
#   metavar    a word for the value
#   variable, variable_old, initial   "" if there is none
#   text       a sentence without its full stop
#   status[1..status_count], status_text[status]   if the help lists exit statuses

# Removes `pattern` from the end of `rest`, and returns the text that matched.
function take_end(pattern,    taken)
{
    taken = ""
    if (match(rest, pattern "$")) {
        taken = substr(rest, RSTART)
        rest = substr(rest, 1, RSTART - 1)
    }
    return taken
}

function after(start, taken)
{
    return substr(taken, length(start) + 1)
}

# A flag as a user writes it.
function flag_word(name)
{
    return (length(name) == 1 ? "-" : "--") name
}

# Begins a flag, as "  --[no-]NAME", "  --NAME VALUE" or "  -n VALUE".
function begin_flag(word, value,    at)
{
    name = word
    sub(/^--?/, "", name)
    switchable = sub(/^\[no-\]/, "", name)
    at = command SUBSEP name
    flags[command, ++flag_count[command]] = name
    metavar[at] = value == "MIB" ? "MiB" : value == "" ? "value" : tolower(value)
    lines = ""
}

# Reads its lines so far, as "Seconds of it. DFLOCKD_A_S, formerly DFLOCKD_B (default 5)".
function read_flag(    at)
{
    at = command SUBSEP name
    rest = lines
    kind[at] = switchable ? "switch" : "value"
    initial[at] = after(" (default ", take_end(" \\(default [^()]*\\)"))
    sub(/\)$/, "", initial[at])
    variable_old[at] = after(", formerly ", take_end(", formerly [A-Z0-9_]+"))
    variable[at] = after(" ", take_end(" [A-Z0-9]+_[A-Z0-9_]+"))
    take_end("\\.")
    text[at] = rest
    if (name == "help" || name == "version")
        kind[at] = "alone"
    else if (kind[at] == "value" && metavar[at] ~ /^(file|path)$/)
        kind[at] = "file"
}

reading == "help" && /^Usage: / {
    program = $2
    command = $3 ~ /^[a-z]+$/ ? $3 : ""
    if (command != "")
        commands[++command_count] = command
    arguments[command] = $0
    sub(/^.*\[flags\] */, "", arguments[command])
    name = ""
    paragraph = 0
    next
}

reading == "help" && /^  (--(\[no-\])?[a-z0-9-]+|-[a-zA-Z])( [A-Z]+)?$/ {
    begin_flag($1, $2)
    next
}

reading == "help" && name != "" && /^      / {
    lines = lines (lines == "" ? "" : " ") substr($0, 7)
    read_flag()
    next
}

reading == "help" && command == "" && /^ *[0-9]+ +[a-z]/ {
    status_text[status[++status_count] = $1] = substr($0, index($0, $1) + length($1) + 1)
    next
}

# The first paragraph of a command is its summary; the paragraphs up to the flags are its details.
reading == "help" && command != "" && flag_count[command] == 0 {
    if ($0 == "") {
        paragraph++
    } else if (paragraph == 1) {
        summary[command] = $0
        sub(/\.$/, "", summary[command])
    }
    if (paragraph > 1)
        details[command] = details[command] $0 "\n"
    next
}

reading == "help" {
    next
}
