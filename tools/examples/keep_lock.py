"""A lock that survives a lost connection, with the published client: pip install dflockd==0.5.0.

The server must run with --no-auto-release-on-disconnect. Otherwise it releases the lock with the
connection, and renew() raises LockLost. A lock is for one thread:

    lock = KeptLock("nightly", lease_s=60)
    for step in steps:
        lock.renew()
        step()
    lock.release()
"""

import socket
import time

from dflockd import sync_client

SECONDS = 5  # to connect, and for a reply


class LockLost(Exception):
    """The lease ended or may have ended: stop, another client may hold the lock."""


def boot_seconds():
    """Leases also end while this machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class KeptLock:
    def __init__(self, key, server=("localhost", 6388), timeout_s=10, lease_s=30):
        self.key, self.server, self.lease_s = key, server, lease_s
        self.ends = boot_seconds()
        self._connect(timeout_s + SECONDS)
        self.token, _ = sync_client.acquire(self.socket, self.replies, key, timeout_s, lease_s)
        self.renew()

    def _connect(self, reply_seconds):
        self.socket = socket.create_connection(self.server, SECONDS)
        self.socket.settimeout(reply_seconds)
        self.replies = self.socket.makefile("r", encoding="utf-8")

    def _own(self):
        """Makes a new connection the owner of the lock."""
        self.replies.close()
        self.socket.close()
        try:
            self._connect(SECONDS)
            self.socket.sendall(f"own\n{self.key}\nl {self.token}\n".encode())
            self.replies.readline()  # after an error, renew fails too
        except OSError:
            time.sleep(0.1)

    def renew(self):
        """Call it at least every lease_s / 3 seconds, and before each step that needs the lock."""
        while True:
            begins = boot_seconds()
            try:
                sync_client.renew(self.socket, self.replies, self.key, self.token, self.lease_s)
            except OSError as error:
                if begins >= self.ends:
                    raise LockLost(self.key) from error
                self._own()
            except RuntimeError as error:
                raise LockLost(self.key) from error
            else:
                self.ends = begins + self.lease_s
                return

    def release(self):
        self.renew()
        sync_client.release(self.socket, self.replies, self.key, self.token)
        self.replies.close()
        self.socket.close()
