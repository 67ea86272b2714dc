"""Others at work, whose latency tells whether something delays them: tests/witness/bystander."""

import json
import subprocess

from comparison.place import BUILD, LOAD_CPU, pinned

CONNECTIONS = 4
PAUSE_US = 1000


class Bystander:
    """At work while the context lasts; `figures`, in milliseconds, afterwards."""

    def __init__(self, server):
        self.command = pinned([BUILD / "tests" / "witness" / "bystander", server.port, CONNECTIONS,
                               PAUSE_US], LOAD_CPU)
        self.fences = server.name == "dflockd"
        self.figures = {}

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, kind, *_):
        output, _ = self.process.communicate(timeout=90)
        if kind is None:
            told = json.loads(output)
            # The original's tokens have no fences, which is all that is wrong with it.
            assert not told["problem"] or (not self.fences and "fence" in told["problem"]), told
            self.figures = {f"others_{name}_ms": told[f"{name}_us"] / 1000
                            for name in ("p50", "p99", "max")}
            self.figures["others_requests"] = told["requests"]
