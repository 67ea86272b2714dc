"""Runs tools/examples/keep_lock.py: keep_lock.py FOLDER PORT LEASE_SECONDS

Acquires the lock "key". Calls a method of it for each line of stdin. Prints the token after each
success, or the name of the exception.
"""

import sys

folder, port, lease_s = sys.argv[1], *map(int, sys.argv[2:])
sys.path.insert(0, folder)

from keep_lock import KeptLock  # noqa: E402

lock = KeptLock("key", ("127.0.0.1", port), lease_s=lease_s)
print(lock.token, flush=True)
for line in sys.stdin:
    try:
        getattr(lock, line.strip())()
    except Exception as error:
        print(type(error).__name__, flush=True)
    else:
        print(lock.token, flush=True)
