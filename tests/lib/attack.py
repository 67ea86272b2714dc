"""Runs an attack of tests/attacks on a server, beside a bystander that measures other clients."""

import json
import subprocess

SECONDS_MAX = 600


def attack(program, server, name, wrapper=lambda command: command, **settings):
    """Returns the attack's figures. `wrapper` changes the command, to pin it to a CPU."""
    command = [str(program), name, f"port={server.port}", f"pid={server.pid}",
               *(f"{key}={value}" for key, value in settings.items())]
    done = subprocess.run(wrapper(command), capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL, timeout=SECONDS_MAX)
    if not done.stdout:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return json.loads(done.stdout)
