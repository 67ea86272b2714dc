"""Starts programs with system call filters, as container runtimes and systemd do.

    python3 seccomp.py kill FILE PROGRAM [ARGUMENT...]

runs the program with the system calls that the file lists, one per line; others kill it.
"""

import ctypes
import os
import re
import struct
import subprocess
import sys

IO_URING_SETUP = 425  # the same on every architecture
PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2
RET_ALLOW = 0x7FFF0000
RET_ERRNO = 0x00050000
RET_KILL_PROCESS = 0x80000000
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def install(instructions):
    """Installs a filter for this process and the programs that it executes."""
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = Program(len(instructions), ctypes.cast(buffer, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
                      (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)):
        if libc.prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), "prctl")


def forbid_io_uring(errno):
    """Makes io_uring_setup fail with `errno` in this process and the programs that it executes."""
    install([
        (LOAD_WORD, 0, 0, 0),  # the number of the system call
        (JUMP_IF_EQUAL, 0, 1, IO_URING_SETUP),
        (RETURN, 0, 0, RET_ERRNO | errno),
        (RETURN, 0, 0, RET_ALLOW),
    ])


def numbers():
    """Returns the numbers of this machine's system calls by name."""
    text = subprocess.run(["cc", "-E", "-dM", "-include", "sys/syscall.h", "-x", "c", "/dev/null"],
                          capture_output=True, text=True, check=True).stdout
    return {name: int(number) for name, number in
            re.findall(r"#define __NR_(\w+) (\d+)$", text, re.MULTILINE)}


def allow_only(allowed):
    """Kills the process on any other system call. The filter ignores the architecture."""
    instructions = [(LOAD_WORD, 0, 0, 0)]
    for number in allowed:
        instructions += [(JUMP_IF_EQUAL, 0, 1, number), (RETURN, 0, 0, RET_ALLOW)]
    install(instructions + [(RETURN, 0, 0, RET_KILL_PROCESS)])


def main():
    with open(sys.argv[2], encoding="ascii") as file:
        names = file.read().split()
    known = numbers()
    allowed = [known[name] for name in names if name in known]
    allow_only(allowed)
    os.execv(sys.argv[3], sys.argv[3:])


if __name__ == "__main__":
    main()
