"""io_uring errors for a server under test: see ring_faults.c.

    faults = RingFaults(folder)
    with Server(environment=faults.environment) as server:
        faults.set(turn_error=-errno.ENOMEM, turn_every=1, turn_count=100)
"""

import mmap
import os
import struct
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
# The fields of `struct faults`, in its order.
FIELDS = ("turn_error", "turn_skip", "turn_every", "turn_count", "submit_error", "submit_count",
          "spoil_opcode", "spoil_every", "spoil_count", "drop_count",
          "turns", "failed", "spoiled", "dropped", "receives")
WORD = struct.Struct("q")
FOR_EVER = 1 << 62

OP_MSG_RING = 40


class RingFaults:
    def __init__(self, folder):
        library = folder / "ring_faults.so"
        path = folder / "ring_faults"
        subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O1", "-D_GNU_SOURCE",
                        "-o", library, HERE / "ring_faults.c"], check=True)
        path.write_bytes(bytes(mmap.PAGESIZE))
        with path.open("r+b") as file:
            self.shared = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        self.set(turn_every=1, spoil_every=1)
        # A sanitizer checks that it is the first library, but also works as the second one.
        options = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
        self.environment = {"LD_PRELOAD": str(library), "RING_FAULTS": str(path),
                            "ASAN_OPTIONS": options.lstrip(":")}

    def set(self, **orders):
        for name, value in orders.items():
            WORD.pack_into(self.shared, FIELDS.index(name) * WORD.size, value)

    def __getattr__(self, name):
        if name not in FIELDS:
            raise AttributeError(name)
        return WORD.unpack_from(self.shared, FIELDS.index(name) * WORD.size)[0]
