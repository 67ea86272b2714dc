"""A second load, which shows by its latency whether the first one delays other clients."""

import json
import subprocess

from comparison.place import BUILD, LOAD_CPU, pinned

CONNECTIONS = 4
PAUSE_US = 1000


class Bystander:
    """Runs tests/witness/bystander during the context. Sets `figures` (ms) at its end."""

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
            result = json.loads(output)
            # The original's tokens have no fences; this is the only permitted problem.
            problem = result["problem"]
            assert not problem or (not self.fences and "fence" in problem), result
            self.figures = {f"others_{name}_ms": result[f"{name}_us"] / 1000
                            for name in ("p50", "p99", "max")}
            self.figures["others_requests"] = result["requests"]
