#!/bin/sh
# Checks that the lock table, the wire code and the client's lease are pure: the functions that their
# objects may call are listed here. Checks that no folder of src includes headers that it must not
# depend on. Prints TAP; exits with 1 if a check fails.

set -u
export LC_ALL=C
cd "$(dirname "$0")/../.." || exit 1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

# bcmp is what clang makes of a memcmp for equality.
ALLOWED='memcpy memset memcmp bcmp memchr strlen __stack_chk_fail __assert_fail'

number=0
failures=0

# report <what must hold> <file with what speaks against it, empty if nothing>
report()
{
    number=$((number + 1))
    if [ -s "$2" ]; then
        failures=$((failures + 1))
        echo "not ok $number - $1"
        sed 's/^/#   /' "$2"
    else
        echo "ok $number - $1"
    fi
}

# compile_file <source> <object>: without link-time optimisation, so that symbols can be read, and
# without PIE, for which tables of texts would not be constant.
compile_file()
{
    "${CC:-gcc}" -std=c17 -O2 -fno-lto -fno-pie -fstack-protector-strong -D_GNU_SOURCE \
        -Iinclude -Isrc -c -o "$2" "$1" || exit 1
}

# compile <folder of src>: all its files.
compile()
{
    mkdir -p "$work/$1"
    for source in src/"$1"/*.c; do
        compile_file "$source" "$work/$1/$(basename "$source" .c).o"
    done
}

# compile_lease: the one file of the client that is pure.
compile_lease()
{
    mkdir -p "$work/client"
    compile_file src/client/lease.c "$work/client/lease.o"
}

# defined <folder>…: what their objects offer.
defined()
{
    for folder in "$@"; do
        nm --defined-only --extern-only --format=posix "$work/$folder"/*.o
    done | awk 'NF > 1 { print $1 }'
}

# check_pure <folder> [NAME [FUNCTION…]]: its objects call only themselves, base, ALLOWED and these
# functions. The report names the folder, or NAME. Base's code for command lines reads files and the
# environment, so it is not allowed.
check_pure()
{
    folder=$1
    name=${2:-$1}
    shift $(($# < 2 ? $# : 2))
    { defined base | grep -vE '^(flags|auth_token)_'; defined "$folder"
      printf '%s\n' $ALLOWED "$@"; } | sort -u >"$work/known"
    : >"$work/problems"
    for object in "$work/$folder"/*.o; do
        nm --undefined-only --format=posix "$object" | awk '{ print $1 }' | sort -u |
            comm -23 - "$work/known" | sed "s|^|src/$folder/$(basename "$object" .o).c uses |" \
            >>"$work/problems"
    done
    report "src/$name calls nothing but src/base and functions without side effects" \
        "$work/problems"
}

# check_stateless <folder> [NAME]: no variables either, which one call would leave to the next.
check_stateless()
{
    for object in "$work/$1"/*.o; do
        nm --defined-only --format=posix "$object" | awk '$2 ~ /^[bBdDcC]$/ { print $1 }' |
            sed "s|^|src/$1/$(basename "$object" .o).c has the variable |"
    done >"$work/problems"
    report "src/${2:-$1} has no variables" "$work/problems"
}

# check_includes <folder> <folder that it may include>…
check_includes()
{
    folder=$1
    allowed=$(echo "$@" dflockd | tr ' ' '|')
    grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' src/"$folder"/*.[ch] |
        grep -vE "\"($allowed)/" >"$work/problems"
    shift
    report "src/$folder includes only itself, the protocol and: ${*:-nothing}" "$work/problems"
}

check_liburing()
{
    grep -rnE '^[[:space:]]*#[[:space:]]*include[[:space:]]*[<"]liburing' include src |
        grep -v '^src/os/ring\.c:' >"$work/problems"
    grep -qE '^#include <liburing\.h>' src/os/ring.c ||
        echo "src/os/ring.c: does not include it, so this looks at nothing" >>"$work/problems"
    report "only src/os/ring.c includes liburing.h" "$work/problems"
}

# check_microhttpd: libmicrohttpd calls these files only.
check_microhttpd()
{
    grep -rnE '^[[:space:]]*#[[:space:]]*include[[:space:]]*[<"]microhttpd' include src |
        grep -vE '^src/http/(http|exchange)\.[ch]:' >"$work/problems"
    report "only http and exchange of src/http include microhttpd.h" "$work/problems"
}

echo 1..16
compile base
for folder in lock wire; do
    compile $folder
    check_pure $folder
done
# It erases tokens.
compile_lease
check_pure client client/lease.c explicit_bzero
for folder in base lock wire; do
    check_stateless $folder
done
check_stateless client client/lease.c
check_includes base
check_includes lock base
check_includes wire base
check_includes os base
check_includes server base lock wire os
check_includes client base os
check_includes http base lock wire os server
check_liburing
check_microhttpd
[ "$failures" -eq 0 ]
