"""Sets up its namespaces, which exist until its input ends.

    unshare --net --mount set_up.py HOSTS

Starts the loopback interface, and mounts the file HOSTS over /etc/hosts.
"""

import fcntl
import socket
import struct
import subprocess
import sys

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
REQUEST = "16sH14x"  # struct ifreq: the name of the interface and its flags


def bring_up(name):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack(REQUEST, name, 0)
        _, flags = struct.unpack(REQUEST, fcntl.ioctl(control, SIOCGIFFLAGS, request))
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack(REQUEST, name, flags | IFF_UP))


bring_up(b"lo")
subprocess.run(["mount", "--bind", sys.argv[1], "/etc/hosts"], check=True)
print("ready", flush=True)
sys.stdin.read()
