"""Processes with many connections each, which do the same at once.

    with Crowd(server, processes=2) as crowd:
        crowd.do("connect", 5000)
        crowd.do("send", "l\nkey\n0\n")
        crowd.count_words("answers", 1, 30)

crowd_member.py has the functions.
"""

import collections
import json
import subprocess
import sys
from pathlib import Path

MEMBER = Path(__file__).resolve().parent / "crowd_member.py"


class Crowd:
    def __init__(self, server, processes=1):
        self.server = server
        self.count = processes

    def __enter__(self):
        self.members = [subprocess.Popen(
            [sys.executable, str(MEMBER), str(self.server.port)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True) for _ in range(self.count)]
        return self

    def __exit__(self, *_):
        for member in self.members:
            if member.poll() is None:
                member.kill()
            member.stdin.close()
            member.stdout.close()
            member.wait(30)

    def start(self, function, *arguments):
        """Starts the function in each process."""
        for member in self.members:
            member.stdin.write(json.dumps([function, *arguments]) + "\n")
            member.stdin.flush()

    def results(self):
        """Returns the result of each process."""
        results = []
        for member in self.members:
            line = member.stdout.readline()
            assert line, "a process of the crowd died"
            results.append(json.loads(line))
        return results

    def do(self, function, *arguments):
        self.start(function, *arguments)
        return self.results()

    def count_words(self, function, *arguments):
        """Returns the sum of the words that the processes counted."""
        return dict(sum((collections.Counter(result) for result in
                         self.do(function, *arguments)), collections.Counter()))

    def kill(self):
        """Kills all processes at once."""
        for member in self.members:
            member.kill()
        for member in self.members:
            member.wait(30)
