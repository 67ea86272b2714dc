"""Network and mount namespaces that a program sets up and keeps."""

import os
import subprocess

ROOT_USER = os.geteuid() == 0


class Forbidden(Exception):
    """The kernel or a missing tool refuses the namespaces; the text has the reason."""


class Namespace:
    """Runs a program in new namespaces. It prints "ready" after the set-up, and ends with stdin."""

    def __init__(self, *program):
        self.program = program

    def __enter__(self):
        user = [] if ROOT_USER else ["--map-root-user"]
        try:
            self._process = subprocess.Popen(
                ["unshare", *user, "--net", "--mount", "--", *self.program],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True)
        except FileNotFoundError as reason:
            raise Forbidden(str(reason)) from reason
        answer = self._process.stdout.readline().strip()
        entered = answer == "ready" and subprocess.run(
            self.within(["true"]), stderr=subprocess.DEVNULL).returncode == 0
        if not entered:
            self.__exit__()
            raise Forbidden(answer)
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.communicate()

    @property
    def prefix(self):
        user = [] if ROOT_USER else ["--user", "--preserve-credentials"]
        return ["nsenter", "--target", str(self._process.pid), *user, "--net", "--mount", "--"]

    def within(self, command):
        """Returns the command that runs `command` in the namespaces."""
        return [*self.prefix, *command]
